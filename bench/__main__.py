"""`python -m bench [FIGURE…] [--quick]`: prints the machine and a table of figures, each a ratio within one run."""

from __future__ import annotations

import argparse
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import deliveries, engines, load, neighbours, notifications, page, scale
from bench.figures import Figures

FIGURES: dict[str, Callable[[Figures], None]] = {
    "ingest": notifications.ingest,
    "one": notifications.one,
    "report": notifications.report,
    "latency": deliveries.latency,
    "drain": deliveries.drain,
    "exchanges": deliveries.exchanges,
    "slow": deliveries.slow,
    "sustained": deliveries.sustained,
    "hanging": deliveries.hanging,
    "memory": scale.memory,
    "million": scale.million,
    "postgres": engines.postgres,
    "processes": engines.processes,
    "page": page.page,
    "watched": page.watched,
    "others": neighbours.others,
}


def _fsync_ms(folder: Path) -> float:
    """Of a disk that has nothing else to do, as it is at 50 notifications a second."""
    spans = []
    with (folder / "fsync").open("wb") as file:
        for _ in range(50):
            time.sleep(0.02)
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            spans.append(time.perf_counter() - began)
    return load.median_ms(spans)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("figure", nargs="*", choices=[[], *FIGURES], help="all unless named")
    parser.add_argument("--quick", action="store_true", help="a short form: says that it works, not how fast")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="relay-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name)
        print(
            f"{os.cpu_count()} cores, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, "
            f"fsync {_fsync_ms(folder):.2f} ms{'; a quick run' if wanted.quick else ''}"
        )
        found = Figures(folder, quick=wanted.quick)
        for figure, measure in FIGURES.items():
            if not wanted.figure or figure in wanted.figure:
                measure(found)


if __name__ == "__main__":
    main()
