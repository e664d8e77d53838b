"""Runs `make run`: the relay as the Procfile starts it, with the sandbox beside it where a target is one.

If, and only if, every target is the sandbox, one simulated call is placed, and a table fills: what became of each
notification at each target. The log goes into a file then; without a terminal it is written as it comes.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import requests
from rich.console import Console
from rich.live import Live
from rich.table import Table

from relay import config
from relay.config import ROOT, Settings
from relay.errors import RelayError
from relay.i18n import gettext, language_of, said, set_language
from relay.models import UNFINISHED
from relay.store import Selection, Store

LOG = ROOT / "relay.log"
_NOTIFICATIONS = 5  # of a simulated call
_DELIVERED_WITHIN_S = 20.0
_READY_WITHIN_S = 30.0
_STOPS_WITHIN_S = 25.0


def main() -> int:
    set_language(language_of(os.environ))
    try:
        settings = config.read()
    except RelayError as exc:
        print(gettext("Error: %(why)s", why=said(exc)), file=sys.stderr)
        return 2
    sandboxes = [name for name, target in settings.targets.items() if config.is_sandbox(target)]
    shows_table = sys.stdout.isatty() and len(sandboxes) == len(settings.targets)
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    children: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if sandboxes:
            children.append(subprocess.Popen([sys.executable, "-m", "relay", "sandbox"], cwd=ROOT, env=environ))
        log = LOG.open("ab") if shows_table else None
        children.append(subprocess.Popen(_web_command(), cwd=ROOT, env=environ, stdout=log, stderr=log))
        address = f"http://127.0.0.1:{os.environ.get('PORT', '8000')}"
        if not _becomes_ready(address, children):
            if shows_table:
                print(gettext("the log says why: %(file)s", file=LOG), file=sys.stderr)
            return 1
        print(gettext("the relay serves %(address)s; Ctrl-C ends it", address=address), flush=True)
        if len(sandboxes) == len(settings.targets):
            print(gettext("every target is the sandbox: here is one simulated call"), flush=True)
            if settings.storage.is_file:
                print(gettext("the demo's calls are kept in %(file)s", file=settings.storage.path), flush=True)
            simulate = [sys.executable, "-m", "relay", "simulate", "--url", address]
            subprocess.run(simulate, cwd=ROOT, env=environ, check=False)
        if shows_table:
            _show_deliveries(settings)
            _say_what_to_try(address)
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


def _show_deliveries(settings: Settings) -> None:
    """Fill a table with what becomes of the call's notifications, until all have arrived or it takes too long."""
    store, ends = Store(settings.storage.url), time.monotonic() + _DELIVERED_WITHIN_S
    with closing(store), Live(console=Console(), refresh_per_second=8) as live:
        while True:
            table, waiting = Table(box=None, header_style="bold"), 0
            for heading in (gettext("notification"), *settings.targets):
                table.add_column(heading)
            for event in store.queries.events(Selection(), newest=_NOTIFICATIONS):
                found = {delivery.target: delivery for delivery, _ in store.queries.deliveries_of(event)}
                waiting += sum(delivery.state in UNFINISHED for delivery in found.values())
                marks = [_mark(found[name].state) if name in found else "–" for name in settings.targets]
                table.add_row(gettext(event.kind) if event.kind else "–", *marks)
            live.update(table)
            if not waiting or time.monotonic() > ends:
                return
            time.sleep(0.1)


def _mark(state: str) -> str:
    style = {"delivered": "green", "dead": "red", "held": "red"}.get(state, "yellow")
    return f"[{style}]{gettext(state)}[/]"


def _say_what_to_try(address: str) -> None:
    print(gettext("\nThe log: %(file)s", file=LOG))
    print(gettext("What to try next, in a second terminal:"))
    print("  .venv/bin/relay status --watch")
    print(f"  curl -X POST 'http://127.0.0.1:{config.SANDBOX_PORT}/_fail?target=onec&mode=bad_request&count=1'")
    print(f"  .venv/bin/relay simulate --url {address}")
    click = '{"employee": "101", "phone": "+7 900 555-01-23"}'
    print(f"  curl '{address}/demo/hs/UIScom/call?token=demo-click-to-call' -d '{click}'", flush=True)


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
    print(gettext("the relay did not become ready at %(address)s", address=address), file=sys.stderr)
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
