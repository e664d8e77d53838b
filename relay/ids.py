"""Ids for people: UUIDv7 (RFC 9562), sortable by the moment of their making. Order is `seq`, never these."""

from __future__ import annotations

import os
import random
from datetime import datetime

from relay.clock import to_us


class _Noise:
    """Random bits without a system call for each; a forked process must not repeat its parent's."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._random = random.Random()  # noqa: S311  our own: others may seed the shared one

    def bits(self, count: int) -> int:
        if self._pid != os.getpid():
            self.__init__()  # type: ignore[misc]  # as new
        return self._random.getrandbits(count)


_noise = _Noise()


def new_id(now: datetime) -> str:
    """Not a secret: its noise need not be unguessable, only unlike any other."""
    stamp = f"{to_us(now) // 1000:012x}"
    jitter = f"{_noise.bits(74):019x}"
    variant = "89ab"[int(jitter[0], 16) & 3]
    return f"{stamp[:8]}-{stamp[8:]}-7{jitter[1:4]}-{variant}{jitter[4:7]}-{jitter[7:]}"
