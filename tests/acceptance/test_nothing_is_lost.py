"""Kills at random moments: what got a 200 is delivered, in order, and hardly anything twice."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from relay.sandbox.server import Sandbox
from tests.acceptance.conftest import SOAK, Process, eventually
from tests.calls import STANDARD, rendered

KILLS = 20 if SOAK else 3
NOTIFICATIONS = 2000
CONCURRENCY = 3
POSTERS = 4
ENDPOINT = {"incoming": "in", "answered": "in", "lost": "in", "outgoing": "out", "finished": "rec"}
MAKE_FAST = f"concurrency = {CONCURRENCY}"


class Posting:
    """Posts so many notifications from several threads, whole calls in order; remembers which got a 200.

    With `again` (is the relay back?) what got no answer is posted again, as UIS does.
    """

    def __init__(self, port: int, first: int, count: int, again: Callable[[], bool] | None = None) -> None:
        self._port, self._again = port, again
        self._calls = iter(range(first, first + count // len(STANDARD)))
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
                for number, kind in enumerate(STANDARD):
                    while not self._post(connection, kind, call, f"{call}-{number}") and self._again is not None:
                        eventually(self._again, "the relay is back")  # UIS repeats what got no answer

    def _next_call(self) -> int | None:
        with self._mutex:
            return next(self._calls, None)

    def _post(self, connection: http.client.HTTPConnection, kind: Any, call: int, mark: str) -> bool:
        """Was it answered?"""
        body = json.dumps({**json.loads(rendered(kind, call_session_id=call)), "external_id": mark}).encode()
        try:
            connection.request("POST", f"/trade/hs/UIScom/{ENDPOINT[kind]}?token=correct-horse", body)
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


def arrived(onec: Sandbox) -> list[tuple[str, str]]:
    """(mark, delivery id) in the order of arrival, each arrival once."""
    return [(json.loads(record["body"])["external_id"], record["delivery"]) for record in onec.onec.state()["records"]]


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


@pytest.mark.timeout(1800)
def test_what_got_a_200_is_delivered_after_kills_at_random_moments(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    chance = random.Random()
    process = make_process(onec.onec_url, target=MAKE_FAST).start()
    accepted: list[str] = []
    for kill in range(KILLS):
        posting = Posting(process.port, (kill + 1) * 100_000, NOTIFICATIONS, process.is_ready)
        fatal = chance.randrange(NOTIFICATIONS * 8 // 10)
        eventually(lambda p=posting, n=fatal: len(p.accepted) >= n, "the moment has come")
        process.kill()
        process.start()
        posting.join()
        accepted += posting.accepted
    wait_for_all(onec, accepted, 300)
    process.terminate()

    arrivals = arrived(onec)
    doubled = sum(count - 1 for count in Counter(delivery for _, delivery in arrivals).values())
    print(f"\n{KILLS} kills: {len(accepted)} accepted, 0 lost, {doubled} delivered twice")
    assert len(accepted) == KILLS * NOTIFICATIONS
    assert doubled <= CONCURRENCY * KILLS
    assert_in_order([mark for mark, _ in arrivals])


def test_sigterm_under_load_loses_nothing_and_resets_nobody(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, target=MAKE_FAST).start()
    posting = Posting(process.port, 1, NOTIFICATIONS)
    eventually(lambda: len(posting.accepted) >= 300, "under load")
    took = process.terminate()
    posting.join()

    assert took < 25
    assert posting.answers["200"] == len(posting.accepted) >= 300
    process.start()
    wait_for_all(onec, posting.accepted)
    process.terminate()
    arrivals = arrived(onec)
    assert len(arrivals) == len(dict(arrivals))  # an orderly end sends nothing twice
    assert_in_order([mark for mark, _ in arrivals])


def test_sigterm_while_a_target_hangs(make_process: Callable[..., Process], onec: Sandbox) -> None:
    """In full it hangs for longer than the grace; in short until its own time-out."""
    onec.onec.fail("hang_after_writing", -1)
    process = make_process(onec.onec_url, target=f'timeout = "{60 if SOAK else 3}s"').start()
    posting = Posting(process.port, 1, 50)
    posting.join()
    eventually(lambda: len(arrived(onec)) >= 2, "requests hang")

    assert process.terminate() < 25
    onec.onec.fail("ok", 0)
    process.start()
    wait_for_all(onec, posting.accepted)
    outcomes = [tried["outcome"] for record in _whole(process) for tried in record]
    assert "unclear" in outcomes


def _whole(process: Process) -> list[list[dict[str, Any]]]:
    events = [
        json.loads(line)["id"] for line in process.command("events", "--json", "--limit", "5").stdout.splitlines()
    ]
    first = json.loads(process.command("events", "--json").stdout.splitlines()[0])["id"]
    shown = [json.loads(process.command("show", event, "--json").stdout) for event in {first, *events}]
    return [delivery["attempts"] for record in shown for delivery in record["deliveries"]]


def test_a_1c_that_is_down_for_the_whole_of_the_posting(make_process: Callable[..., Process], onec: Sandbox) -> None:
    onec.onec.fail("bad_gateway", -1)
    process = make_process(onec.onec_url, target=MAKE_FAST).start()
    posting = Posting(process.port, 1, 500)
    posting.join()
    assert len(posting.accepted) == 500
    assert arrived(onec) == []

    onec.onec.fail("ok", 0)
    wait_for_all(onec, posting.accepted)
    assert len(arrived(onec)) == 500
    assert_in_order([mark for mark, _ in arrived(onec)])
    process.terminate()
