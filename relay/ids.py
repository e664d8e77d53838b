"""Ids for people: UUIDv7 (RFC 9562), sortable by the moment of their making. Order is `seq`, never these."""

from __future__ import annotations

import os
from datetime import datetime
from uuid import UUID

from relay.times import to_us


def new_id(now: datetime) -> str:
    milliseconds = to_us(now) // 1000
    noise = int.from_bytes(os.urandom(10))
    value = (milliseconds & (1 << 48) - 1) << 80 | noise
    value = value & ~(0xF << 76) | 0x7 << 76  # version 7
    value = value & ~(0x3 << 62) | 0x2 << 62  # RFC variant
    return str(UUID(int=value))
