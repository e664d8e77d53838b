"""What is kept and for how long, the copy of it, and what becomes of an older database."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import event, func, select

from relay import bootstrap, wiring
from relay.cli import main
from relay.clock import from_us, to_us
from relay.models import Attempt, Shard
from relay.store import Claim, Replay, Selection, migrate, retention, tables
from relay.wiring import Relay
from tests.calls import rendered
from tests.factories import result
from tests.lanes import post, states


def end(relay: Relay, state: Any) -> None:
    """Brings the next delivery to an end, an hour's work of the lane aside."""
    epoch = relay.store.leases.all()[Shard("onec")].epoch
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, relay.clock()))
    assert job is not None
    now = relay.clock()
    relay.store.queue.record(
        result(
            job, state, now, attempt=Attempt(number=1, at=now, took_ms=1, status=200, outcome="delivered", reason="")
        )
    )


@pytest.fixture
def kept(relay: Relay, clock: Any) -> Relay:
    """A relay with events 20 days old in every state: keep_delivered is 30 days, keep_dead 180."""
    relay.store.leases.take_over(Shard("onec"), "me")
    for number, state in enumerate(("delivered", "delivered", "dead", "held", "expired"), 1):
        post(relay, rendered("incoming", call_session_id=number))
        end(relay, state)
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    post(relay, rendered("incoming", call_session_id=9))  # waits
    clock.forward(days=20)
    return relay


def sessions(relay: Relay) -> list[str | None]:
    return [found.session for found in relay.store.queries.events(Selection())]


def test_nothing_goes_before_its_time(kept: Relay) -> None:
    assert kept.housekeeping.prune() == 0
    assert len(sessions(kept)) == 7


def test_the_delivered_go_first_the_dead_letters_later_and_what_waits_never(kept: Relay, clock: Any) -> None:
    clock.forward(days=11)
    assert kept.housekeeping.prune() == 3
    assert sessions(kept) == ["3", "4", None, "9"]
    clock.forward(days=150)
    assert kept.housekeeping.prune() == 3
    assert sessions(kept) == ["9"]
    clock.forward(days=1000)
    assert kept.housekeeping.prune() == 0


def test_what_was_delivered_lately_is_kept_from_then(kept: Relay, clock: Any) -> None:
    [dead] = kept.store.queries.deliveries(Selection(states=("dead",)))
    kept.store.operator.replay([Replay(dead, clock(), clock())])
    end(kept, "delivered")  # the one that waited
    end(kept, "delivered")  # the replayed one
    clock.forward(days=11)
    kept.housekeeping.prune()
    assert set(sessions(kept)) == {"3", "4", "9", None}


def test_what_a_replay_has_put_back_meanwhile_is_not_deleted(kept: Relay, clock: Any) -> None:
    """Between the choosing and the deleting."""
    [first, *_] = kept.store.queries.events(Selection(session="1"))
    [(delivery, _)] = kept.store.queries.deliveries_of(first)
    kept.store.operator.replay([Replay(delivery, clock(), clock())])
    with kept.store.database.write() as connection:
        assert retention._delete(connection, [first.seq]) == 0
    assert "1" in sessions(kept)


def test_no_attempt_or_delivery_is_left_without_its_event(kept: Relay, clock: Any) -> None:
    clock.forward(days=400)
    kept.housekeeping.prune()
    with kept.store.database.read() as connection:
        kept_in = (tables.events, tables.deliveries, tables.attempts)
        counts = [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in kept_in]
        assert connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall() == []
    assert counts == [1, 1, 0]


def test_the_file_gives_its_space_back(relay: Relay, clock: Any) -> None:
    relay.store.leases.take_over(Shard("onec"), "me")
    for number in range(400):
        post(relay, rendered("incoming", call_session_id=number, external_id="x" * 2000))
        end(relay, "delivered")
    before = _pages(relay)
    clock.forward(days=31)
    assert relay.housekeeping.prune() == 400
    assert _pages(relay) < before / 2
    assert sqlite3.connect(relay.store.database.path).execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _pages(relay: Relay) -> int:
    with relay.store.database.read() as connection:
        return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())


def test_it_is_deleted_in_batches_between_which_others_write(kept: Relay, clock: Any) -> None:
    clock.forward(days=400)
    retention.prune(
        kept.store.database,
        clock(),
        clock(),
        should_stop=lambda: post(kept, rendered("incoming", call_session_id=77)) == "",
    )
    assert "77" in sessions(kept)


