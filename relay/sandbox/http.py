"""What a simulated system is asked and what it answers, and which of its next requests go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable
from typing import Any, Literal

from msgspec import Struct

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"


Fault = Literal["hang", "reset", "drip_headers", "drip_body", "continue_for_ever"]


class Request(Struct, frozen=True):
    method: str
    path: str
    query: dict[str, list[str]] = {}
    body: bytes = b""
    authorization: str = ""
    host: str = "127.0.0.1"  #: with the port, as the client wrote it


class Reply(Struct, frozen=True):
    status: int
    body: bytes = b""
    content_type: str = TEXT
    headers: dict[str, str] = {}
    phrase: str | None = None  #: in the status line, where it is not the usual one
    fault: Fault | None = None  #: what the server does instead of answering


def json_reply(said: Any, status: int = 200, content_type: str = JSON) -> Reply:
    return Reply(status, json.dumps(said, ensure_ascii=False).encode(), content_type)


# A request that never gets its answer. After "_after_writing" the system has done what it was asked.
FAULTS: dict[str, Reply] = {
    "hang": Reply(200, fault="hang"),
    "reset": Reply(200, fault="reset"),
    "hang_after_writing": Reply(200, fault="hang"),
    "reset_after_writing": Reply(200, fault="reset"),
    "drip_headers_after_writing": Reply(200, fault="drip_headers"),
    "drip_body_after_writing": Reply(200, fault="drip_body"),
    "continue_for_ever_after_writing": Reply(200, fault="continue_for_ever"),
}
FAULTS_AFTER_WRITING = frozenset(name for name in FAULTS if name.endswith("_after_writing"))


def _page(status: int, title: str, text: str, signature: str) -> Reply:
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n{text}\r\n{signature}\r\n</body></html>"
    return Reply(status, page.encode(), HTML)


def _nginx(status: int, title: str) -> Reply:
    title = f"{status} {title}"
    return _page(status, title, f"<center><h1>{title}</h1></center>", "<hr><center>nginx/1.24.0</center>")


_APACHE = "<address>Apache/2.4.57 (Debian) Server at 1c.example.test Port 80</address>"
# What a web server or a proxy in front of a system says instead of it.
IN_FRONT: dict[str, Reply] = {
    "nginx_400": _nginx(400, "The plain HTTP request was sent to HTTPS port"),
    "apache_400": _page(
        400,
        "400 Bad Request",
        "<h1>Bad Request</h1><p>Your browser sent a request that this server could not understand.<br /></p>",
        _APACHE,
    ),
    "iis_400": _page(
        400,
        "Bad Request",
        "<h2>Bad Request - Invalid Hostname</h2><hr>",
        "<p>HTTP Error 400. The request hostname is invalid.</p>",
    ),
    **{
        f"status_{status}": _nginx(status, title)
        for status, title in (
            (402, "Payment Required"),
            (407, "Proxy Authentication Required"),
            (410, "Gone"),
            (411, "Length Required"),
            (415, "Unsupported Media Type"),
            (421, "Misdirected Request"),
            (423, "Locked"),
            (431, "Request Header Fields Too Large"),
            (451, "Unavailable For Legal Reasons"),
        )
    },
}


def apache_404(path: str) -> Reply:
    """Apache's page repeats the path, and at Bitrix24 that holds the secret."""
    text = f"<h1>Not Found</h1>\n<p>The requested URL {path} was not found on this server.</p>\n<hr>"
    return _page(404, "404 Not Found", text, _APACHE)


class Failure(Struct, frozen=True):
    mode: str
    left: int  #: -1: all requests until told otherwise


class Failures:
    """What the next requests come to: of all methods, or of the one that is named. Thread-safe."""

    def __init__(self, modes: Iterable[str]) -> None:
        self.modes = ("ok", *modes)
        self._mutex = threading.Lock()
        self._told: dict[str | None, Failure] = {}

    def tell(self, mode: str, count: int, method: str | None = None) -> None:
        """The next `count` requests come to `mode`; "ok" ends it. Raises ValueError for a mode there is not."""
        if mode not in self.modes:
            raise ValueError(f"there is no mode {mode}; there are: {', '.join(self.modes)}")
        name = None if method is None else method.lower()
        with self._mutex:
            if mode == "ok" and name is None:
                self._told.clear()
            self._told.pop(name, None)
            if mode != "ok" and count:
                self._told[name] = Failure(mode, count)

    def clear(self) -> None:
        with self._mutex:
            self._told.clear()

    def next(self, *names: str, unless: Collection[str] = ()) -> str | None:
        """The mode of a request that goes by these names. A mode of `unless` stays for a later request."""
        with self._mutex:
            for name in (*(known.lower() for known in names), None):
                told = self._told.get(name)
                if told is not None and told.mode not in unless:
                    return self._used(name, told)
        return None

    def _used(self, name: str | None, told: Failure) -> str:
        if told.left == 1:
            del self._told[name]
        elif told.left > 1:
            self._told[name] = Failure(told.mode, told.left - 1)
        return told.mode
