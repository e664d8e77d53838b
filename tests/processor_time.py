"""What a piece of work costs, whatever else the machine does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def least_s(work: Callable[[], object], tries: int, *, enough_s: float = 0.0) -> float:
    """Return the processor time of this thread, the least of the tries, or the first that is below `enough_s`.

    Coverage is not measured meanwhile: its tracer takes three times as long as the work.
    """
    least, tracer = float("inf"), sys.gettrace()
    sys.settrace(None)
    try:
        for _ in range(tries):
            began = time.thread_time()
            work()
            least = min(least, time.thread_time() - began)
            if least < enough_s:
                break
    finally:
        sys.settrace(tracer)
    return least
