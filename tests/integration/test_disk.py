"""What the disk may do: full, read-only, locked, files deleted. Nothing is accepted that is not stored."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from relay import bootstrap
from relay.errors import StoreError
from relay.store import Selection, Store, group_commit
from relay.store.sqlite.database import SqliteDatabase as Database
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.forked import FORKSERVER

IN = "/trade/hs/UIScom/in?token=correct-horse"


@pytest.fixture
def client(relay: Relay) -> Any:
    return create_app(relay, delivers=False).test_client()


def body(number: int) -> bytes:
    return rendered("incoming", call_session_id=number, external_id="x" * 3000)


def refused(answer: Any, *words: str) -> None:
    """503 with Retry-After and a sentence that says what and what to do."""
    assert answer.status_code == 503, answer.json
    assert int(answer.headers["Retry-After"]) > 0
    for word in words:
        assert word in answer.json["error"]


def stored(relay: Relay) -> int:
    return len(list(relay.store.queries.events(Selection())))


def test_a_full_disk(relay: Relay, client: Any) -> None:
    """SQLite's own limit of pages comes to the same error as a full disk."""
    assert client.post(IN, data=body(1)).status_code == 200
    pages = _pragma(relay, "page_count") - _pragma(relay, "freelist_count")  # a migration leaves free pages behind
    with relay.store.database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
    answers = [client.post(IN, data=body(number)) for number in range(2, 8)]
    refused(answers[-1], "full", "free some space", "goes on by itself")
    taken = sum(answer.status_code == 200 for answer in answers)
    assert stored(relay) == 1 + taken
    # the connection is made anew after the error, and with it the limit is gone: as if space had been freed
    assert client.post(IN, data=body(9)).status_code == 200
    assert stored(relay) == 2 + taken


def _pragma(relay: Relay, name: str) -> int:
    with relay.store.database.read() as connection:
        return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())


@contextmanager
def nobody() -> Iterator[None]:
    """As a user without rights: root may write anything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_file_that_may_not_be_written(make_relay: Callable[..., Relay], tmp_path: Path) -> None:
    relay = make_relay()
    bootstrap.migrate(relay.settings)  # as each start does: the files beside the database are there
    client = create_app(relay, delivers=False).test_client()
    for part in [tmp_path, *tmp_path.parents]:
        if part.stat().st_mode & 0o077 == 0:  # pytest's own folders, two or (one of several processes) three
            part.chmod(0o755)
    files = list(tmp_path.glob("relay.db*"))
    for file in files:
        file.chmod(0o666 if file.suffix in (".lock", ".open") else 0o444)
    with nobody():
        refused(client.post(IN, data=body(1)), "write")
        assert stored_as_root(tmp_path) == 0
    for file in tmp_path.glob("relay.db*"):
        file.chmod(0o644)
    assert client.post(IN, data=body(1)).status_code == 200  # by itself, when it is mended


def stored_as_root(folder: Path) -> int:
    with sqlite3.connect(f"file:{folder / 'relay.db'}?immutable=1", uri=True) as connection:
        return int(connection.execute("SELECT count(*) FROM events").fetchone()[0])


def test_a_database_that_another_program_has_locked(relay: Relay, client: Any) -> None:
    assert client.post(IN, data=body(1)).status_code == 200
    shell = sqlite3.connect(relay.store.database.path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    refused(client.post(IN, data=body(2)), "locked by another program")
    shell.execute("ROLLBACK")
    shell.close()
    assert client.post(IN, data=body(2)).status_code == 200
    assert stored(relay) == 2


@pytest.mark.parametrize("connected", [True, False])
def test_every_request_has_its_503_of_a_locked_database_after_2_s_in_all(
    relay: Relay, client: Any, connected: bool
) -> None:
    """Not 2 s for its turn, 2 s for the lock and 2 s for the counting of the refusal."""
    if connected:
        assert client.post(IN, data=body(1)).status_code == 200
    shell = sqlite3.connect(relay.store.database.path, isolation_level=None)
    shell.execute("BEGIN IMMEDIATE")
    waits: list[float] = []

    def ask(number: int) -> None:
        began = time.monotonic()
        refused(client.post(IN, data=body(number)), "send it again")
        waits.append(time.monotonic() - began)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(2, 8)]
    for thread in threads:
        thread.start()
        while not relay.store.inbox.stalled_s():  # the first has its commit to itself, the others wait for it
            pass
    for thread in threads:
        thread.join()
    shell.execute("ROLLBACK")
    shell.close()
    assert len(waits) == 6
    assert max(waits) < 2 * 2  # less than two waits in a row


def test_a_commit_that_failed_a_while_ago_does_not_stall_who_comes(
    relay: Relay, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(group_commit, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with relay.store.database.lock.held(1.0):  # type: ignore[attr-defined]  # SQLite's own
        refused(client.post(IN, data=body(1)), "send it again")
    now[0] = 1.0
    assert relay.store.inbox.stalled_s() == 1.0
    now[0] = 2.5
    assert relay.store.inbox.stalled_s() == 0
    assert client.post(IN, data=body(1)).status_code == 200


def test_a_lock_that_another_program_gives_back_in_time_costs_nobody_a_refusal(relay: Relay, client: Any) -> None:
    shell = sqlite3.connect(relay.store.database.path, isolation_level=None, check_same_thread=False)
    shell.execute("BEGIN IMMEDIATE")
    unlock = threading.Timer(0.3, shell.execute, ["ROLLBACK"])
    unlock.start()
    assert client.post(IN, data=body(1)).status_code == 200
    unlock.join()
    shell.close()


def test_readers_however_many_and_slow_hold_up_nobody_elses_reading(relay: Relay) -> None:
    """The dispatcher's: without it, it cannot renew its leases."""
    with contextlib.ExitStack() as slow:
        for _ in range(40):
            slow.enter_context(relay.store.database.read())
        assert relay.store.leases.all() == {}


