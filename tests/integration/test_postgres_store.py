"""What only PostgreSQL can do: be elsewhere, be lost and found again, be one database for many."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg.errors import LockNotAvailable, UniqueViolation
from sqlalchemy import Connection, text

from relay import bootstrap, config, wiring
from relay.cli import main
from relay.clock import now_utc
from relay.config import Settings
from relay.errors import StoreBusy, StoreError
from relay.store import Selection, Store, call_order, migrate, tables
from relay.store.call_order import OrderKey
from relay.store.engine import OWN_ROWS, PATIENT_TIMEOUT_S, Database
from relay.store.postgres import diagnostics, wakeups
from relay.store.postgres.database import PostgresDatabase
from relay.store.statement import ManyRows, Statement
from relay.wiring import Relay
from tests.calls import STANDARD, rendered
from tests.fakes import FakeClock
from tests.lanes import post
from tests.postgres import Bouncer, Postgres, programs, running, skip_unless
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


def test_a_database_of_another_program_is_refused_and_stays_as_it_was(
    postgres: Postgres, write_config: Callable[..., Path]
) -> None:
    name = postgres.create_database()
    with postgres.connect(name) as connection:
        connection.execute("CREATE TABLE events (id integer)")
    environ = {"RELAY_CONFIG": str(write_config()), "DATABASE_URL": postgres.url(name)}
    refused = CliRunner().invoke(main, ["migrate"], env=environ)

    assert refused.exit_code == 1
    assert "holds tables of another program" in refused.output
    with postgres.connect(name) as connection:
        assert connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall() == [
            ("events",)
        ]
    postgres.drop_database(name)


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
    """What goes by key, and no other: a plan made for an empty table would read all of it later."""
    pooled = Store(bouncer.url(postgres_database)).database
    columns = {"name": tables.heartbeats.c["name"]}
    by_key = ManyRows(columns, "WITH one (name) AS (VALUES :rows) SELECT at FROM one JOIN heartbeats USING (name)")
    by_search = Statement("SELECT at FROM heartbeats WHERE at > :after")
    for each, expected in ((database, [("WITH",)]), (pooled, [])):
        for _ in range(15):
            with each.write(alone_for=OWN_ROWS) as connection:
                assert by_key.rows(connection, [{"name": "readyz"}]) == by_search.rows(connection, after=0) == []
        with each.write(alone_for=OWN_ROWS) as connection:
            prepared = Statement(
                "SELECT substr(statement, 1, 4) FROM pg_prepared_statements WHERE statement LIKE :like"
            )
            assert prepared.rows(connection, like="%FROM%heartbeats%") == expected
    pooled.close()


def test_what_is_sent_with_what_follows_is_waited_for_where_its_count_is_asked(database: Database) -> None:
    beat = Statement("UPDATE heartbeats SET at = :at WHERE name = :name")
    with database.write(alone_for=OWN_ROWS, pipelined=True) as connection:
        ManyRows.insert(tables.heartbeats).run(connection, [{"name": name, "at": 1} for name in "abc"])
        assert beat.run(connection, name="b", at=2) == 1
        assert beat.run(connection, name="z", at=2) == 0
        beat.run(connection, name="c", at=3)
    rows = database.rows(Statement("SELECT name, at FROM heartbeats ORDER BY name"))
    assert rows == [("a", 1), ("b", 2), ("c", 3)]


def test_what_fails_on_its_way_with_the_commit_fails_all_of_it(database: Database) -> None:
    insert, everything = ManyRows.insert(tables.heartbeats), Statement("SELECT name FROM heartbeats")
    for _ in range(2):
        with (
            pytest.raises(UniqueViolation),
            database.write(alone_for=OWN_ROWS, pipelined=True) as connection,
        ):
            insert.run(connection, [{"name": "a", "at": 1}])
            insert.run(connection, [{"name": "a", "at": 2}])
        assert database.rows(everything) == []


def test_what_the_server_itself_says_in_a_pipeline_is_not_taken_for_a_server_that_hangs(database: Database) -> None:
    """When the answer is seen is a race: the driver may have asked for it already, or wait for it."""
    fails = Statement("SELECT at FROM heartbeats WHERE at = 1 / 0")
    deadlock = Statement("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
    for _ in range(100):
        with (
            pytest.raises(StoreBusy, match="deadlock"),
            database.write(alone_for=OWN_ROWS, pipelined=True) as connection,
        ):
            deadlock.run(connection)
            fails.rows(connection)


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


def test_the_question_whether_listen_brings_anything_waits_for_the_server_no_longer(
    database: Database, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, connections = wakeups._connect, count(1)

    def connect_then_hang(conninfo: str) -> Any:
        connection = connect(conninfo)
        if next(connections) == 2:  # the last that it makes
            until_then.enter_context(postgres.hanging())
        return connection

    monkeypatch.setattr(wakeups, "_ANSWERED_WITHIN_S", 0.1)
    monkeypatch.setattr(wakeups, "_connect", connect_then_hang)
    with ExitStack() as until_then, pytest.raises(StoreError, match="does not answer"):
        database.upkeep_warnings()


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


def test_a_process_hears_itself_and_is_woken_by_another(database: Database, address: str) -> None:
    other, changes = Store(address).database, database.changes
    assert isinstance(changes, wakeups.Wakeups) and isinstance(other.changes, wakeups.Wakeups)
    changes._echoed_at = float("-inf")
    changes.wait(0.01)  # the listening begins
    eventually(lambda: changes._echo is not None and "relay wakeups" in _applications(database), "it listens")
    changes.tell_others()
    eventually(changes.hears, "its echo has come, and what was told before it")
    changes.woken.clear()
    other.changes.tell_others()
    assert changes.woken.wait(10)
    other.close()


def test_who_cannot_tell_lets_go_of_the_connection_and_tries_it_ever_more_seldom(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stalled:
        closed = False

        def execute(self, _statement: str) -> None:
            raise psycopg.OperationalError

        def close(self) -> None:
            self.closed = True

    class Stopping(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            pauses.append(timeout)
            if len(pauses) == 20:
                self.set()
            return True

    made: list[Stalled] = []
    pauses: list[float] = []

    def connect(_conninfo: str) -> Stalled:
        assert all(connection.closed for connection in made)
        made.append(Stalled())
        return made[-1]

    monkeypatch.setattr(wakeups, "_connect", connect)
    monkeypatch.setattr(wakeups.random, "uniform", lambda _low, _high: 1.0)
    changes = wakeups.Wakeups("")
    changes._stopping = Stopping()
    changes._due.set()
    changes._tell()
    assert len(made) == 20 and made[-1].closed
    assert pauses[:5] == [0.5, 1, 2, 4, 8] and set(pauses[5:]) == {wakeups._RECONNECT_MAX_S}


def test_a_notify_that_waits_for_a_hanging_commit_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby that is waited for in vain: the commit has the lock of all NOTIFYs meanwhile."""
    monkeypatch.setattr(wakeups, "_LOCK_LIMIT", "SET LOCAL lock_timeout = '100ms'")
    skip_unless(programs(), "postgresql")
    server = Postgres(synchronous_standby_names="none", synchronous_commit="local")

    def hang() -> None:
        with suppress(psycopg.Error):  # it hangs to the server's end
            other.execute("INSERT INTO written VALUES (1); NOTIFY x")

    with running(server), server.connect("postgres") as mine, server.connect("postgres") as other:
        mine.execute("CREATE TABLE written (n int)")
        other.execute("SET synchronous_commit = on")
        hanging = threading.Thread(target=hang)
        hanging.start()
        try:
            waits, pid = "SELECT wait_event FROM pg_stat_activity WHERE pid = %s", [other.info.backend_pid]
            eventually(lambda: mine.execute(waits, pid).fetchone() == ("SyncRep",), "its commit hangs")
            with wakeups._connect(server.url("postgres")) as telling, pytest.raises(LockNotAvailable):
                wakeups._notify(telling, "y")
        finally:
            server.stop()
            hanging.join()


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
    eventually(lambda: "heartbeats" in "".join(database.upkeep_warnings()), "the statistics have come")
    eventually(lambda: len(database.upkeep_warnings()) == 2, "nothing else is said")

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
    """Without statistics, as after an hour's backlog, PostgreSQL takes a thousand rows for ten and reads them all; by
    a plan that it made for empty tables, too.
    """
    key = OrderKey("onec", "trade", "7")
    gap, now = {key: timedelta(seconds=1)}, 10
    for _ in range(15):
        with database.write(alone_for=("source:trade",)) as connection:
            assert call_order.waiting(connection, [key]) == set()
            assert call_order.free_at(connection, gap, now) == {}
    with database.write() as connection:
        connection.exec_driver_sql(_FILL_EVENTS)
        connection.exec_driver_sql(_FILL_DELIVERIES)
    with database.write(alone_for=("source:trade",)) as connection:
        before = _rows_read(connection)
        assert call_order.waiting(connection, [key, key._replace(session="none")]) == {key}
        assert _rows_read(connection) - before == 3
        assert call_order.free_at(connection, gap, now) == {}
        assert _rows_read(connection) - before == 3 + 3 + 3  # the call's events, and their deliveries


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


