"""What the web process keeps of the memory that its threads have used."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from relay.config import ROOT

_COUNT_ARENAS = """
import ctypes, runpy, sys, threading
configuration = runpy.run_path("config/gunicorn.conf.py")
if sys.argv[1] == "with":
    configuration["post_fork"](None, None)
together = threading.Barrier(8)

def allocate():
    together.wait()
    kept = [ctypes.create_string_buffer(2000) for _ in range(200)]
    together.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def _arenas(hook: str) -> int:
    command = [sys.executable, "-c", _COUNT_ARENAS, hook]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    return found.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone gives each thread an arena")
def test_all_threads_of_a_worker_share_one_arena() -> None:
    """Each would keep for good what the largest body in it took: 80 MB after 200,000 varied requests."""
    assert _arenas("with") == 1 < _arenas("without")


def test_a_process_that_serves_from_a_file_loads_nothing_of_postgresql_and_no_migrations() -> None:
    """Each would cost every start a tenth of a second, and its memory for good."""
    loaded = _loaded()
    assert "relay.store.sqlite.database" in loaded
    assert not [name for name in loaded if name.startswith(("sqlalchemy.dialects.postgresql", "alembic"))]


def test_what_the_reading_of_a_body_needs_is_there_before_the_first_comes() -> None:
    """It may come while there is no descriptor left to read a file with."""
    assert _loaded() >= {"encodings.cp1251", "encodings.utf_16_le"}


def _loaded() -> set[str]:
    """Return the modules of a process that is about to serve."""
    code = "import sys, wsgi; print(*sys.modules)"
    environ = {**os.environ, "RELAY_CONFIG": str(ROOT / "config" / "relay.toml")}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
