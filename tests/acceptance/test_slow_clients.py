"""Clients that take their time, against the real server: nobody else waits for them."""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.acceptance.process import SOAK, Process
from tests.calls import rendered

IN = "/trade/hs/UIScom/in?token=correct-horse"
OTHERS_WAIT_AT_MOST_S = 3.0
STOPS_WITHIN_S = 15.0
BYTE_EVERY_S = 2.0
FOR_S = 20.0 if SOAK else 4.0
HEAD = f"POST {IN} HTTP/1.1\r\nHost: relay\r\n"
NEVER_READ = b"GET /admin/static/admin.css HTTP/1.1\r\nHost: relay\r\n\r\n" * 20_000  # answers beyond any buffer
# what such a client sends at once, and whether it goes on with a byte now and then
MANNERS: dict[str, tuple[bytes, bool]] = {
    "a byte of a header now and then": (HEAD.encode() + b"X-Slow: ", True),
    "a byte of a body now and then": (f"{HEAD}Content-Length: 5000\r\n\r\n".encode(), True),
    "a byte of a chunk now and then": (f"{HEAD}Transfer-Encoding: chunked\r\n\r\n1000\r\n".encode(), True),
    "half a header, then silence": (HEAD.encode(), False),
    "nothing at all": (b"", False),
    "requests without end, and reads nothing": (NEVER_READ, False),
    "a last request, and does not close": (b"GET /healthz HTTP/1.0\r\nHost: relay\r\n\r\n", False),
}
MANY = [(count, [manner]) for manner in MANNERS for count in (16, 32, 200)] if SOAK else [(200, [*MANNERS])]


class Slow:
    """So many clients of these manners, kept at it by one thread; who is cut off comes again."""

    def __init__(self, port: int, count: int, manners: list[str]) -> None:
        self._port, self._over = port, threading.Event()
        self._clients = [self._connect(manner) for manner in itertools.islice(itertools.cycle(manners), count)]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _connect(self, manner: str) -> tuple[socket.socket, str]:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        with contextlib.suppress(OSError):  # when the relay has stopped
            client.connect(("127.0.0.1", self._port))
            client.setblocking(False)
            client.send(MANNERS[manner][0])
        return client, manner

    def _run(self) -> None:
        while not self._over.wait(BYTE_EVERY_S):
            for number, (client, manner) in enumerate(self._clients):
                try:
                    if MANNERS[manner][1]:
                        client.send(b"x")
                except OSError:
                    client.close()
                    self._clients[number] = self._connect(manner)

    def close(self) -> None:
        self._over.set()
        self._thread.join(30)
        for client, _ in self._clients:
            client.close()


@pytest.fixture
def room_for_many() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("room_for_many")
@pytest.mark.parametrize(("count", "manners"), MANY)
def test_beside_slow_clients_the_notifications_of_others_are_answered(
    count: int, manners: list[str], make_process: Callable[..., Process]
) -> None:
    process = make_process(
        more='[admin]\npassword = "a-long-password"\n'
    ).start()  # its style sheet is our longest answer
    slow = Slow(process.port, count, manners)
    waited: list[float] = []
    try:
        ends = time.monotonic() + FOR_S
        while time.monotonic() < ends:
            began = time.monotonic()
            status, answer = process.request("POST", IN, rendered("incoming", call_session_id=len(waited)))
            waited.append(time.monotonic() - began)
            assert (status, answer["status"]) == (200, "accepted")
        stopped_in_s = process.terminate()
    finally:
        slow.close()
    assert max(waited) < OTHERS_WAIT_AT_MOST_S
    assert stopped_in_s < STOPS_WITHIN_S


def test_more_clients_than_there_are_descriptors_end_no_worker(make_process: Callable[..., Process]) -> None:
    process = make_process()
    process.prefix = ["sh", "-c", 'ulimit -n 100; exec "$@"', "sh"]
    [worker] = process.start().workers()
    clients = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(130)]
    try:
        for client in clients:
            client.send(HEAD.encode())
        status, answer = process.request("POST", IN, rendered("incoming"))
    finally:
        for client in clients:
            client.close()
    assert (status, answer["status"]) == (200, "accepted")
    assert process.workers() == [worker]


def test_descriptors_that_are_short_for_a_moment_end_no_worker(make_process: Callable[..., Process]) -> None:
    process = make_process()
    [worker] = process.start().workers()
    soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (1, hard))  # not even one more
    with socket.create_connection(("127.0.0.1", process.port)) as client:
        client.send(b"GET /healthz HTTP/1.1\r\nHost: relay\r\n\r\n")
        client.settimeout(1)
        with pytest.raises(TimeoutError):
            client.recv(1)
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
        client.settimeout(10)
        assert client.recv(12) == b"HTTP/1.1 200"
    assert process.workers() == [worker]