def test_a_replay_whose_session_the_server_ends_goes_on_where_it_was_cut(
    address: str, write_config: Callable[..., Path]
) -> None:
    environ = {"RELAY_CONFIG": str(write_config()), "DATABASE_URL": address}
    relay = wiring.Relay(config.read(environ))
    migrate.migrate(relay.store.database, relay.clock())
    for call in range(60):
        post(relay, rendered("incoming", call_session_id=call))
    with relay.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET state = 'delivered', turn = FALSE")
        connection.exec_driver_sql(_CUT_AFTER_FIFTY)
    command = ["replay", "--state", "delivered"]
    cut = CliRunner().invoke(main, command, env=environ)
    assert cut.exit_code == 1
    assert "50 of 60" in cut.output

    with relay.store.database.write() as connection:  # the first ones are delivered once more meanwhile
        connection.exec_driver_sql("DROP TRIGGER cut ON deliveries")
        connection.exec_driver_sql("UPDATE deliveries SET state = 'delivered', turn = FALSE")
    assert "replayed 10 of 10" in CliRunner().invoke(main, command, env=environ).output
    relay.close()


_CUT_AFTER_FIFTY = """
    CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF (SELECT count(*) FROM deliveries WHERE replayed) >= 55 THEN
        PERFORM pg_terminate_backend(pg_backend_pid());
      END IF;
      RETURN NEW;
    END $$;
    CREATE TRIGGER cut BEFORE UPDATE ON deliveries FOR EACH ROW EXECUTE FUNCTION cut()
"""


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


