"""gunicorn's threaded worker, but its threads meet whole requests only.

gthread lends a thread to whoever has connected, for as long as he takes to send and to read: sixteen slow clients,
and nobody else is served. Here the main loop receives, without waiting for anybody, and a thread gets a request when
its last byte has come; what a client does not read at once, the main loop sends when he does. So a slow client costs
a socket and what he has sent, for 15 s at most; and how a request ended (cut off, late, misframed) is known before
any of it is taken.

Where a request ends says `Framing`; whether it is a good one, gunicorn's parser. Where the two could read it
differently (two lengths, a length beside chunks), all that has come is handed over, and the connection ends with it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import resource
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import structlog
from gunicorn import http
from gunicorn.http import errors, wsgi
from gunicorn.workers.gthread import PollableMethodQueue, ThreadWorker
from werkzeug.exceptions import (
    BadRequest,
    ExpectationFailed,
    HTTPException,
    InternalServerError,
    RequestEntityTooLarge,
    RequestHeaderFieldsTooLarge,
    RequestTimeout,
    RequestURITooLarge,
)

from relay.web.rejection import rejection

log = structlog.get_logger("relay.web")

REQUEST_S = 15.0  # from a request's first byte to its last, and again for its answer to be read
_SILENT_S = 5  # a connection that has sent nothing yet stays with the kernel
_STOPPING_S = 2.0  # a stopping worker waits so long for the rest of a request
_DISCARD_S = 2.0  # for the client to close first: closed on bytes not read, it would lose our answer
_SWEEP_EVERY_S = 0.5
_TOGETHER = 32 * 1024 * 1024  # bytes of unfinished requests, at most
_PIECE = 16 * 1024
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.01
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

HEAD_MAX = 64 * 1024
_CHUNK_LINE_MAX = 8190
_END = b"\r\n\r\n"
_BARE_LF = re.compile(rb"(?<!\r)\n")
_CHUNK_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;|\Z)")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_DISCARD_MAX = 256 * 1024
_REJECTED_AS: dict[type[Exception], type[HTTPException]] = {
    errors.LimitRequestLine: RequestURITooLarge,
    errors.LimitRequestHeaders: RequestHeaderFieldsTooLarge,
    errors.ExpectationFailed: ExpectationFailed,
}


class FinishedRequests(PollableMethodQueue):  # type: ignore[misc]  # gunicorn has no types
    """Holds what threads have finished for the main loop, and wakes it, once for all that waits: each write to the pipe
    gives up the interpreter's lock. A signal that ends the worker wakes it by this, too.
    """

    _is_told = False

    def defer(self, callback: Callable[..., None], *args: Any) -> None:
        self._queue.put(partial(callback, *args))
        if not self._is_told:
            self._is_told = True
            with contextlib.suppress(OSError):  # nobody reads any more: the worker has ended
                os.write(self._write_fd, b"\x00")

    def run_callbacks(self, _pipe: int) -> None:
        os.read(self._read_fd, _PIECE)  # all that stands there
        self._is_told = False  # before the look: what comes from now on tells anew
        for _ in range(self._queue.qsize()):
            self._queue.get_nowait()()

    def close(self) -> None:
        """Close the end that is read. The other ends with the process: its number would be given to another file, the
        database say, and a thread that is late write into that.
        """
        os.close(self._read_fd)


class GunicornSettings:
    """Looks up each of gunicorn's settings once, when a request first needs it: `post_fork` has set some until then.

    Twenty looks for each request took 3 % of its time.
    """

    def __init__(self, cfg: Any) -> None:
        self._cfg = cfg

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._cfg, name)
        setattr(self, name, value)
        return value


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    alive: bool
    worker_connections: int

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.method_queue = FinishedRequests()
        self._settings = GunicornSettings(self.cfg)
        self._watched: set[Connection] = set()
        self._sweep_at = 0.0
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if descriptors != resource.RLIM_INFINITY:  # the other half is for the store and the targets
            self.worker_connections = min(self.worker_connections, descriptors // 2)

    def run(self) -> None:
        for listener in self.sockets:
            if listener.sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_DEFER_ACCEPT"):
                listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _SILENT_S)
        super().run()

    # In the main loop, which waits for nobody.

    def accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except OSError as exc:  # of this one client, or of this moment: never a reason to end with all the others
            if exc.errno in _FULL:
                self._make_room()
            return
        sock.setblocking(False)
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._make_room()
        conn = Connection(sock, client, listener.getsockname(), self._framing())
        conn.deadline = self._deadline(self.cfg.keepalive)
        self._receive(conn)

    def _make_room(self) -> None:
        """Close the connection that has least time left."""
        if self._watched:
            self._close(min(self._watched, key=lambda conn: conn.deadline))
        else:
            time.sleep(_PAUSE_S)  # the threads have them all

    def _deadline(self, seconds: float) -> float:
        return time.monotonic() + (seconds if self.alive else min(seconds, _STOPPING_S))

    def _framing(self) -> Framing:
        return Framing(self.wsgi.config["LARGEST_BODY"])

    def _receive(self, conn: Connection) -> None:
        try:
            piece = conn.sock.recv(_PIECE)
        except BlockingIOError:
            return self._watch(conn, selectors.EVENT_READ, self._receive)
        except OSError:
            return self._close(conn)
        if piece:
            if not conn.received:
                conn.deadline = self._deadline(REQUEST_S)
            conn.received += piece
            return self._advance(conn)
        if conn.received:
            cut = BadRequest("the connection ended before the request did; nothing of it was taken")
            return self._hand_over(conn, Frame(len(conn.received), cut))
        return self._close(conn)

    def _advance(self, conn: Connection) -> None:
        """Give the request to a thread if it is whole."""
        frame = conn.framing.advance(conn.received) if conn.received else None
        if frame is not None:
            return self._hand_over(conn, frame)
        if conn.framing.waits_for_continue:
            conn.framing.waits_for_continue = False
            with contextlib.suppress(OSError):
                conn.sock.send(_CONTINUE)
        self._watch(conn, selectors.EVENT_READ, self._receive)
        if len(conn.received) > _PIECE:
            self._limit_memory()
        return None

    def _limit_memory(self) -> None:
        """End the largest of the requests that come in when together they hold too much."""
        if sum(len(conn.received) for conn in self._watched) > max(_TOGETHER, 2 * self.wsgi.config["LARGEST_BODY"]):
            largest = max(self._watched, key=lambda conn: len(conn.received))
            full = RequestEntityTooLarge("too much is being received at once; send it again")
            self._hand_over(largest, Frame(len(largest.received), full))

    def _hand_over(self, conn: Connection, frame: Frame) -> None:
        self._unwatch(conn)
        conn.begin_request(frame)
        self.enqueue_req(conn)

    def finish_request(self, conn: Connection, fs: Future[None]) -> None:
        if fs.cancelled() or fs.exception() is not None:
            return self._close(conn)
        return self._after_answer(conn)

    def _after_answer(self, conn: Connection) -> None:
        """After an answer: the rest of it, the next request, or the end."""
        if conn.unsent:
            if not conn.events:  # the first look: what follows gets no more time
                conn.deadline = time.monotonic() + REQUEST_S
            self._watch(conn, selectors.EVENT_WRITE, self._send)
        elif conn.keep:
            conn.framing = self._framing()
            conn.deadline = self._deadline(REQUEST_S if conn.received else self.cfg.keepalive)
            if conn.received:
                self._advance(conn)
            else:  # a busy client has sent the next one meanwhile
                self._receive(conn)
        else:
            conn.deadline = self._deadline(_DISCARD_S)
            with contextlib.suppress(OSError):  # the client has gone: discard says so
                conn.sock.shutdown(socket.SHUT_WR)
            self._discard(conn)

    def _send(self, conn: Connection) -> None:
        try:
            conn.flush()
        except OSError:
            return self._close(conn)
        return self._after_answer(conn)

    def _discard(self, conn: Connection) -> None:
        try:
            over = conn.discard()
        except OSError:
            over = True
        if over:
            self._close(conn)
        else:
            self._watch(conn, selectors.EVENT_READ, self._discard)

    def _watch(self, conn: Connection, events: int, ready: Callable[[Connection], None]) -> None:
        conn.ready = ready
        if conn.events == events:
            return
        if conn.events:
            self.poller.modify(conn.sock, events, partial(self._on_ready, conn))
        else:
            self.poller.register(conn.sock, events, partial(self._on_ready, conn))
        conn.events = events
        self._watched.add(conn)

    def _on_ready(self, conn: Connection, _sock: socket.socket) -> None:
        if conn in self._watched:  # else it was ended by what else happened in this turn
            conn.ready(conn)

    def _unwatch(self, conn: Connection) -> None:
        if conn.events:
            conn.events = 0
            self._watched.discard(conn)
            self.poller.unregister(conn.sock)

    def _close(self, conn: Connection) -> None:
        self._unwatch(conn)
        self.nr_conns -= 1
        conn.sock.close()

    def murder_pending(self) -> None:
        """Called in each turn of the loop: end what has had its time."""
        now = time.monotonic()
        if now < self._sweep_at:
            return
        self._sweep_at = now + _SWEEP_EVERY_S
        for conn in [conn for conn in self._watched if conn.deadline <= now]:
            if conn.received and conn.ready == self._receive:
                late = RequestTimeout(f"the request did not come whole within {REQUEST_S:.0f} s; send it again")
                self._hand_over(conn, Frame(len(conn.received), late))
            else:
                self._close(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        for conn in self._watched:
            conn.deadline = min(conn.deadline, deadline)

    # In a thread of the pool.

    def handle(self, conn: Connection) -> None:
        """Answer one request."""
        try:
            self._serve(conn)
        except errors.ParseException as exc:
            _reject(conn, _http_error(exc), type(exc).__name__)
        except HTTPException as exc:  # what Connection.recv met while the head was read
            _reject(conn, exc, type(exc).__name__)
        except Exception:  # a fault of ours must not end the thread: the sender is told to try again
            log.exception("web.failed")
            if not conn.is_answered:
                _reject(conn, InternalServerError())

    def _serve(self, conn: Connection) -> None:
        began = datetime.now()  # noqa: DTZ005  gunicorn's access log takes the difference
        cfg = self._settings
        parser = http.get_parser(cfg, conn, conn.client)
        request = next(parser)
        request.body.reader = Reader(request.body.reader)
        response, environ = wsgi.create(request, conn, conn.client, conn.server, cfg)
        environ["wsgi.multithread"] = True
        environ["relay.waited_s"] = time.monotonic() - conn.is_whole_since  # for a thread
        environ["relay.threads"] = cfg.threads
        self._count_request()
        if not (self.alive and conn.keep):
            response.force_close()
        chunks = self.wsgi(environ, response.start_response)
        try:
            for chunk in chunks:
                response.write(chunk)
            response.close()
            conn.keep = conn.keep and not response.should_close() and _is_read(parser)
            with contextlib.suppress(OSError):  # the client has gone: the main loop learns it from its next look
                conn.flush()
        finally:
            self.log.access(response, request, environ, datetime.now() - began)  # noqa: DTZ005  # the same difference
            if hasattr(chunks, "close"):
                chunks.close()

    def _count_request(self) -> None:
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False


def _is_read(parser: Any) -> bool:
    """Is nothing left of the request, however gunicorn reads it? Else nobody knows what the next one would be."""
    try:
        return bool(parser.finish_body()) and not parser.unreader.buf.getvalue()
    except HTTPException:
        return False


def _reject(conn: Connection, exc: HTTPException, error: str | None = None) -> None:
    if error is not None:
        address = conn.client[0] if isinstance(conn.client, tuple) else None
        log.warning("request.refused", status=exc.code, error=error, address=address)
    response = rejection(exc)
    head = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
    conn.unsent[:] = f"HTTP/1.1 {response.status}\r\nConnection: close\r\n{head}\r\n".encode() + response.get_data()
    conn.keep = False
    with contextlib.suppress(OSError):
        conn.flush()


# --- where a request ends, and its connection; nothing here waits for the client


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
            raise _http_error(exc) from None


def _http_error(exc: Exception) -> HTTPException:
    """Say the fault's name alone: the request, which it repeats, may hold a secret."""
    rejected_as = _REJECTED_AS.get(type(exc), BadRequest)
    return rejected_as(f"the server does not take such a request: {type(exc).__name__}")