def test_prune_and_status_from_the_command_line(kept: Relay) -> None:
    printed = CliRunner().invoke(main, ["prune"], env={"RELAY_CONFIG": str(kept.settings.file)})
    assert printed.exit_code == 0
    assert "deleted" in printed.output


# --- the copy


def test_a_backup_made_while_others_write_is_whole(kept: Relay, tmp_path: Path) -> None:
    stop = threading.Event()
    written: list[str] = []

    def write() -> None:
        while not stop.is_set():
            written.append(post(kept, rendered("incoming", call_session_id=1000 + len(written))))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while len(written) < 20:
            assert writer.is_alive()
        before = len(written)
        copy = tmp_path / "copies" / "relay.db"
        copy.parent.mkdir()
        printed = CliRunner().invoke(main, ["backup", str(copy)], env={"RELAY_CONFIG": str(kept.settings.file)})
        assert printed.exit_code == 0, printed.output
    finally:
        stop.set()
        writer.join(10)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in copy.parent.iterdir()] == ["relay.db"]
    with sqlite3.connect(copy) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        ids = {row[0] for row in opened.execute("SELECT id FROM events")}
    assert set(written[:before]) <= ids  # everything that had been accepted before
    # a relay goes on with it
    kept.settings.file.write_text(
        kept.settings.file.read_text(encoding="utf-8").replace(f"{tmp_path}/relay.db", str(copy)), encoding="utf-8"
    )
    from relay import config as settings_room

    again = wiring.Relay(settings_room.read({"RELAY_CONFIG": str(kept.settings.file)}))
    migrate.expect_current(again.store.database)
    assert len(states(again)) >= 6
    again.close()


@pytest.mark.parametrize(("name", "says"), [("relay.db", "exists already"), ("nowhere/copy.db", "does not exist")])
def test_a_backup_that_cannot_be_made_says_why(kept: Relay, tmp_path: Path, name: str, says: str) -> None:
    environ = {"RELAY_CONFIG": str(kept.settings.file)}
    printed = CliRunner().invoke(main, ["backup", str(tmp_path / name)], env=environ)
    assert printed.exit_code == 1
    assert says in printed.output


# --- an older database


def test_a_database_of_the_first_version_is_brought_up_with_everything_in_it(
    old_database: Path, make_settings: Callable[..., Any], tmp_path: Path
) -> None:
    settings = make_settings()
    with closing(sqlite3.connect(old_database, isolation_level=None)) as connection:
        connection.execute("INSERT INTO targets (name, state, epoch) VALUES ('onec', 'open', 5)")

    assert bootstrap.migrate(settings) == "0001"
    assert len(list(tmp_path.glob("relay.db.bak-0001-*"))) == 1
    relay = wiring.Relay(settings)
    post(relay, rendered("incoming"))
    assert relay.store.leases.all()[Shard("onec")].epoch == 5
    assert states(relay) == ["due"]
    relay.close()


def test_the_migrations_make_the_schema_that_the_program_expects(relay: Relay) -> None:
    with relay.store.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            found = {row[1] for row in connection.exec_driver_sql(f"PRAGMA table_info({table.name})")}
            assert found == {column.name for column in table.c}, table.name
            indexes = {
                row[1] for row in connection.exec_driver_sql(f"PRAGMA index_list({table.name})") if row[3] == "c"
            }
            assert indexes == {index.name for index in table.indexes}, table.name


HOUR_US = 3_600_000_000


