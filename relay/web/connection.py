"""A client's connection: finds where each request ends among the bytes that have come, so that a thread is given whole
requests only, and is what gunicorn's parser takes for a socket. Nothing here waits for the client.

Says nothing of whether the request is a good one: that is for gunicorn's parser. Where the two could read it
differently (two lengths, a length beside chunks), all that has come is handed over, and the connection ends with it.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from gunicorn.http import errors
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    HTTPException,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestURITooLarge,
)

HEAD_MAX = 64 * 1024
_CHUNK_LINE_MAX = 8190
_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;|\Z)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_PIECE = 16 * 1024
_DISCARD_MAX = 256 * 1024
_REJECTED_AS: dict[type[Exception], type[HTTPException]] = {
    errors.LimitRequestLine: RequestURITooLarge,
    errors.LimitRequestHeaders: RequestHeaderFieldsTooLarge,
    errors.ExpectationFailed: ExpectationFailed,
}


class Frame(NamedTuple):
    length: int  #: how many of the bytes are the request
    ending: HTTPException | None  #: why no more of it will come; None when it is whole


class Framing:
    """One request's way from its first byte to its last. No byte is searched twice."""

    def __init__(self, largest_body: int) -> None:
        self.waits_for_continue = False  #: the client holds its body back until it is told to go on
        self._largest = largest_body
        self._state: Callable[[Framing, bytearray], Frame | None] = Framing._head
        self._at = 0
        self._most = 0

    def advance(self, received: bytearray) -> Frame | None:
        """Return the first request among all that has come so far; None while more of it is needed."""
        return self._state(self, received)

    def _head(self, received: bytearray) -> Frame | None:
        end = received.find(_END, max(0, self._at - len(_END) + 1))
        if end >= 0:
            return self._after_head(received, end + len(_END))
        if _BARE_LF.search(received, self._at):
            return _misframed(received)  # such a head would never end
        self._at = len(received)
        if len(received) > HEAD_MAX:
            return Frame(len(received), RequestHeaderFieldsTooLarge(f"the headers are longer than {HEAD_MAX} bytes"))
        return None

    def _after_head(self, received: bytearray, end: int) -> Frame | None:
        head = bytes(received[:end]).lower()
        lengths, codings = _values(head, b"content-length"), _values(head, b"transfer-encoding")
        self._at = end
        if not lengths and not codings:
            return Frame(end, None)
        if [coding.rpartition(b",")[2].strip() for coding in codings] == [b"chunked"] and not lengths:
            self._state, self._most = Framing._chunks, end + self._largest
        elif len(lengths) == 1 and not codings and _LENGTH.fullmatch(lengths[0]):
            self._state, self._most = Framing._counted, end + int(lengths[0])
            if int(lengths[0]) > self._largest:
                return self._too_large(received)
        else:
            return _misframed(received)
        self.waits_for_continue = _values(head, b"expect") == [b"100-continue"] and b" http/1.1\r\n" in head
        return self._state(self, received)

    def _counted(self, received: bytearray) -> Frame | None:
        return Frame(self._most, None) if len(received) >= self._most else None

    def _chunks(self, received: bytearray) -> Frame | None:
        while True:
            line_end = received.find(b"\r\n", self._at)
            if line_end < 0:
                return _misframed(received) if len(received) - self._at > _CHUNK_LINE_MAX else None
            size = _CHUNK_SIZE.match(received, self._at, line_end)
            if size is None:
                return _misframed(received)
            chunk_end = line_end + 2 + int(size[1], 16)
            if chunk_end == line_end + 2:  # the last chunk: after its line the trailers, of which there may be none
                self._state, self._at, self._most = Framing._trailers, line_end, line_end + HEAD_MAX
                return self._trailers(received)
            if chunk_end > self._most:
                return self._too_large(received)
            if len(received) < chunk_end + 2:
                return None
            if received[chunk_end : chunk_end + 2] != b"\r\n":
                return _misframed(received)
            self._at = chunk_end + 2

    def _trailers(self, received: bytearray) -> Frame | None:
        end = received.find(_END, self._at)
        if end >= 0:
            return Frame(end + len(_END), None)
        self._at = max(self._at, len(received) - len(_END) + 1)
        return self._too_large(received) if len(received) > self._most else None

    def _too_large(self, received: bytearray) -> Frame:
        sentence = f"the body is larger than the {self._largest} bytes that are taken anywhere here"
        return Frame(len(received), RequestEntityTooLarge(sentence))


def _misframed(received: bytearray) -> Frame:
    return Frame(len(received), BadRequest("it cannot be told where this request ends; nothing of it was taken"))


def _values(head: bytes, name: bytes) -> list[bytes]:
    """Return what stands under a name in a head of small letters."""
    return [part.partition(b"\r\n")[0].strip() for part in head.split(b"\r\n" + name + b":")[1:]]


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

    def begin_request(self, frame: Frame) -> None:
        """Set the next request apart for a thread."""
        self.is_whole_since = time.monotonic()
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
            while self._discarded < _DISCARD_MAX and (piece := self.sock.recv(_PIECE)):
                self._discarded += len(piece)
        except BlockingIOError:
            return False
        return True


class Reader:
    """The reader of a body, whose faults are rejections."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader

    def read(self, size: int) -> bytes:
        try:
            return bytes(self._reader.read(size))
        except errors.ParseException as exc:
            raise rejected(exc) from None


def rejected(exc: Exception) -> HTTPException:
    """Say the fault's name alone: the request, which it repeats, may hold a secret."""
    rejected_as = _REJECTED_AS.get(type(exc), BadRequest)
    return rejected_as(f"the server does not take such a request: {type(exc).__name__}")