def test_a_journal_that_a_slow_reader_made_grow_shrinks_again(relay: Relay) -> None:
    journal = relay.store.database.path.with_name("relay.db-wal")
    with relay.store.database.read() as reader:
        reader.exec_driver_sql("SELECT count(*) FROM events").fetchall()
        while journal.stat().st_size < 24_000_000:
            write(relay, 2_000_000)
    for _ in range(3):
        write(relay, 10)
    assert journal.stat().st_size <= 16 * 1024 * 1024


def write(relay: Relay, size: int) -> None:
    with relay.store.database.write() as connection:
        connection.exec_driver_sql("DELETE FROM heartbeats")
        connection.exec_driver_sql("INSERT INTO heartbeats VALUES (hex(randomblob(?)), 1)", (size // 2,))


@pytest.mark.parametrize("gone", [["-wal"], ["-shm"], ["-wal", "-shm"]])
def test_a_deleted_journal_costs_nothing_that_was_accepted(
    relay: Relay, client: Any, gone: list[str], tmp_path: Path
) -> None:
    for number in range(5):
        assert client.post(IN, data=body(number)).status_code == 200
    path = relay.store.database.path
    for suffix in gone:
        path.with_name(path.name + suffix).unlink()
    relay.store.database._wal_guard._looked_at = float("-inf")  # as half a second later
    answers = [client.post(IN, data=body(number)).status_code for number in range(5, 8)]
    assert set(answers) <= {200, 503}
    assert answers[-1] == 200
    accepted = 5 + answers.count(200)
    (left := tmp_path / "left").mkdir()  # what a kill leaves: only what is in the files, under their names
    for suffix in ("", "-wal"):
        if (file := path.with_name(path.name + suffix)).exists():
            shutil.copy(file, left / file.name)

    again = Store(f"sqlite:///{left / path.name}")
    assert len(list(again.queries.events(Selection()))) == accepted
    again.close()
    assert sqlite3.connect(left / path.name).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_was_removed_or_replaced_is_said_clearly(relay: Relay, client: Any, replaced: bool) -> None:
    assert client.post(IN, data=body(1)).status_code == 200
    path = relay.store.database.path
    path.rename(path.with_name("away"))
    if replaced:
        path.write_bytes(b"")
    relay.store.database._wal_guard._looked_at = float("-inf")
    refused(client.post(IN, data=body(2)), "removed or replaced", "put it back, or stop", "relay restore FILE")

    path.unlink(missing_ok=True)
    path.with_name("away").rename(path)
    assert client.post(IN, data=body(2)).status_code == 200
    assert stored(relay) == 2


def test_a_bug_in_a_statement_is_no_fault_of_the_disk(relay: Relay) -> None:
    with pytest.raises(Exception, match="no such table") as raised, relay.store.database.write() as connection:
        connection.exec_driver_sql("SELECT * FROM absent")
    assert not isinstance(raised.value, StoreError)


# --- the write lock


def _write(path: str, inside: Any, most: Any, go: Any) -> None:
    """Writes and checkpoints as fast as it can; counts who is between BEGIN and the end of COMMIT."""
    real = Database.transaction

    @contextmanager
    def counted(database: Database, deadline: float) -> Iterator[Any]:
        with inside.get_lock():
            inside.value += 1
            most.value = max(most.value, inside.value)
        try:
            with real(database, deadline) as begun:
                yield begun
        finally:
            with inside.get_lock():
                inside.value -= 1

    Database.transaction = counted
    store = Store(f"sqlite:///{path}")
    go.wait()
    for number in range(150):
        with store.database.write(20) as connection:
            connection.exec_driver_sql("UPDATE heartbeats SET at = at + 1")
            connection.exec_driver_sql("UPDATE heartbeats SET name = hex(randomblob(3000))")  # pages to checkpoint
        if number % 10 == 0:
            with store.database.write(20):
                pass
    store.close()


def test_of_all_processes_one_writes_or_checkpoints_at_a_time(relay: Relay) -> None:
    """SQLite before 3.51.3 can corrupt a file when two connections write and checkpoint at the same instant."""
    relay.store.database.prove_writable(relay.clock())
    before = _beats(relay)
    inside, most, go = FORKSERVER.Value("i", 0), FORKSERVER.Value("i", 0), FORKSERVER.Event()
    arguments = (str(relay.store.database.path), inside, most, go)
    writers = [FORKSERVER.Process(target=_write, args=arguments) for _ in range(3)]
    for writer in writers:
        writer.start()
    go.set()
    for writer in writers:
        writer.join(100)

    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert most.value == 1
    assert _beats(relay) == before + 3 * 150  # no write was lost
    assert sqlite3.connect(relay.store.database.path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _beats(relay: Relay) -> int:
    with relay.store.database.read() as connection:
        return int(connection.exec_driver_sql("SELECT at FROM heartbeats").scalar_one())
