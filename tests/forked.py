"""Programs that are forked off one process in which everything is imported already: a start costs a tenth of one.

What runs is the program's own `__main__`, with its arguments, environment, group, signals and exit code.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from relay.config import ROOT
from tests.waiting import eventually

FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(
    ["alembic.command", "gunicorn.app.wsgiapp", "relay.cli", "relay.web.worker", "sqlalchemy.dialects.sqlite"]
)


class Forked:
    """A running `python -m MODULE`, as far as the tests use subprocess.Popen."""

    def __init__(self, module: str, args: list[str], environ: dict[str, str], out: Path, err: Path) -> None:
        self.returncode: int | None = None
        self._process = FORKSERVER.Process(target=_run, args=(module, args, environ, out, err), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        eventually(self._leads_a_group, "it leads a group of its own")

    def _leads_a_group(self) -> bool:
        try:
            return os.getpgid(self.pid) == self.pid
        except ProcessLookupError:  # it has ended already, and the process that forked it knows
            return True

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._process.exitcode
        return self.returncode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self.poll() is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(self.pid, number)


def run(module: str, args: list[str], environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        code = Forked(module, args, environ, out, err).wait(60)
        return subprocess.CompletedProcess(args, code, out.read_text("utf-8"), err.read_text("utf-8"))


def _run(module: str, args: list[str], environ: dict[str, str], out: Path, err: Path) -> None:
    os.setsid()
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environ)
    time.tzset()
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(file, number)
        os.close(file)
    sys.argv = [module, *args]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:  # a process of `multiprocessing` ends without it: the log writes its last lines there
        atexit._run_exitfuncs()
