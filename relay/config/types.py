"""Durations, sizes and rates as they are written in the configuration. Raises ValueError with an example."""

from __future__ import annotations

import re
from datetime import timedelta

from msgspec import Struct

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*")
_SIZE = re.compile(r"\s*(\d+)\s*(B|KB|MB)?\s*", re.IGNORECASE)
_SIZES = {"": 1, "B": 1, "KB": 1024, "MB": 1024 * 1024}
_LONGEST = timedelta(days=365_000)  # further from now no calendar goes
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*/\s*(s|m|h)\s*(?:burst\s+(\d+))?\s*")


class Rate(Struct, frozen=True):
    per_second: float
    burst: int


def duration(given: object) -> timedelta:
    if given == 0 and not isinstance(given, bool):
        return timedelta(0)
    found = _DURATION.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError(f'{given!r} is not a duration; write it like "30s", "5m", "72h" or "30d"')
    try:
        span = timedelta(seconds=float(found[1]) * _UNITS[found[2]])
    except OverflowError:
        span = timedelta.max
    if span > _LONGEST:
        raise ValueError(f'{given!r} is too long; at most "{_LONGEST.days}d"')
    return span


def size(given: object) -> int:
    if isinstance(given, int) and not isinstance(given, bool) and given > 0:
        return given
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if found is None or int(found[1]) == 0:
        raise ValueError(f'{given!r} is not a size; write it like "64KB"')
    return int(found[1]) * _SIZES[(found[2] or "").upper()]


def rate(given: object) -> Rate:
    found = _RATE.fullmatch(given) if isinstance(given, str) else None
    if found is None or float(found[1]) == 0:
        raise ValueError(f'{given!r} is not a rate; write it like "5/s" or "2/s burst 45"')
    per_second = float(found[1]) / _UNITS[found[2]]
    return Rate(per_second, int(found[3]) if found[3] else 1)
