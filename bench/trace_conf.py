"""gunicorn's configuration of the relay, and beside it a profile that notes each function of `relay/` entered."""

from __future__ import annotations

import json
import os
import runpy
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from bench.servers import ROOT

_RELAY = f"{ROOT / 'relay'}{os.sep}"
_calls: list[tuple[float, str, str, str]] = []


def _note(frame: FrameType, event: str, _arg: object) -> None:
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(_RELAY) and code.co_name != "<module>":
        thread, file = threading.current_thread().name, code.co_filename.removeprefix(_RELAY)
        _calls.append((time.monotonic(), thread, file, code.co_name))


shipped = runpy.run_path(str(ROOT / "config" / "gunicorn.conf.py"))
globals().update({name: value for name, value in shipped.items() if not name.startswith("_")})


def post_worker_init(worker: Any) -> None:
    """Note calls of this thread and of all that are started from now on."""
    threading.setprofile(_note)
    sys.setprofile(_note)
    shipped["post_worker_init"](worker)


def worker_exit(server: Any, worker: Any) -> None:
    sys.setprofile(None)
    shipped["worker_exit"](server, worker)
    Path(os.environ["BENCH_CALLS_FILE"]).write_text(json.dumps(_calls), encoding="utf-8")
