"""Servers that treat each connection as told, and what a request to them comes to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from relay.config import OneCTarget
from relay.targets.http_client import Client, NoAnswer

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
QUICK = OneCTarget(
    name="onec", url="http://127.0.0.1/", timeout=timedelta(seconds=0.3), connect_timeout=timedelta(seconds=0.3)
)
Serve = Callable[[socket.socket], None]


@contextmanager
def server(serve: Serve, *, backlog: int = 5) -> Iterator[str]:
    """A server that treats each connection as told; gives its address."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=backlog)

    def run() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                serve(connection)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/in"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def read_request(connection: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"{}"):
        part = connection.recv(4096)
        if not part:
            break
        received += part
    return received


def wait_for_close(connection: socket.socket) -> None:
    try:
        while connection.recv(4096):
            pass
    except OSError:
        pass


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    connection.close()


def outcome_of(url: str, settings: OneCTarget = QUICK, body: bytes = b"{}") -> Any:
    client = Client(settings)
    try:
        return client.request("POST", url, {}, body)
    except NoAnswer as exc:
        return exc.outcome
    finally:
        client.close()
