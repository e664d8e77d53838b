"""Whatever comes over the wire: refused in a line or stored, and nothing of it stays behind in the process."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from relay.store import Selection, Store
from tests.acceptance.process import SOAK, Process
from tests.acceptance.raw import SECRET, Response, exchange, raw_request
from tests.calls import rendered
from tests.waiting import eventually

IN = f"/trade/hs/UIScom/in?token={SECRET}"
HEAD = f"POST {IN} HTTP/1.1\r\nHost: relay\r\n".encode()
REQUESTS = 100_000 if SOAK else 2_000
WARM_UP = REQUESTS // 5
CLIENTS = 4
ANSWERED_WITHIN_S = 1.0 if SOAK else 10.0
GROWS_AT_MOST_MB = 20
THREADS_AND_FILES_TO_COME = 12  # a pool's that were not needed before


class Storm:
    """Raw requests from several threads; what was answered to each."""

    def __init__(self, port: int, numbers: range) -> None:
        self._port, self._numbers = port, iter(numbers)
        self._mutex = threading.Lock()
        self.statuses: Counter[int] = Counter()
        self.events: set[str] = set()
        self.faults: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def join(self) -> Storm:
        for thread in self._threads:
            thread.join()
        return self

    def _run(self) -> None:
        while (number := self._next()) is not None:
            began = time.monotonic()
            abruptly = number % 20 == 0
            try:
                answers = exchange(self._port, raw_request(number), abruptly=abruptly)
                self._note(number, answers, None if abruptly else time.monotonic() - began)
            except (OSError, ValueError) as exc:
                self.faults.append(f"{number}: {exc!r}")

    def _next(self) -> int | None:
        with self._mutex:
            return next(self._numbers, None)

    def _note(self, number: int, answers: list[Response], took_s: float | None) -> None:
        with self._mutex:
            self.statuses.update(answer.status for answer in answers)
            for answer in answers:
                if answer.status == 200 and b'"event"' in answer.body:
                    self.events.add(json.loads(answer.body)["event"])
                if answer.status >= 500 or SECRET.encode() in answer.body:
                    self.faults.append(f"{number}: {answer}")
            if took_s is not None and (not answers or took_s > ANSWERED_WITHIN_S):
                self.faults.append(f"{number}: {len(answers)} answers in {took_s:.2f} s")


class Held:
    """What a process holds: memory, threads, open files."""

    def __init__(self, pid: int) -> None:
        status = Path(f"/proc/{pid}/status").read_text()
        self.mb = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
        self.threads = int(re.search(r"Threads:\s+(\d+)", status)[1])
        self.files = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


@pytest.mark.timeout(3600 if SOAK else 300)
def test_no_raw_request_brings_an_error_a_delay_a_leak_or_a_loss(make_process: Callable[..., Process]) -> None:
    process = make_process().start()
    [worker] = process.workers()
    warm = Storm(process.port, range(WARM_UP)).join()
    before = Held(worker)

    storm = Storm(process.port, range(WARM_UP, REQUESTS)).join()

    after = Held(worker)
    if SOAK:
        print(f"\n{storm.statuses}; {before.mb:.0f} MB before, {after.mb:.0f} MB after")
    assert warm.faults + storm.faults == []
    assert {200, 400, 401, 404, 413} <= {*storm.statuses}
    assert after.mb - before.mb < GROWS_AT_MOST_MB
    assert after.threads - before.threads < THREADS_AND_FILES_TO_COME
    eventually(lambda: Held(worker).files - before.files < THREADS_AND_FILES_TO_COME, "the sockets are closed")
    assert process.workers() == [worker]
    process.terminate()
    store = Store(f"sqlite:///{process.config.parent / 'relay.db'}")
    with contextlib.closing(store):
        assert warm.events | storm.events <= {event.id for event in store.queries.events(Selection())}
    log = process.log.read_text()
    assert SECRET not in log
    assert "Traceback" not in log


PIECE = rendered("incoming")[:30]
REFUSED: dict[str, tuple[bytes, int]] = {
    "a body cut off": (HEAD + b"Content-Length: 79\r\n\r\n" + PIECE, 400),
    "a form cut off": (HEAD + b"Content-Length: 79\r\n\r\ncall_session_id=1&direction=in", 400),
    "no more chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1e\r\n" + PIECE + b"\r\n", 400),
    "a chunk cut off": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1f\r\n" + PIECE, 400),
    "a chunk that is longer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1d\r\n" + PIECE + b"\r\n0\r\n\r\n", 400),
    "no size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + PIECE, 400),
    "a bad extension": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2;;\r\n{}\r\n0\r\n\r\n", 400),
    "a bad trailer": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nbad trailer\r\n\r\n", 400),
    "a foreign coding": (HEAD + b"Transfer-Encoding: foo\r\n\r\n", 400),
    "headers cut off": (HEAD + b"X-Cut", 400),
    "a space in the address": (HEAD.replace(b" HTTP", b" more HTTP") + b"\r\n", 400),
    "a tab": (HEAD.replace(b" HTTP", b"\t HTTP") + b"\r\n", 400),
    "a NUL": (HEAD.replace(b" HTTP", b"\0 HTTP") + b"\r\n", 400),
    "raw Cyrillic": (HEAD.replace(b" HTTP", "&имя=x HTTP".encode()) + b"\r\n", 400),
    "no version": (HEAD.replace(b" HTTP/1.1", b"") + b"\r\n", 400),
    "a secret in a header's name": (HEAD + f"{SECRET}@: x\r\n\r\n".encode(), 400),
    "a long line": (HEAD.replace(b" HTTP", b"x" * 9000 + b" HTTP") + b"\r\n", 414),
    "a long header": (HEAD + b"X-Long: " + SECRET.encode() + b"l" * 9000 + b"\r\n\r\n", 431),
    "headers without end": (HEAD + b"X-Long: " + SECRET.encode() + b"l" * 70_000, 431),
    "an expectation": (HEAD + b"Expect: 200-ok\r\n\r\n", 417),
}


def test_what_the_server_refuses_is_a_line_of_json_and_a_line_of_the_log_and_nothing_is_stored(
    make_process: Callable[..., Process],
) -> None:
    process = make_process().start()

    answers = {what: exchange(process.port, request) for what, (request, _) in REFUSED.items()}

    assert {what: [answer.status for answer in found] for what, found in answers.items()} == {
        what: [status] for what, (_, status) in REFUSED.items()
    }
    for [answer] in answers.values():
        assert [*json.loads(answer.body)] == ["error"]
        assert SECRET not in answer.body.decode()
    eventually(lambda: process.log.read_text().count(".refused ") >= len(REFUSED), "all are in the log")
    log = process.log.read_text()
    assert log.count(".refused ") == len(REFUSED)
    assert SECRET not in log
    assert "Traceback" not in log
    assert process.command("events", "--json").stdout == ""
    process.terminate()


def test_a_header_that_is_named_like_one_of_the_server_s_own_variables_is_not_believed(
    make_process: Callable[..., Process],
) -> None:
    process = make_process().start()
    for number, header in enumerate(("SCRIPT_NAME: /x", "PATH_INFO: /healthz", "SCRIPT_NAME: /trade")):
        body = rendered("incoming", call_session_id=number)
        head = HEAD + f"{header}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        [answer] = exchange(process.port, head + body)
        assert (answer.status, json.loads(answer.body)["status"]) == (200, "accepted")
    process.terminate()


def test_a_client_that_waits_to_be_told_to_go_on_is_told(make_process: Callable[..., Process]) -> None:
    process = make_process().start()
    body = rendered("incoming")
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as client:
        client.sendall(HEAD + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
    process.terminate()
