"""Settings written as text: secrets, durations, sizes, rates. Raises ValueError with an example."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, NewType

from msgspec import Meta, Struct

from relay.i18n import Message

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_SIZE = re.compile(r"\s*(\d+)\s*(B|KB|MB)?\s*", re.IGNORECASE)
_SIZES = {"": 1, "B": 1, "KB": 1024, "MB": 1024 * 1024}
_LONGEST = timedelta(days=365_000)  # further from now no calendar goes
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|m|h)\s*(?:burst\s+(\d+))?\s*")

Size = NewType("Size", int)  #: bytes
Positive = Annotated[int, Meta(ge=1)]
ONE_OR_MORE = "one or more"  #: marks a tuple that may be written as its only item


class Secret(str):
    """Text that must not reach a log: its repr hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Rate(Struct, frozen=True):
    per_second: float
    burst: int


def duration(value: object) -> timedelta:
    """Read `"30s"`, `"72h"`, or a plain 0."""
    if value == 0 and not isinstance(value, bool):
        return timedelta(0)
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        text = Message('%(value)s is not a duration; write it like "30s", "5m", "72h" or "30d"', value=repr(value))
        raise ValueError(text)
    try:
        span = timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    except OverflowError:
        span = timedelta.max
    if span > _LONGEST:
        raise ValueError(Message('%(value)s is too long; at most "%(days)sd"', value=repr(value), days=_LONGEST.days))
    return span


def size(value: object) -> Size:
    """Read `"64KB"`, or bytes as a number."""
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return Size(value)
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None or int(match[1]) == 0:
        raise ValueError(Message('%(value)s is not a size; write it like "64KB"', value=repr(value)))
    return Size(int(match[1]) * _SIZES[(match[2] or "").upper()])


def rate(value: object) -> Rate:
    """Read `"5/s"` or `"2/s burst 45"`."""
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or float(match[1]) == 0:
        raise ValueError(Message('%(value)s is not a rate; write it like "5/s" or "2/s burst 45"', value=repr(value)))
    per_second = float(match[1]) / _UNITS[match[2]]
    return Rate(per_second, int(match[3]) if match[3] else 1)
