"""What only PostgreSQL can do: be elsewhere, be lost and found again, be one database for many."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import Connection, text

from relay import bootstrap
from relay.cli import main
from relay.clock import now_utc
from relay.config import Settings
from relay.errors import StoreBusy, StoreError
from relay.store import Selection, Store, call_order, migrate
from relay.store.call_order import OrderKey
from relay.store.engine import OWN_ROWS, PATIENT_TIMEOUT_S, Database
from relay.store.postgres import diagnostics
from relay.store.postgres.database import PostgresDatabase
from relay.store.statement import Statement
from relay.wiring import Relay
from tests.calls import STANDARD, rendered
from tests.fakes import FakeClock
from tests.lanes import post
from tests.postgres import Bouncer, Postgres
from tests.waiting import eventually


@pytest.fixture
def address(postgres: Postgres, postgres_database: str) -> str:
    return postgres.url(postgres_database)


@pytest.fixture
def database(address: str) -> Iterator[Database]:
    store = Store(address)
    migrate.migrate(store.database, FakeClock()())
    yield store.database
    store.close()


def test_an_address_is_shown_without_its_password(database: Database) -> None:
    assert "invented" not in database.name
    assert database.name.startswith("127.0.0.1/relay_")


def test_no_part_of_a_password_is_shown_whatever_it_holds() -> None:
    database = PostgresDatabase("postgres://relay:Zk9/invented+x@127.0.0.1:1/r4")
    assert database.name == "127.0.0.1/r4"
    database.close()
    with pytest.raises(StoreError, match="DATABASE_URL cannot be read"):
        PostgresDatabase("postgres://relay:invented@127.0.0.1:port/r4")


def test_the_server_compiles_no_plan_for_a_commit(database: Database) -> None:
    """With the ways off that it must not take it would: 40 ms for one notification."""
    with database.write(alone_for=("source:trade",)) as connection:
        assert connection.exec_driver_sql("SHOW jit").scalar() == "off"


def test_what_comes_again_is_prepared_unless_a_pooler_lies_between(
    database: Database, bouncer: Bouncer, postgres_database: str
) -> None:
    """No plan is kept all the same: made for an empty table it would read all of it later."""
    pooled = Store(bouncer.url(postgres_database)).database
    again = Statement("SELECT at FROM heartbeats WHERE name = :name")
    for each, number in ((database, 1), (pooled, 0)):
        for _ in range(15):
            with each.write(alone_for=OWN_ROWS) as connection:
                assert again.first(connection, name="readyz") is None
        with each.write(alone_for=OWN_ROWS) as connection:
            prepared = Statement("SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE :like")
            assert prepared.rows(connection, like="SELECT at%") == [(0,)] * number
    pooled.close()


def test_connections_that_were_cut_are_made_anew(
    database: Database, postgres: Postgres, postgres_database: str, clock: FakeClock
) -> None:
    database.prove_writable(clock())
    assert postgres.terminate_backends(postgres_database) >= 1
    clock.forward(minutes=1)
    database.prove_writable(clock())
    postgres.terminate_backends(postgres_database)
    with database.read() as connection:
        assert migrate.current(database) is not None
        assert connection.closed is False


def test_a_server_that_is_away_is_an_error_that_says_what_to_do_and_no_restart_is_needed(
    database: Database, postgres: Postgres, clock: FakeClock
) -> None:
    postgres.stop()
    try:
        with pytest.raises(StoreError, match="goes on by itself"):
            database.prove_writable(clock())
    finally:
        postgres.start()
    database.prove_writable(clock())


def test_a_connection_that_is_lost_within_a_transaction_has_stored_nothing(
    database: Database, postgres: Postgres, postgres_database: str
) -> None:
    with pytest.raises(StoreError), database.write() as connection:
        Statement("INSERT INTO heartbeats (name, at) VALUES ('half', 1)").run(connection)
        postgres.terminate_backends(postgres_database)
        Statement("SELECT 1").rows(connection)
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM heartbeats WHERE name = 'half'").scalar() == 0


def test_a_server_that_hangs_in_a_commit_is_an_error_in_time_and_may_have_made_it(
    database: Database, postgres: Postgres, clock: FakeClock
) -> None:
    with ExitStack() as until_then:
        began = time.monotonic()
        with pytest.raises(StoreError, match="does not answer"), database.write(1.0, alone_for=OWN_ROWS) as connection:
            Statement("INSERT INTO heartbeats (name, at) VALUES ('half', 1)").run(connection)
            until_then.enter_context(postgres.hanging())
        assert time.monotonic() - began < 3
        with pytest.raises(StoreError):
            database.prove_writable(clock())
        assert time.monotonic() - began < 6
    database.prove_writable(clock())
    count = Statement("SELECT count(*) FROM heartbeats WHERE name = 'half'")
    eventually(lambda: database.first(count) == (1,), "the commit was on its way")


def test_a_process_that_is_to_end_waits_for_the_server_no_longer(
    database: Database, postgres: Postgres, clock: FakeClock
) -> None:
    database.prove_writable(clock())
    with postgres.hanging():
        began = time.monotonic()
        database.ends_at = began + 0.5
        for _ in range(20):
            with pytest.raises(StoreError):
                database.prove_writable(clock(), timeout=PATIENT_TIMEOUT_S)
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("mine", "theirs", "passes"),
    [
        (["source:a"], ["source:b"], True),
        (["source:a"], ["source:a"], False),
        (["source:a", "target:x"], ["target:x"], False),
        (["source:a"], None, False),
        (None, ["source:a"], False),
        ([], [], True),
    ],
)
def test_writers_wait_for_each_other_only_where_they_must(
    database: Database, address: str, mine: list[str] | None, theirs: list[str] | None, passes: bool
) -> None:
    other = Store(address).database
    with other.write():  # connects, for which 0.3 s are too few
        pass
    with database.write(alone_for=mine):
        if passes:
            with other.write(0.3, alone_for=theirs):
                pass
        else:
            with pytest.raises(StoreBusy), other.write(0.3, alone_for=theirs):
                pass
    with other.write(0.3, alone_for=theirs):  # free again
        pass
    other.close()


def test_a_process_is_woken_by_another(database: Database, address: str) -> None:
    other = Store(address).database
    heard = threading.Event()

    def listen() -> None:
        while not heard.is_set():
            database.changes.wait(30)
            heard.set()

    database.changes.wait(0.01)  # the listening begins
    eventually(lambda: "relay wakeups" in _applications(database), "it listens")
    thread = threading.Thread(target=listen)
    thread.start()
    other.changes.tell_others()
    assert heard.wait(10)
    thread.join()
    other.close()


def _applications(database: Database) -> list[str]:
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT application_name FROM pg_stat_activity")
        return [name for (name,) in rows]


def test_what_lies_between_may_keep_processes_from_being_told(
    database: Database, bouncer: Bouncer, postgres_database: str
) -> None:
    pooled = Store(bouncer.url(postgres_database)).database
    assert diagnostics.NOT_TOLD not in database.upkeep_warnings()
    assert pooled.upkeep_warnings() == [diagnostics.NOT_TOLD]
    pooled.close()


def test_what_keeps_dead_rows_is_said(
    database: Database, postgres: Postgres, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diagnostics, "_OLD_SNAPSHOT_S", -1)
    monkeypatch.setattr(diagnostics, "_DEAD_ROWS", 5)
    with postgres.connect(postgres_database) as connection:
        connection.execute("INSERT INTO heartbeats SELECT g::text, 1 FROM generate_series(1, 20) g")
        connection.execute("UPDATE heartbeats SET at = 2")
        connection.execute("SELECT pg_stat_force_next_flush()")
    eventually(lambda: len(database.upkeep_warnings()) == 2, "both are said")

    rows, transaction = database.upkeep_warnings()
    assert "heartbeats has 20 dead rows" in rows
    assert "a transaction has been open" in transaction


def test_a_server_that_would_lose_what_it_confirmed_is_warned_of_at_the_start(
    database: Database,
    postgres: Postgres,
    postgres_database: str,
    make_settings: Callable[..., Settings],
    logged: list[dict[str, str]],
) -> None:
    """The tests' server runs without fsync; its clock is the relay's."""
    with postgres.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {postgres_database} SET synchronous_commit = off")
    postgres.terminate_backends(postgres_database)
    environ = {"RELAY_CONFIG": str(make_settings().file), "DATABASE_URL": postgres.url(postgres_database)}
    bootstrap.prepare({**os.environ, **environ}, ["127.0.0.1"])

    reasons = [line["reason"] for line in logged if line["event"] == "start.unwise"]
    assert [word for word in ("fsync = off", "synchronous_commit = off") if any(word in one for one in reasons)] == [
        "fsync = off",
        "synchronous_commit = off",
    ]
    assert not any("clocks" in one for one in reasons)
    assert "differ by 90." in database.start_warnings(now_utc() - timedelta(seconds=90))[-1]


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ("", []),
        ("ALTER ROLE relay_few CONNECTION LIMIT 12", ["ALTER ROLE relay_few CONNECTION LIMIT 20"]),
        ("ALTER DATABASE {name} CONNECTION LIMIT 9", ["ALTER DATABASE {name} CONNECTION LIMIT 20"]),
    ],
)
def test_limits_that_two_processes_twice_would_reach_are_said(
    postgres: Postgres, postgres_database: str, limit: str, says: list[str]
) -> None:
    with postgres.connect(postgres_database) as connection:
        connection.execute("DROP ROLE IF EXISTS relay_few")
        connection.execute("CREATE ROLE relay_few LOGIN")
        if limit:
            connection.execute(limit.format(name=postgres_database))
    store = Store(postgres.url(postgres_database).replace("relay:", "relay_few:"))
    remarks = [one for one in store.database.remarks(now_utc(), processes=2) if "CONNECTION LIMIT" in one]
    many = store.database.remarks(now_utc(), processes=20)
    store.close()

    assert len(remarks) == len(says)
    assert all(text.format(name=postgres_database) in one for text, one in zip(says, remarks, strict=True))
    assert any("up to 200 connections" in one for one in many)
    assert any("raise max_connections by" in one for one in many)


def test_a_commit_reads_its_few_rows_alone_whatever_the_statistics_say(database: Database) -> None:
    """Without statistics, as after an hour's backlog, PostgreSQL takes a thousand rows for ten and reads them all."""
    with database.write() as connection:
        connection.exec_driver_sql(_FILL_EVENTS)
        connection.exec_driver_sql(_FILL_DELIVERIES)
    key = OrderKey("onec", "trade", "7")
    with database.write(alone_for=("source:trade",)) as connection:
        before = _rows_read(connection)
        assert call_order.waiting(connection, [key, key._replace(session="none")]) == {key}
        assert _rows_read(connection) - before == 3


