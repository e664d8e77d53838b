"""Keeps a busy process on one core, and moves it when somebody else needs that core.

Under Python's GIL one thread runs at a time; handed from core to core, it waits for the wake-up of the other
core and finds its caches cold. Measured on two cores: pinned, the relay takes half as much again. At a low rate
it is the other way round, by a tenth of a millisecond: then it may run where it likes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path

_MEASURE_EVERY_S = 1.0
_WORTH_PINNING = 0.3  # of a core, used by ourselves
_WORTH_MOVING = 0.3  # of a core: the other must be so much freer of other people's work

Busy = Mapping[int, float]


def choose(current: int | None, own: float, others: Busy) -> int | None:
    """Return the core to be on, None for any, by our own part of one and by what others take of each, 0 to 1."""
    if own < _WORTH_PINNING:
        return None
    freest = min(others, key=lambda core: (others[core], core))
    if current is None or current not in others or others[current] - others[freest] > _WORTH_MOVING:
        return freest
    return current


def start(environ: Mapping[str, str]) -> None:
    """Start the thread, after the fork; not where it is switched off, or there is only one core, or no Linux."""
    if environ.get("RELAY_PIN", "on") == "off" or not hasattr(os, "sched_getaffinity"):
        return
    cores = os.sched_getaffinity(0)
    if len(cores) > 1 and Path("/proc/stat").exists():
        threading.Thread(target=_run, args=(cores,), name="pinning", daemon=True).start()


def _run(cores: set[int]) -> None:
    current: int | None = None
    before = _ticks(cores)
    while True:
        time.sleep(_MEASURE_EVERY_S)
        now = _ticks(cores)
        chosen = choose(current, *_shares(before, now, current))
        before = now
        if chosen != current:
            current = chosen
            _allow(cores if chosen is None else {chosen})


def _allow(cores: set[int]) -> None:
    """Allow these cores to every thread that there is; those to come inherit it."""
    for task in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(task.name), cores)
        except (ProcessLookupError, PermissionError):
            continue  # the thread has ended, or the platform does not allow it


_Ticks = tuple[dict[int, tuple[int, int]], int]


def _ticks(cores: set[int]) -> _Ticks:
    """Return (busy, all) clock ticks of each core since the start of the machine, and this process's own."""
    by_core: dict[int, tuple[int, int]] = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            spent = [int(number) for number in numbers[:8]]
            by_core[int(name[3:])] = (sum(spent) - spent[3] - spent[4], sum(spent))  # but idle and waiting for disks
    own = os.times()
    return by_core, round((own.user + own.system) * os.sysconf("SC_CLK_TCK"))


def _shares(before: _Ticks, now: _Ticks, current: int | None) -> tuple[float, Busy]:
    """Return what part of a core we used ourselves, and what part of each was spent on others."""
    others: dict[int, float] = {}
    used = now[1] - before[1]
    longest = 1
    for core, (busy, passed) in now[0].items():
        was_busy, was_passed = before[0].get(core, (busy, passed))
        ours = used if core == current else 0
        others[core] = max(0, busy - was_busy - ours) / max(1, passed - was_passed)
        longest = max(longest, passed - was_passed)
    return used / longest, others
