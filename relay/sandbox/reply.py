"""What a simulated system is asked and what it answers, and which of its next requests go wrong."""

from __future__ import annotations

import json
import threading
from collections.abc import Collection, Iterable
from typing import Any

from msgspec import Struct

TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"


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
    fault: str | None = None  #: hang | reset: what the server does instead of answering


def json_reply(said: Any, status: int = 200, content_type: str = JSON) -> Reply:
    return Reply(status, json.dumps(said, ensure_ascii=False).encode(), content_type)


# A request that never gets its answer. After "_after_writing" the system has done what it was asked.
FAULTS: dict[str, Reply] = {
    "hang": Reply(200, fault="hang"),
    "reset": Reply(200, fault="reset"),
    "hang_after_writing": Reply(200, fault="hang"),
    "reset_after_writing": Reply(200, fault="reset"),
}
FAULTS_AFTER_WRITING = frozenset({"hang_after_writing", "reset_after_writing"})


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
