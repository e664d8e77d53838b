"""The real thing: gunicorn by the Procfile's own command, real sockets, signals."""

from __future__ import annotations

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from relay.config import ROOT
from tests import forked
from tests.forked import Forked
from tests.waiting import eventually

SOAK = os.environ.get("RELAY_SOAK") == "1"


def procfile_command() -> list[str]:
    line = next(line for line in (ROOT / "Procfile").read_text().splitlines() if line.startswith("web:"))
    return shlex.split(line.partition(":")[2])


def request(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Return the status and the JSON of an answer; OSError when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


class Process:
    """A relay in a process group of its own: the web server, or with `args` a command of the command line."""

    def __init__(self, config: Path, port: int, log: Path, *args: str, **environ: str) -> None:
        self.config, self.port, self.log = config, port, log
        self._module, *self._args = ("relay", *args) if args else procfile_command()
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RELAY_")},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "RELAY_CONFIG": str(config),
            "PORT": str(port),
            **environ,
        }
        self.prefix: list[str] | None = None  # words before the command; with them it is no fork, but a program
        self.child: Forked | subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Process:
        self.log.touch()  # whoever does not wait may read it before the process has opened it
        self.child = self._forked() if self.prefix is None else self._executed(self.prefix)
        if wait:
            eventually(self.is_ready, f"the relay is ready; its log: {self.log}", alive=self.child)
        return self

    def _forked(self) -> Forked:
        return Forked(self._module, self._args, self.environ, self.log, self.log)

    def _executed(self, prefix: list[str]) -> subprocess.Popen[bytes]:
        command = [*prefix, sys.executable, "-m", self._module, *self._args]
        with self.log.open("ab") as log:
            return subprocess.Popen(command, cwd=ROOT, env=self.environ, stdout=log, stderr=log, start_new_session=True)

    def is_ready(self) -> bool:
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    def get(self, path: str) -> tuple[int, Any]:
        return self.request("GET", path)

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        return request(self.port, method, path, body, headers)

    def workers(self) -> list[int]:
        """gunicorn's worker processes."""
        assert self.child is not None
        return [int(pid) for pid in Path(f"/proc/{self.child.pid}/task/{self.child.pid}/children").read_text().split()]

    def kill(self) -> None:
        """SIGKILL to the whole group: master and worker at the same instant."""
        assert self.child is not None
        os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait(10)

    def terminate(self) -> float:
        """SIGTERM, as a platform sends it; the seconds until it was gone."""
        assert self.child is not None
        began = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        self.child.wait(40)
        return time.monotonic() - began

    def end(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.kill()

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        return forked.run("relay", [*args], self.environ)
