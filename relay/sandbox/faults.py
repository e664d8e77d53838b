"""Makes the next requests to a simulated system go wrong, and says how; what all simulators share stands here."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

from msgspec import Struct

from relay.clock import Clock
from relay.sandbox.http import HTML, Reply
from relay.sandbox.oauth_server import Tokens

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


def after_acting(mode: str | None, reply: Reply) -> Reply:
    """Return the answer to what was done; some modes keep it from arriving."""
    return FAULTS[mode] if mode is not None and mode in FAULTS_AFTER_WRITING else reply


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
    """Return Apache's page: it repeats the path, and at Bitrix24 that holds the secret."""
    text = f"<h1>Not Found</h1>\n<p>The requested URL {path} was not found on this server.</p>\n<hr>"
    return _page(404, "404 Not Found", text, _APACHE)


class Failure(Struct, frozen=True):
    """Holds what the next requests come to."""

    mode: str
    left: int  #: -1: all requests until told otherwise


class Failures:
    """Holds what the next requests come to: of all methods, or of the one that is named. Thread-safe."""

    def __init__(self, modes: Iterable[str]) -> None:
        self.modes = ("ok", *modes)
        self._mutex = threading.Lock()
        self._failures: dict[str | None, Failure] = {}

    def set(self, mode: str, count: int, method: str | None = None) -> None:
        """Let the next `count` requests come to `mode`; "ok" ends it. Raises ValueError for a mode there is not."""
        if mode not in self.modes:
            raise ValueError(f"there is no mode {mode}; there are: {', '.join(self.modes)}")
        name = None if method is None else method.lower()
        with self._mutex:
            if mode == "ok" and name is None:
                self._failures.clear()
            self._failures.pop(name, None)
            if mode != "ok" and count:
                self._failures[name] = Failure(mode, count)

    def clear(self) -> None:
        with self._mutex:
            self._failures.clear()

    def next(self, *names: str, unless: Collection[str] = ()) -> str | None:
        """Return the mode of a request that goes by these names. A mode of `unless` stays for a later request."""
        with self._mutex:
            for name in (*(each.lower() for each in names), None):
                failure = self._failures.get(name)
                if failure is not None and failure.mode not in unless:
                    return self._used(name, failure)
        return None

    def _used(self, name: str | None, failure: Failure) -> str:
        if failure.left == 1:
            del self._failures[name]
        elif failure.left > 1:
            self._failures[name] = Failure(failure.mode, failure.left - 1)
        return failure.mode


class Simulator(ABC):
    """Simulates one system. Thread-safe; `fail` says what the next requests come to."""

    def __init__(self, modes: Iterable[str]) -> None:
        self._mutex = threading.Lock()
        self._failures = Failures(modes)

    @property
    def modes(self) -> tuple[str, ...]:
        return self._failures.modes

    def fail(self, mode: str, count: int, method: str | None = None) -> None:
        """Let the next `count` requests (of a method) come to `mode`; -1: all until told otherwise; "ok": none."""
        self._failures.set(mode, count, method)

    def reset(self) -> None:
        """Empty it, as at the start. Tokens stay: whoever was given one keeps it."""
        self._failures.clear()
        with self._mutex:
            self._reset()

    def state(self) -> dict[str, Any]:
        """Return what it holds."""
        with self._mutex:
            return self._state()

    @abstractmethod
    def _reset(self) -> None: ...

    @abstractmethod
    def _state(self) -> dict[str, Any]: ...


class CrmSimulator(Simulator):
    """Simulates a CRM: it notes what it was asked, limits that, and gives out tokens."""

    def __init__(
        self,
        modes: Iterable[str],
        refresh_token: str,
        *,
        access_lives: timedelta,
        refresh_lives: timedelta,
        clock: Clock,
    ) -> None:
        super().__init__(modes)
        self._clock = clock
        self._tokens = Tokens(refresh_token, access_lives=access_lives, refresh_lives=refresh_lives, clock=clock)
        self._requests: list[str] = []
        self._times_limited = 0

    def expire_token(self) -> None:
        """End all access tokens that were given out by OAuth."""
        with self._mutex:
            self._tokens.expire()

    def _reset(self) -> None:
        self._requests.clear()
        self._times_limited = 0
