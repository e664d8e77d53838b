"""Log lines: text for people, JSON for machines; secrets and phones hidden in one place."""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_IDS = ("event_id", "delivery_id", "session")
_NAMES = ("source", "target", "kind", "address", "endpoint")
_EXEMPT = {"event", "timestamp", "level", "now", *_IDS, *_NAMES}
_SLASH = r"(?:\\?/|%2[Ff])"  # in JSON it may have a backslash before it, in a form it is encoded
_LINK = re.compile(rf"(https?)(?::|%3[Aa]){_SLASH}{{2}}((?:(?!{_SLASH})[^\s\"'<>\\])*)(?:{_SLASH}|[^\s\"'<>\\])*")
_PHONE = re.compile(  # not in an id of ours, nor the time in a copy's name; a Russian one also behind letters
    r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?<!\d)20\d{12}(?!\d))"
    r"|(?<![^\W_])(?<!\d-)\+?\d[\d()\s-]{8,16}\d(?![^\W_])|(?<!\d)[78]\d{10}(?!\d)"
)
_SECRET = re.compile(r"(?i)((?:token|integration_key|password|secret|authorization)\W{1,4})[^\s\"'&,;]+")
_PLAIN = re.compile(r"[^\s\"=\\]*")
_WRITE_EVERY_S = 0.1
_WAITING_MAX = 2 * 1024 * 1024  # characters of lines that the disk has not taken


class Buffered:
    """Lines to a descriptor ten times a second, by a thread of its own.

    To write each at once costs a busy web process a third of its throughput: every write gives up the GIL.
    A kill loses at most a tenth of a second of the log, never a notification. While the disk takes nothing (or the
    reader of a pipe stands still) lines wait, up to a bound; what is beyond it is counted, and told when it goes on.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: list[str] = []
        self._waiting = 0  # characters
        self._lost = 0
        self._unwritten = b""  # taken from the lines, of which the disk has not taken this
        self._started = False
        self._mutex = threading.Lock()
        self._draining = threading.Lock()  # held while the disk is waited for: nobody who logs needs it

    def write(self, line: str) -> None:
        with self._mutex:
            if self._waiting + len(line) > _WAITING_MAX:
                self._lost += 1
                return
            self._lines.append(line)
            self._waiting += len(line)
            started, self._started = self._started, True
        if not started:
            atexit.register(self.drain)
            threading.Thread(target=self._run, name="log", daemon=True).start()

    def flush(self) -> None:
        """Called after each line: nothing to do."""

    def drain(self) -> None:
        """Write what has gathered, as far as the disk takes it, and how many lines were lost meanwhile."""
        with self._draining, contextlib.suppress(OSError):  # tried again in a tenth of a second
            self._write()
            lines, lost = self._take()
            if lost:
                structlog.get_logger("relay.logs").warning("log.lines_lost", lines=lost)
                lines += self._take()[0]  # that line
            self._unwritten = "".join(lines).encode("utf-8", "backslashreplace")
            self._write()

    def _write(self) -> None:
        while self._unwritten:
            self._unwritten = self._unwritten[os.write(self._descriptor, self._unwritten) :]

    def _take(self) -> tuple[list[str], int]:
        with self._mutex:
            lines, lost = self._lines, self._lost
            self._lines, self._waiting, self._lost = [], 0, 0
        return lines, lost

    def _run(self) -> None:
        while True:
            time.sleep(_WRITE_EVERY_S)
            self.drain()


class Foreign(logging.Handler):
    """What libraries log by Python's own means (Flask an error with its traceback) goes the way of our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {"logger": record.name, "text": record.getMessage(), "exc_info": record.exc_info}
            structlog.get_logger("relay.logs").log(record.levelno, "library.said", **fields)
        except Exception:  # a line that cannot be made is told on stderr, and stops nobody who logs
            self.handleError(record)


def configure(environ: Mapping[str, str], *, buffered: bool = False) -> None:
    """Set up logging for this process from LOG_LEVEL and LOG_FORMAT. `buffered` is for the web process."""
    level = getattr(logging, environ.get("LOG_LEVEL", "INFO").upper(), logging.INFO)
    stream: Any = Buffered(sys.stderr.fileno()) if buffered else sys.stderr
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact_fields,
            _renderer(environ.get("LOG_FORMAT", "text").lower()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [*(handler for handler in root.handlers if not isinstance(handler, Foreign)), Foreign()]


def _renderer(form: str) -> Any:
    if form == "json":
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
    """Put a text with spaces or quotes in quotes, on one line: nobody else's words may look like a line of ours."""
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def redact_fields(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Redact the texts that may hold anything; leave out what is not known."""
    return {
        name: redact(value) if name not in _EXEMPT and type(value) is str else value
        for name, value in fields.items()
        if value is not None
    }


def redact(text: str) -> str:
    """Return the text without links, secrets, and all but the ends of phones."""
    text = _SECRET.sub(r"\1***", hide_links(text))
    return _PHONE.sub(lambda match: match[1] or "…" + re.sub(r"\D", "", match[0])[-4:], text)


def hide_links(text: str) -> str:
    """Return the text with only the host of each link: recordings open without a login."""
    return _LINK.sub(r"\1://\2/…", text)
