"""Runs `make run`: the relay as the Procfile starts it, with the sandbox beside it where a target is one.

If, and only if, every target is the sandbox, one simulated call is placed, so that something is seen at once.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import requests

from relay import config
from relay.config import ROOT
from relay.errors import RelayError

_READY_WITHIN_S = 30.0
_STOPS_WITHIN_S = 25.0


def main() -> int:
    try:
        settings = config.read()
    except RelayError as exc:
        print(f"Error: {exc}", file=sys.stderr)
        return 2
    sandboxes = [name for name, target in settings.targets.items() if config.is_sandbox(target)]
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if sandboxes:
            children.append(subprocess.Popen([sys.executable, "-m", "relay", "sandbox"], cwd=ROOT, env=environ))
        children.append(subprocess.Popen(_web_command(), cwd=ROOT, env=environ))
        address = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
        if not _becomes_ready(address, children):
            return 1
        print(f"the relay serves {address}; Ctrl-C ends it", flush=True)
        if len(sandboxes) == len(settings.targets):
            print("every target is the sandbox: here is one simulated call", flush=True)
            subprocess.run(
                [sys.executable, "-m", "relay", "simulate", "--url", address], cwd=ROOT, env=environ, check=False
            )
        return _serve(children)
    except KeyboardInterrupt:
        return 0
    finally:
        _end(children)


def _web_command() -> list[str]:
    """Return the Procfile's own, so that what is tried out is what is deployed."""
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    command = next(line.partition(":")[2] for line in lines if line.startswith("web:"))
    return shlex.split(command)


def _becomes_ready(address: str, children: list[subprocess.Popen[bytes]]) -> bool:
    ends = time.monotonic() + _READY_WITHIN_S
    while time.monotonic() < ends:
        ended = next((child for child in children if child.poll() is not None), None)
        if ended is not None:  # it has said why
            return False
        try:
            if requests.get(f"{address}/readyz", timeout=2).ok:
                return True
        except requests.RequestException:
            pass  # not yet
        time.sleep(0.1)
    print(f"the relay did not become ready at {address} within {_READY_WITHIN_S:.0f} s", file=sys.stderr)
    return False


def _serve(children: list[subprocess.Popen[bytes]]) -> int:
    """Wait until one of them ends, and return its exit code."""
    while True:
        for child in children:
            code = child.poll()
            if code is not None:
                return code
        time.sleep(0.5)


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in reversed(children):
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
