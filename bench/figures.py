"""What has been measured so far, and the numbers that make no two bodies alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class Figures:
    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        self.number = 1

    def next_numbers(self, count: int) -> int:
        first, self.number = self.number, self.number + count
        return first

    def add(self, figure: str, value: str, bar: str = "") -> None:
        print(f"{figure:76} {value:>28}   {bar}", flush=True)

    def add_ratio(self, figure: str, pairs: Sequence[tuple[float, float]], unit: str, bar: str) -> None:
        """Ours against theirs, the median of the rounds."""
        ratio = statistics.median(ours / theirs for ours, theirs in pairs)
        ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        digits = 0 if ours > 20 else 2
        self.add(figure, f"{ratio:.2f} ({ours:.{digits}f} / {theirs:.{digits}f} {unit})", bar)


def wait_until(reached: Callable[[], bool], within_s: float) -> None:
    ends = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > ends:
            raise SystemExit(f"not within {within_s} s")
        time.sleep(0.05)