def test_what_stood_still_before_the_migration_still_makes_nobody_older(
    make_old_database: Callable[[str], Path], make_settings: Callable[..., Any]
) -> None:
    """Pauses and steps of the clock had a table of their own; where they overlap, time stood still once."""
    settings = make_settings()
    spans = [("onec", 1, 5), ("onec", 2, 3), ("onec", 4, 6), ("onec", 8, 7), ("onec", 20, None), ("onec", 21, 22)]
    waiting = {0: 5, 4.5: 6, 5.5: 6, 7: 7, 19: 19, 21: 21}  # accepted at, and so much later it has aged from
    with closing(sqlite3.connect(make_old_database("0005"), isolation_level=None)) as connection:
        paused = "INSERT INTO targets (name, state, epoch, paused_at) VALUES ('onec', 'open', 5, ?)"
        connection.execute(paused, (20 * HOUR_US,))
        connection.execute(
            "INSERT INTO events (seq, id, source, endpoint, state, received_at, raw, is_query, zone, notes, digest, "
            "repeated, repeats) VALUES (1, 'e', 'trade', 'in', 'accepted', 0, '', 0, 'UTC', '[]', 0, 0, '[]')"
        )
        for target, began, ended in spans:
            values = (target, began * HOUR_US, None if ended is None else ended * HOUR_US)
            connection.execute("INSERT INTO standstills (target, began_at, ended_at) VALUES (?, ?, ?)", values)
        for target in ("onec", "other"):
            for at in waiting:
                connection.execute(
                    "INSERT INTO deliveries (id, event_seq, event, target, kind, source, ordered, state, turn, epoch, "
                    "attempts, failures, unclear, due_at, aged_from, replayed) "
                    "VALUES (?, 1, 'e', ?, 'incoming', 'trade', 1, 'due', 1, 0, 0, 0, 0, 0, ?, 0)",
                    (f"{target} {at}", target, int(at * HOUR_US)),
                )

    assert bootstrap.migrate(settings) == "0005"
    relay = wiring.Relay(settings)
    relay.store.targets.resume("onec", from_us(30 * HOUR_US))
    aged_from = {d.id: to_us(d.age_started_at) / HOUR_US for d in relay.store.queries.deliveries(Selection())}
    relay.close()
    of_pause = {at: moved + 10 if moved < 20 else 30 for at, moved in waiting.items()}
    assert aged_from == {f"onec {at}": moved for at, moved in of_pause.items()} | {f"other {at}": at for at in waiting}


# --- the clock, through the store


@pytest.mark.parametrize("hours", [1, -1])
def test_after_a_step_of_the_clock_waits_have_their_length_and_ages_their_value(
    relay: Relay, clock: Any, hours: int
) -> None:
    """A wait of ten minutes lasts for ten minutes; what came in before is not an hour older."""
    epoch = relay.store.leases.take_over(Shard("onec"), "me") or 0
    post(relay, rendered("incoming", call_session_id=1))
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, clock()))
    assert job is not None
    relay.store.queue.record(result(job, "due", clock(), next_try_at=clock() + timedelta(minutes=10)))
    post(relay, rendered("incoming", call_session_id=2))
    clock.forward(minutes=1)
    before, after = clock(), clock() + timedelta(hours=hours)
    clock.now = after
    post(relay, rendered("incoming", call_session_id=3))  # since the step, before it was noticed
    relay.store.waits.follow_clock({Shard("onec"): epoch}, before, after, {})

    first, second, third = relay.store.queries.deliveries(Selection())
    assert first.due_at - after == timedelta(minutes=9)
    assert second.due_at <= after
    assert third.due_at <= after
    assert clock() - third.age_started_at == timedelta(0)
    aged = clock() - second.age_started_at
    assert aged == timedelta(minutes=1) if hours > 0 else aged < timedelta(minutes=1)


def test_a_step_is_followed_by_the_owner_alone(relay: Relay, clock: Any) -> None:
    relay.store.leases.take_over(Shard("onec"), "me")
    post(relay, rendered("incoming"))
    before = list(relay.store.queries.deliveries(Selection()))
    relay.store.waits.follow_clock({Shard("onec"): 7}, clock(), clock() + timedelta(hours=1), {})
    assert list(relay.store.queries.deliveries(Selection())) == before


def test_what_people_ask_is_found_by_index_and_never_by_walking_through_everything(kept: Relay) -> None:
    """With a million events a walk takes seconds; the plan is the same with seven."""
    asked: list[str] = []  # with their values
    event.listen(kept.store.database._reader, "checkout", lambda driver, *_: driver.set_trace_callback(asked.append))
    assert len(list(kept.store.queries.letters(Selection()))) == 3
    kept.store.queries.target_figures("onec", kept.clock())
    kept.store.queries.taken_since("trade", kept.clock())
    kept.store.queue.poll("me")
    delivery = next(iter(kept.store.queries.deliveries(Selection())))
    kept.store.calls.open_tasks(delivery, "79005550123")
    kept.store.calls.of_client(delivery, "79005550123", kept.clock())
    plans = [_plan(kept, statement) for statement in asked if statement.strip().startswith("SELECT")]
    assert len(plans) >= 8
    [of_client] = [steps for steps in plans if any("events_call" in step for step in steps)]
    assert any("events_began" in step for step in of_client), of_client  # by time, not all of the source
    for steps in plans:
        for step in steps:
            walks = step.startswith(("SCAN events", "SCAN deliveries")) and "USING" not in step
            assert not walks, steps
            assert "(rowid>?)" not in step, steps


def _plan(relay: Relay, statement: str) -> list[str]:
    with sqlite3.connect(relay.store.database.path) as connection:
        return [row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + statement)]
