"""A body that never ends, and a disk that takes nothing more, at the real server."""

from __future__ import annotations

import contextlib
import resource
import socket
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from relay.sandbox.server import Sandbox
from tests.acceptance.posting import Posting, wait_for_all
from tests.acceptance.process import Process
from tests.calls import rendered
from tests.waiting import eventually

HALF = b"POST /trade/hs/UIScom/in?token=correct-horse HTTP/1.1\r\nHost: relay\r\nContent-Le"
IN = "/trade/hs/UIScom/in?token=correct-horse"


def test_a_body_that_stops_half_way_is_answered_and_stores_nothing(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url).start()
    with socket.create_connection(("127.0.0.1", process.port), timeout=60) as slow:
        slow.sendall(HALF + b"ngth: 500\r\n\r\n{")
        answer = slow.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert process.command("events", "--json").stdout == ""
    process.terminate()


def test_a_disk_that_takes_nothing_more_is_503_and_when_it_does_again_so_does_the_relay(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    """The worker's own limit on the size of files stands for the disk."""
    onec.onec.fail("bad_gateway", -1)
    process = make_process(onec.onec_url).start()
    before = Posting(process.port, 1, 50)
    before.join()
    [worker] = process.workers()
    unlimited = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (16_384, unlimited[1]))
    during = Posting(process.port, 200_000, 50)
    during.join()
    assert set(during.answers) == {"503"}
    status, answer = process.request("POST", IN, rendered("incoming"))
    assert status == 503
    assert "cannot be used" in answer["error"]

    resource.prlimit(worker, resource.RLIMIT_FSIZE, unlimited)
    eventually(lambda: process.request("GET", "/readyz")[0] == 200, "ready again, by itself")
    after = Posting(process.port, 400_000, 50)
    after.join()
    assert set(after.answers) == {"200"}
    onec.onec.fail("ok", 0)
    wait_for_all(onec, [*before.accepted, *after.accepted])
    assert onec.onec.recorded() == 100
    assert process.workers() == [worker]  # without a restart
    process.terminate()


def test_a_database_that_another_program_has_locked_is_503_after_2_s_in_all(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url).start()

    def ask(session: int) -> tuple[int, float]:
        began = time.monotonic()
        status, _ = process.request("POST", IN, rendered("incoming", call_session_id=session))
        return status, time.monotonic() - began

    with (
        contextlib.closing(sqlite3.connect(process.config.with_name("relay.db"), isolation_level=None)) as shell,
        ThreadPoolExecutor(8) as clients,
    ):
        shell.execute("BEGIN IMMEDIATE")
        answers = list(clients.map(ask, range(8)))
        shell.execute("ROLLBACK")
    assert {status for status, _ in answers} == {503}
    assert max(took for _, took in answers) < 2 * 2  # less than two waits in a row
    assert ask(1)[0] == 200
    process.terminate()


@pytest.mark.parametrize("ended", ["kill", "terminate"])
def test_a_copy_put_in_the_databases_place_while_the_relay_runs_is_not_spoilt_by_a_restart(
    make_process: Callable[..., Process], onec: Sandbox, tmp_path: Path, ended: str
) -> None:
    process = make_process(onec.onec_url).start()
    first = Posting(process.port, 1, 50)
    first.join()
    database, copy = tmp_path / "relay.db", tmp_path / "copy.db"
    assert process.command("backup", str(copy)).returncode == 0
    Posting(process.port, 1000, 50).join()
    assert "stop the relay" in process.command("restore", str(copy)).stderr
    copy.replace(database)
    status, answer = process.request("POST", IN, rendered("incoming"))
    assert (status, "relay restore FILE" in answer["error"]) == (503, True)
    assert "is not the database's" in process.command("status").stderr
    getattr(process, ended)()

    process.start(wait=False)
    assert process.child is not None
    assert process.child.wait(60) != 0
    assert "the relay does not start: the journal" in process.log.read_text(encoding="utf-8")
    restored = process.command("restore", str(database))
    assert restored.returncode == 0, restored.stderr
    process.start()
    assert len(process.command("events", "--json", "--limit", "0").stdout.splitlines()) == len(first.accepted)
    assert sqlite3.connect(database).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    after = Posting(process.port, 2000, 20)
    after.join()
    assert len(after.accepted) == 20
    process.terminate()