@pytest.mark.sqlite
def test_a_copy_that_begins_anew_loses_nothing_that_was_stored_at_its_destination(
    relay: Relay, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["copy", relay.settings.storage.url, address]
    post(relay, rendered("incoming", call_session_id=1))
    relay.close()

    def store_more(session: int) -> None:
        with closing(wiring.Relay(relay.settings)) as again:
            post(again, rendered("incoming", call_session_id=session))

    _cut(command, monkeypatch)
    store_more(2)
    _cut(command, monkeypatch)  # of the file that has changed: all that stands there came from it
    with closing(Store(address)) as destination:
        with destination.database.write() as connection:
            connection.execute(text(_STRAY))
        store_more(3)
        refused = CliRunner().invoke(main, command)
        assert refused.exit_code == 1
        assert "1 events; give an empty database" in refused.output
        assert "stray" in [event.id for event in destination.queries.events(Selection())]

        done = CliRunner().invoke(main, [*command, "--overwrite"])
        assert done.exit_code == 0, done.output
        assert [event.session for event in destination.queries.events(Selection())] == ["1", "2", "3"]


@pytest.mark.sqlite
def test_a_copy_of_what_a_killed_relay_has_left_goes_on_too(
    relay: Relay, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its journal comes into the file with the first who closes it, and that does not count as a change."""
    post(relay, rendered("incoming", call_session_id=1))
    left = tmp_path / "left"
    left.mkdir()
    for name in ("relay.db", "relay.db-wal"):
        shutil.copy(tmp_path / name, left)
    command = ["copy", f"sqlite:///{left / 'relay.db'}", address]
    _cut(command, monkeypatch)
    with closing(Store(address)) as destination:
        with destination.database.write() as connection:
            connection.execute(text(_STRAY))
        done = CliRunner().invoke(main, command)
        assert done.exit_code == 0, done.output
        assert [event.session for event in destination.queries.events(Selection())] == ["1", None]


def _cut(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy in small chunks, and break the line in the midst of it."""
    with monkeypatch.context() as broken:
        broken.setattr("relay.store.postgres.copy._CHUNK", 1)
        broken.setattr("relay.store.postgres.copy._insert", _Broken(after=3))
        assert "the line has broken" in CliRunner().invoke(main, command).output


@pytest.mark.parametrize("command", [["copy", "{address}", "sqlite:///relay.db"], ["copy", "{address}", "{address}"]])
def test_no_password_is_shown_when_the_addresses_are_given_wrongly(address: str, command: list[str]) -> None:
    refused = CliRunner().invoke(main, [word.format(address=address) for word in command])

    assert refused.exit_code == 2
    assert "the first address is no SQLite address" in refused.output
    assert "invented" not in refused.output


_STRAY = """
    INSERT INTO events (seq, id, source, endpoint, state, received_at, raw, is_query, zone, notes, digest, repeated,
      repeats)
    VALUES (nextval('events_seq_seq'), 'stray', 'trade', 'in', 'accepted', 0, '', false, 'UTC', '[]', 0, 0, '[]')
"""


class _Broken:
    """Inserts a few times, then the line breaks."""

    def __init__(self, after: int = 12) -> None:  # in the midst of the attempts or the deliveries
        from relay.store.postgres.copy import _insert

        self._real, self.left = _insert, after

    def __call__(self, *args: object) -> None:
        self.left -= 1
        if self.left < 0:
            raise StoreError("the line has broken")
        self._real(*args)
