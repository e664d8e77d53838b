"""A configuration that is broken under edit: the relay that runs goes on with the settings that it has."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

from relay.sandbox.server import Sandbox
from tests.acceptance.process import Process
from tests.calls import rendered
from tests.postgres import Postgres
from tests.waiting import eventually

SECOND = """
[sources.second]
token = "correct-horse"
targets = ["{target}"]
"""


def post(process: Process, source: str = "trade") -> int:
    """Return the status of a notification to a relay whose worker has just been replaced."""
    eventually(process.is_ready, "the new worker serves", alive=process.child)
    return process.request("POST", f"/{source}/hs/UIScom/in?token=correct-horse", rendered("incoming"))[0]


def replace_worker(process: Process, number: signal.Signals) -> None:
    """Kill the worker, or have the master replace it; return when only the new one is there."""
    before = process.workers()
    assert process.child is not None
    os.kill(process.child.pid if number == signal.SIGHUP else before[0], number)
    eventually(lambda: bool(process.workers()) and not set(process.workers()) & set(before), "it is replaced")


def test_a_worker_that_is_started_anew_needs_no_file(make_process: Callable[..., Process], onec: Sandbox) -> None:
    process = make_process(onec.onec_url).start()
    process.config.write_text("[sources", encoding="utf-8")
    replace_worker(process, signal.SIGKILL)
    assert post(process) == 200
    process.config.unlink()
    replace_worker(process, signal.SIGTERM)
    assert post(process) == 200
    process.terminate()


def reasons(process: Process, event: str) -> list[str]:
    """Return the reasons in the log's lines of an event."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    return [line["reason"] for line in lines if line["event"] == event]


def test_a_reload_takes_a_good_file_and_says_what_is_wrong_with_a_bad_one(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, environ={"LOG_FORMAT": "json"}).start()
    good = process.config.read_text(encoding="utf-8")
    checked = []
    for broken in ("[sources", good + SECOND.format(target="nobody")):
        process.config.write_text(broken, encoding="utf-8")
        checked.append(process.command("check").stderr.strip().removeprefix("Error: "))
        replace_worker(process, signal.SIGHUP)
        assert post(process) == 200
        assert reasons(process, "reload.refused") == checked

    process.config.write_text(good + SECOND.format(target="onec"), encoding="utf-8")
    replace_worker(process, signal.SIGHUP)
    assert post(process, "second") == 200
    assert reasons(process, "reload.refused") == checked
    process.terminate()


def test_a_reload_takes_a_good_file_while_the_database_is_away(
    make_process: Callable[..., Process], onec: Sandbox, postgres: Postgres, postgres_database: str
) -> None:
    environ = {"DATABASE_URL": postgres.url(postgres_database), "LOG_FORMAT": "json"}
    process = make_process(onec.onec_url, environ=environ).start()
    good = process.config.read_text(encoding="utf-8")
    process.config.write_text(good + SECOND.format(target="onec"), encoding="utf-8")
    postgres.stop()
    try:
        replace_worker(process, signal.SIGHUP)
    finally:
        postgres.start()
    assert post(process, "second") == 200
    assert any("cannot be used" in reason for reason in reasons(process, "start.unwise"))
    process.terminate()
