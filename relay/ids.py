"""Ids for people: UUIDv7 (RFC 9562), sortable by the moment of their making. Order is `seq`, never these."""

from __future__ import annotations

import functools
import os
import random
from datetime import datetime

from relay.clock import to_us


def new_id(now: datetime) -> str:
    """Return an id that is like no other. Not a secret: it need not be unguessable."""
    stamp = f"{to_us(now) // 1000:012x}"
    noise = f"{_generator(os.getpid()).getrandbits(74):019x}"
    variant = "89ab"[int(noise[0], 16) & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{noise[1:4]}-{variant}{noise[4:7]}-{noise[7:]}"


@functools.cache
def _generator(_pid: int) -> random.Random:
    """Return the process's own: a fork must not repeat its parent's, and others may seed the shared one."""
    return random.Random()  # noqa: S311  no system call for each id