def _rows_read(connection: Connection) -> int:
    counts = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables"
    return int(connection.exec_driver_sql(counts).scalar_one())


_FILL_EVENTS = """
    INSERT INTO events (seq, id, source, endpoint, kind, state, session, received_at, raw, is_query, zone, notes,
      digest, repeated, repeats)
    SELECT g, g::text, 'trade', 'rec', 'finished', 'accepted', (g / 3)::text, 1, '', false, 'Europe/Moscow', '[]', g,
      0, '[]' FROM generate_series(1, 3000) g
"""
_FILL_DELIVERIES = """
    INSERT INTO deliveries (seq, id, event_seq, event, target, kind, source, session, ordered, state, turn, epoch,
      attempts, failures, unclear, due_at, aged_from, replayed)
    SELECT seq, id, seq, id, 'onec', kind, source, session, true, 'due', false, 0, 0, 0, 0, 1, 1, false FROM events
"""


def test_tokens_are_exchanged_by_one_process_at_a_time(database: Database, address: str) -> None:
    other = Store(address).database
    mine, theirs = database.token_lock("amo"), other.token_lock("amo")
    assert mine.try_acquire()
    assert not theirs.try_acquire()
    assert mine.try_acquire()  # for longer
    mine.close()
    assert theirs.try_acquire()
    theirs.close()
    other.close()


