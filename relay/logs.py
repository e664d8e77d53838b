"""Log lines: text for people, JSON for machines; secrets and phones hidden in one place."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

_EXEMPT = {"event", "event_id", "delivery_id", "session", "timestamp", "level", "source", "target", "kind", "address"}
_LINK = re.compile(r"https?://\S+")
_PHONE = re.compile(r"(?<![\w-])\+?\d[\d()\s-]{8,16}\d(?![\w-])")
_SECRET = re.compile(r"(?i)((?:token|password|secret|authorization)\W{1,4})[^\s\"'&,;]+")


def configure(environ: Mapping[str, str]) -> None:
    """Sets up logging for this process from LOG_LEVEL and LOG_FORMAT."""
    level = getattr(logging, environ.get("LOG_LEVEL", "INFO").upper(), logging.INFO)
    as_json = environ.get("LOG_FORMAT", "text").lower() == "json"
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=24, sort_keys=False)
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _drop_empty,
            structlog.processors.format_exc_info,
            redact,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def redact(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Phones to their last four digits, links to their host, secrets away."""
    for name, value in fields.items():
        if name not in _EXEMPT and isinstance(value, str):
            fields[name] = hide(value)
    return fields


def hide(text: str) -> str:
    text = _LINK.sub(lambda found: "/".join(found[0].split("/")[:3]) + "/…", text)
    text = _SECRET.sub(r"\1***", text)
    return _PHONE.sub(lambda found: "…" + re.sub(r"\D", "", found[0])[-4:], text)


def _drop_empty(_logger: object, _method: str, fields: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
