"""A container of a platform, without the platform: a fresh copy of the program, the Procfile, a port, SIGTERM to all.

honcho plays the platform's part. Nothing that a dyno writes beside the program is there for the next one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from relay.config import ROOT
from tests.acceptance.process import request
from tests.waiting import eventually

PROGRAM = ("Procfile", "wsgi.py", "config", "relay")


class Dyno:
    def __init__(self, folder: Path, port: int, environ: dict[str, str]) -> None:
        """Lay the program into a folder that does not exist yet."""
        self.folder, self.port, self.log = folder, port, folder.with_suffix(".log")
        folder.mkdir()
        copy_program(folder)
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RELAY_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "DYNO": "web.1",
            **environ,
        }
        self._honcho: subprocess.Popen[bytes] | None = None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as `heroku run` and `dokku run` do: with the same settings, to its end."""
        return subprocess.run(
            command, cwd=self.folder, env=self._environ, capture_output=True, text=True, timeout=60, check=False
        )

    def release(self) -> subprocess.CompletedProcess[str]:
        """Run what is run once before a new version starts; a failure would stop the deployment."""
        return self.run(*self._honcho_command("release"))

    def start(self, *processes: str) -> None:
        """Start processes of the Procfile; return when the web process is ready."""
        with self.log.open("ab") as log:
            self._honcho = subprocess.Popen(
                self._honcho_command(*processes), cwd=self.folder, env=self._environ, stdout=log, stderr=log
            )
        eventually(self.is_ready, f"the dyno is ready; its log: {self.log}", alive=self._honcho)

    def is_ready(self) -> bool:
        try:
            return self.request("GET", "/readyz")[0] == 200
        except OSError:
            return False

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        return request(self.port, method, path, body, headers)

    def terminate(self) -> float:
        """Send SIGTERM to every process at once, masters and workers alike; return how long the last one took."""
        assert self._honcho is not None
        began = time.monotonic()
        self._honcho.send_signal(signal.SIGTERM)
        self._honcho.wait(40)
        return time.monotonic() - began

    @property
    def exit_code(self) -> int | None:
        return None if self._honcho is None else self._honcho.poll()

    def end(self) -> None:
        if self._honcho is not None and self._honcho.poll() is None:
            self.terminate()

    def _honcho_command(self, *processes: str) -> list[str]:
        return [sys.executable, "-m", "honcho", "start", "--port", str(self.port), "--no-colour", *processes]


def copy_program(folder: Path) -> None:
    """Copy what runs, with what Python has compiled of it: a dyno starts in a second then."""
    for name in PROGRAM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name)
        else:
            shutil.copy(ROOT / name, folder / name)
