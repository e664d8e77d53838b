"""Posts as UIS does, from several threads, and looks at what has arrived."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from relay.sandbox.server import Sandbox
from tests.calls import ENDPOINT, STANDARD, rendered
from tests.waiting import eventually

POSTERS = 4
Sent = tuple[str, bytes, str]
"""Endpoint, body, and a mark by which it is found again."""


class Posting:
    """Posts so many notifications from several threads, whole calls in order; remembers which got a 200.

    With `again` (is the relay back?) what got no answer is posted again, as UIS does. `calls` are posted instead.
    """

    def __init__(
        self,
        port: int,
        first: int,
        count: int,
        again: Callable[[], bool] | None = None,
        calls: Iterable[Sequence[Sent]] | None = None,
    ) -> None:
        self._port, self._again = port, again
        self._calls = iter(standard_calls(first, count // len(STANDARD)) if calls is None else calls)
        self._mutex = threading.Lock()
        self.accepted: list[str] = []
        self.answers: Counter[str] = Counter()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(POSTERS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)

    def _run(self) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)) as connection:
            while (call := self._next_call()) is not None:
                for sent in call:
                    while not self._post(connection, *sent) and self._again is not None:
                        eventually(self._again, "the relay is back")  # UIS repeats what got no answer

    def _next_call(self) -> Sequence[Sent] | None:
        with self._mutex:
            return next(self._calls, None)

    def _post(self, connection: http.client.HTTPConnection, endpoint: str, body: bytes, mark: str) -> bool:
        """Was it answered?"""
        try:
            connection.request("POST", f"/trade/hs/UIScom/{endpoint}?token=correct-horse", body)
            answer = connection.getresponse()
            answer.read()
            outcome = str(answer.status)
        except (OSError, http.client.HTTPException) as exc:
            connection.close()
            outcome = type(exc).__name__
        with self._mutex:
            self.answers[outcome] += 1
            if outcome == "200":
                self.accepted.append(mark)
        return outcome.isdigit()


def standard_calls(first: int, count: int) -> Iterator[list[Sent]]:
    """Calls of the five notifications, from this session on; each has its mark in `external_id`."""
    for call in range(first, first + count):
        bodies = [json.loads(rendered(kind, call_session_id=call)) for kind in STANDARD]
        marks = [f"{call}-{number}" for number in range(len(STANDARD))]
        yield [
            (ENDPOINT[kind], json.dumps({**body, "external_id": mark}).encode(), mark)
            for kind, body, mark in zip(STANDARD, bodies, marks, strict=True)
        ]


def arrived(onec: Sandbox) -> list[tuple[str, str]]:
    """(mark, delivery id) in the order of arrival, each arrival once."""
    return [(json.loads(record["body"])["external_id"], record["delivery"]) for record in onec.onec.state()["writes"]]


def wait_for_all(onec: Sandbox, accepted: list[str], within_s: float = 60) -> None:
    """Until all that got a 200 has arrived. To read every record again and again would starve the simulated 1C."""
    eventually(lambda: onec.onec.recorded() >= len(accepted), "as many have arrived as were accepted", within_s)
    eventually(lambda: set(accepted) <= {mark for mark, _ in arrived(onec)}, "all that got a 200 has arrived", within_s)


def assert_in_order(marks: list[str]) -> None:
    """Within each call, by first arrival."""
    seen: dict[str, list[int]] = {}
    for mark in dict.fromkeys(marks):
        call, _, number = mark.partition("-")
        seen.setdefault(call, []).append(int(number))
    assert all(numbers == sorted(numbers) for numbers in seen.values())
