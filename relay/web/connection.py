"""A client's connection: what a thread and gunicorn's parser see of it. Nothing here waits for the client."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from typing import Any

from gunicorn.http import errors
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    HTTPException,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)

from relay.web.framing import Frame, Framing

_PIECE = 16 * 1024
_PARTING_BYTES = 256 * 1024
_REFUSED_AS: dict[type[Exception], type[HTTPException]] = {
    errors.LimitRequestLine: RequestURITooLarge,
    errors.LimitRequestHeaders: RequestHeaderFieldsTooLarge,
    errors.ExpectationFailed: ExpectationFailed,
}


class Connection:
    """A client: what has come of his next request, and what of our answer has not gone out yet."""

    def __init__(self, sock: socket.socket, client: Any, server: Any, framing: Framing) -> None:
        self.sock, self.client, self.server, self.framing = sock, client, server, framing
        self.received = bytearray()
        self.request = b""  # what a thread has in hand
        self.ending: HTTPException | None = None  # what it meets after the last byte
        self.unsent = bytearray()
        self.keep = False  # for another request
        self.is_answered = False
        self.deadline = 0.0
        self.ready: Callable[[Connection], None]  # what the main loop does when the socket is
        self.events = 0  # what it waits for; 0 while a thread has the connection
        self._read = self._discarded = 0

    # What gunicorn's parser and its answer take for a socket.
    def recv(self, size: int) -> bytes:
        piece = self.request[self._read : self._read + size]
        if not piece:
            raise self.ending or BadRequest("the request ends before its body does; nothing of it was taken")
        self._read += len(piece)
        return piece

    def sendall(self, data: bytes) -> None:
        self.unsent += data

    def send(self, _data: bytes) -> None:
        """Drop gunicorn's `100 Continue`: the body is here."""

    def take(self, frame: Frame) -> None:
        """Set the next request apart."""
        self.request, self._read = bytes(self.received[: frame.length]), 0
        del self.received[: frame.length]
        self.ending = frame.ending
        self.keep, self.is_answered = frame.ending is None, False

    def flush(self) -> None:
        """Send what the client takes without being waited for."""
        self.is_answered = True
        with contextlib.suppress(BlockingIOError):
            while self.unsent:
                del self.unsent[: self.sock.send(self.unsent)]

    def discard(self) -> bool:
        """Read away what still comes. Is it over?"""
        try:
            while self._discarded < _PARTING_BYTES and (piece := self.sock.recv(_PIECE)):
                self._discarded += len(piece)
        except BlockingIOError:
            return False
        return True


class Reader:
    """The reader of a body, whose faults are refusals."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._reader.read(size))
        except errors.ParseException as exc:
            raise refused(exc) from None


def refused(exc: Exception) -> HTTPException:
    """Say the fault's name alone: the request, which it repeats, may hold a secret."""
    refused_as = _REFUSED_AS.get(type(exc), BadRequest)
    return refused_as(f"the server does not take such a request: {type(exc).__name__}")
