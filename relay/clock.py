"""Instants as the relay writes them: aware UTC inside, microseconds in the store, ISO outside; and ids made of them."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], datetime]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)
_LAST = datetime.max.replace(tzinfo=UTC) - timedelta(days=1)


def now_utc() -> datetime:
    """Return the time by the wall clock, aware, in UTC."""
    return datetime.now(UTC)


def to_us(moment: datetime) -> int:
    """Return integer microseconds since 1970, UTC: SQLite has no type that keeps an offset."""
    return (moment - EPOCH) // _MICROSECOND


def span_us(span: timedelta) -> int:
    return span // _MICROSECOND


def from_us(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def to_utc(moment: datetime) -> datetime:
    """Return the instant in UTC. Raises OverflowError for one that is off the calendar in some zone or other."""
    instant = moment.astimezone(UTC)
    if not _FIRST <= instant <= _LAST:
        raise OverflowError(f"{moment} is at the edge of the calendar")
    return instant


def iso(moment: datetime | None) -> str | None:
    """Return `2026-03-02T09:45:59.863+00:00`, as all records are printed."""
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="milliseconds")


def new_id(now: datetime) -> str:
    """Return an id for people, a UUIDv7 (RFC 9562), sortable by its moment; the order of events is their `seq`."""
    stamp = f"{to_us(now) // 1000:012x}"
    noise = f"{_generator(os.getpid()).getrandbits(74):019x}"
    variant = "89ab"[int(noise[0], 16) & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{noise[1:4]}-{variant}{noise[4:7]}-{noise[7:]}"


@functools.cache
def _generator(_pid: int) -> random.Random:
    """Return the process's own: a fork must not repeat its parent's, and others may seed the shared one."""
    return random.Random()  # noqa: S311  no system call for each id
