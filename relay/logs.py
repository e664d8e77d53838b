"""Log lines: text for people, JSON for machines; secrets and phones hidden in one place."""

from __future__ import annotations

import atexit
import json
import logging
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

import structlog

_EXEMPT = {
    "event", "event_id", "delivery_id", "session", "timestamp", "level", "source", "target", "kind", "address",
    "endpoint", "now",
}  # fmt: skip
_LINK = re.compile(r"https?://\S+")
_PHONE = re.compile(r"(?<![\w-])\+?\d[\d()\s-]{8,16}\d(?![\w-])")
_SECRET = re.compile(r"(?i)((?:token|integration_key|password|secret|authorization)\W{1,4})[^\s\"'&,;]+")
_PLAIN = re.compile(r"[^\s\"=\\]*")
_WRITE_EVERY_S = 0.1


class Buffered:
    """Lines to a stream ten times a second, by a thread of its own.

    To write each at once costs a busy web process a third of its throughput: every write gives up the GIL.
    A kill loses at most a tenth of a second of the log, never a notification.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: deque[str] = deque()
        self._started = False
        self._mutex = threading.Lock()

    def write(self, line: str) -> None:
        self._lines.append(line)
        if not self._started:
            self._start()

    def flush(self) -> None:
        """Called after each line: nothing to do."""

    def drain(self) -> None:
        """Writes what has gathered."""
        with self._mutex:
            lines = [self._lines.popleft() for _ in range(len(self._lines))]
            if lines:
                self._stream.write("".join(lines))
                self._stream.flush()

    def _start(self) -> None:
        with self._mutex:
            if self._started:
                return
            self._started = True
        atexit.register(self.drain)
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(_WRITE_EVERY_S)
            self.drain()


def configure(environ: Mapping[str, str], *, buffered: bool = False) -> None:
    """Sets up logging for this process from LOG_LEVEL and LOG_FORMAT. `buffered` is for the web process."""
    level = getattr(logging, environ.get("LOG_LEVEL", "INFO").upper(), logging.INFO)
    stream: Any = Buffered(sys.stderr) if buffered else sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            _renderer(environ.get("LOG_FORMAT", "text").lower()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )


def _renderer(wanted: str) -> Any:
    if wanted == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    if sys.stderr.isatty():
        return structlog.dev.ConsoleRenderer(pad_event_to=24, sort_keys=False)
    return _as_text


def _as_text(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> str:
    """`2026-03-02T09:45:59.863Z info delivery.delivered target=onec …`; texts in quotes, a traceback below."""
    head = f"{fields.pop('timestamp')} {fields.pop('level')} {fields.pop('event')}"
    trace = fields.pop("exception", None)
    line = " ".join([head, *(f"{name}={_quoted(value)}" for name, value in fields.items())])
    return f"{line}\n{trace}" if trace else line


def _quoted(value: object) -> str:
    """A text with spaces or quotes in quotes, on one line: nobody else's words may look like a line of ours."""
    given = str(value)
    return given if _PLAIN.fullmatch(given) else json.dumps(given, ensure_ascii=False)


def redact(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Phones to their last four digits, links to their host, secrets away; what is not known is left out."""
    return {
        name: hide(value) if name not in _EXEMPT and type(value) is str else value
        for name, value in fields.items()
        if value is not None
    }


def hide(text: str) -> str:
    text = _LINK.sub(lambda found: "/".join(found[0].split("/")[:3]) + "/…", text)
    text = _SECRET.sub(r"\1***", text)
    return _PHONE.sub(lambda found: "…" + re.sub(r"\D", "", found[0])[-4:], text)