def test_everything_works_behind_a_pooler_of_transactions(
    bouncer: Bouncer, postgres_database: str, make_relay: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", bouncer.url(postgres_database))
    store = Store(bouncer.url(postgres_database))
    assert migrate.migrate(store.database, FakeClock()()) is None
    assert migrate.migrate(store.database, FakeClock()()) is not None
    store.leases.announce("me")
    assert store.leases.dispatchers() == {"me": 1}
    store.close()


def test_a_store_is_copied_whole_and_goes_on_where_it_was_broken_off(
    relay: Relay, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not str(relay.settings.storage.url).startswith("sqlite"):
        pytest.skip("from SQLite")
    for call in range(40):
        for kind in STANDARD:
            post(relay, rendered(kind, call_session_id=call))
    relay.store.database.prove_writable(relay.clock())
    events = [event.id for event in relay.store.queries.events(Selection())]
    assert len(events) == 40 * len(STANDARD)
    url = relay.settings.storage.url
    busy = CliRunner().invoke(main, ["copy", url, address])
    assert busy.exit_code == 1
    assert "stop the relay" in busy.output
    relay.close()

    monkeypatch.setattr("relay.store.postgres.copy._CHUNK", 50)
    broken = _Broken()
    monkeypatch.setattr("relay.store.postgres.copy._insert", broken)
    cut = CliRunner().invoke(main, ["copy", url, address])
    assert "the line has broken" in cut.output
    store = Store(address)
    with pytest.raises(StoreError, match="was not finished"):
        migrate.expect_current(store.database)

    # a relay that was started on the empty database goes on storing there
    broken.left = 1_000_000
    with store.database.write() as connection:
        connection.execute(text(_STRAY))
    done = CliRunner().invoke(main, ["copy", url, address])
    assert done.exit_code == 0, done.output
    assert f"{len(events)} events" in done.output
    assert [event.id for event in store.queries.events(Selection())] == [*events, "stray"]
    assert CliRunner().invoke(main, ["copy", url, address]).exit_code == 1  # it is not empty
    store.close()


_STRAY = """
    INSERT INTO events (seq, id, source, endpoint, state, received_at, raw, is_query, zone, notes, digest, repeated,
      repeats)
    VALUES (nextval('events_seq_seq'), 'stray', 'trade', 'in', 'accepted', 0, '', false, 'UTC', '[]', 0, 0, '[]')
"""


class _Broken:
    """Inserts a few times, then the line breaks."""

    def __init__(self) -> None:
        from relay.store.postgres.copy import _insert

        self._real, self.left = _insert, 12  # in the midst of the attempts or the deliveries

    def __call__(self, *args: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreError("the line has broken")
        self._real(*args)
