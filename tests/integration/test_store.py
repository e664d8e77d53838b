"""The store on a real database file."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.clock import now_utc
from relay.errors import SchemaMismatch, StoreBusy, StoreError
from relay.models import Attempt, CallEvent, Shard
from relay.store import AttemptResult, Claim, Discard, NewEvent, Replay, Route, Selection, Store, tables
from relay.store.group_commit import GroupCommit
from relay.store.migrate import expect_current, migrate
from relay.store.sqlite import database as sqlite_database
from relay.store.tables import VERSION
from tests import databases, factories

NOON = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)


@pytest.fixture
def store(database_url: str) -> Any:
    databases.create_at(database_url)
    made = Store(database_url)
    assert made.leases.take_over(Shard("onec"), "me") == 1
    yield made
    made.close()


def notification(
    number: int = 1,
    *,
    session: str | None = "7",
    at: datetime = NOON,
    ordered: bool = True,
    window: timedelta = timedelta(minutes=10),
) -> NewEvent:
    call = CallEvent(kind="incoming", session_id=session)
    raw = b"%d" % number
    return factories.new_event(call, Route("onec", ordered), window=window, raw=raw, received_at=at)


def claim(store: Store, at: datetime = NOON + timedelta(seconds=1)) -> Any:
    return store.queue.claim(Claim(Shard("onec"), 1, at))


def result(job: Any, state: Any = "delivered", *, next_try_at: datetime | None = None) -> AttemptResult:
    outcome: Any = "delivered" if state == "delivered" else "later"
    attempt = Attempt(number=job.delivery.attempts + 1, at=NOON, took_ms=1, status=200, outcome=outcome, reason="")
    return factories.result(job, state, NOON, next_try_at=next_try_at, attempt=attempt)


def states(store: Store) -> list[str]:
    return [delivery.state for delivery in store.queries.deliveries(Selection())]


# --- what SQLite is told


@pytest.mark.sqlite
def test_a_commit_is_on_disk(store: Store) -> None:
    with store.database.write() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "auto_vacuum", "mmap_size")
        }

    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "auto_vacuum": 2, "mmap_size": 0}


@pytest.mark.sqlite
def test_a_process_that_writes_looks_rarely_for_changes_of_others_until_there_are_any(
    store: Store, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Woken(threading.Event):
        """Over at once; the second time it is set."""

        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return len(pauses) > 1

    def pause(at_most_s: float = 0.2) -> float:
        pauses.clear()
        changes.wait(at_most_s)
        return pauses[0]

    def write(to: Store) -> None:
        to.inbox.add(notification(len(written)))
        written.append(to)

    pauses: list[float] = []
    written: list[Store] = []
    changes = store.database.changes
    changes.woken = Woken()
    with closing(Store(database_url)) as other:
        write(store)
        assert pause() == 0.1
        assert pause() == 0.01  # it has not written since
        write(store)
        assert pause(0.05) <= 0.05
        write(other)
        pause()  # sees it
        write(store)
        assert pause() == 0.01
        monkeypatch.setattr(sqlite_database, "_ALONE_AFTER_S", 0.0)
        write(other)
        pause()
        write(store)
        assert pause() == 0.1


@pytest.mark.sqlite
def test_a_reader_cannot_write(store: Store) -> None:
    with pytest.raises(StoreError), store.database.read() as connection:
        connection.exec_driver_sql("DELETE FROM events")


# --- migrations


def test_migrating_twice_changes_nothing(store: Store) -> None:
    assert migrate(store.database, now_utc()) == tables.VERSION
    expect_current(store.database)


def test_a_newer_database_is_refused_with_both_versions(store: Store) -> None:
    with store.database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")

    for ask in (lambda: expect_current(store.database), lambda: migrate(store.database, now_utc())):
        with pytest.raises(SchemaMismatch, match=rf"9999.*{VERSION}"):
            ask()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "tables_of_others",
    [
        "CREATE TABLE events (id INTEGER)",
        "CREATE TABLE goods (id INTEGER)",
        "CREATE TABLE alembic_version (version_num TEXT); INSERT INTO alembic_version VALUES ('0003')",
    ],
)
def test_a_database_of_another_program_is_refused_and_stays_as_it_was(tmp_path: Path, tables_of_others: str) -> None:
    """Not even its journal mode changes, as it does where SQLite's file is opened to be written."""
    path = tmp_path / "others.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(tables_of_others)
    before = path.read_bytes()

    with closing(Store(f"sqlite:///{path}")) as store:
        for ask in (lambda: migrate(store.database, now_utc()), lambda: expect_current(store.database)):
            with pytest.raises(StoreError, match="tables of another program"):
                ask()
    assert path.read_bytes() == before
    assert list(tmp_path.glob("*.bak*")) == []


def test_no_command_creates_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="migrate"):
        expect_current(Store(f"sqlite:///{tmp_path / 'none.db'}").database)
    assert not (tmp_path / "none.db").exists()


def test_a_migration_that_fails_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import op

    made = Store(f"sqlite:///{tmp_path / 'relay.db'}")

    def fail(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(op, "create_index", fail)  # after the first table has been made
        with pytest.raises(StoreError):
            migrate(made.database, now_utc())

    assert migrate(made.database, now_utc()) is None
    expect_current(made.database)


def test_many_start_at_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'relay.db'}"
    failures: list[BaseException] = []

    def start() -> None:
        one = Store(url)
        try:
            migrate(one.database, now_utc())
            expect_current(one.database)
        except BaseException as exc:
            failures.append(exc)
        finally:
            one.close()

    run_together([start] * 6)
    assert failures == []


def run_together(work: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- notifications


def test_the_order_is_the_order_of_acceptance(store: Store) -> None:
    for number in range(5):
        store.inbox.add(notification(number))

    assert [event.seq for event in store.queries.events(Selection())] == [1, 2, 3, 4, 5]


def test_a_repeat_within_the_window_is_recognised_and_counted(store: Store) -> None:
    first = store.inbox.add(notification())
    again = store.inbox.add(notification(at=NOON + timedelta(minutes=9)))

    assert (again.duplicate, again.event) == (True, first.event)
    assert len(states(store)) == 1
    [event] = store.queries.events(Selection())
    assert (event.duplicate_count, event.duplicate_times) == (1, (NOON + timedelta(minutes=9),))


def test_a_repeat_after_the_window_is_a_new_event(store: Store) -> None:
    store.inbox.add(notification())

    assert not store.inbox.add(notification(at=NOON + timedelta(minutes=11))).duplicate


def test_without_a_window_every_repeat_is_a_new_event(store: Store) -> None:
    store.inbox.add(notification())

    assert not store.inbox.add(notification(window=timedelta(0))).duplicate


def test_of_many_at_once_exactly_one_is_new(store: Store) -> None:
    """Check-then-insert must not be passed by two threads."""
    found: list[bool] = []
    run_together([lambda: found.append(store.inbox.add(notification()).duplicate) for _ in range(16)])

    assert sorted(found) == [False] + [True] * 15


def test_a_poisonous_neighbour_costs_only_itself(store: Store) -> None:
    """One item that the database cannot take, in one batch with others."""
    commits = GroupCommit(store.database)
    entered, go_on = threading.Event(), threading.Event()

    def operation(_: Any, batch: Any) -> list[str]:
        if "slow" in batch:
            entered.set()
            go_on.wait(5)
        if "poison" in batch:
            raise ValueError("poison")
        return [f"stored {item}" for item in batch]

    answers: dict[str, str] = {}

    def run(item: str) -> None:
        try:
            answers[item] = commits.run(operation, item, 10, alone_for=())
        except ValueError as exc:
            answers[item] = str(exc)

    first = threading.Thread(target=run, args=("slow",))
    first.start()
    entered.wait(5)
    others = [threading.Thread(target=run, args=(item,)) for item in ("a", "poison", "b")]
    for thread in others:
        thread.start()
    while len(commits._queue) < 3:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in (first, *others):
        thread.join()

    assert answers == {"slow": "stored slow", "a": "stored a", "poison": "poison", "b": "stored b"}


def test_nobody_is_told_that_he_is_stored_when_the_thread_that_commits_for_all_is_ended(store: Store) -> None:
    commits = GroupCommit(store.database)
    entered, go_on = threading.Event(), threading.Event()

    def operation(_: Any, batch: Any) -> list[str]:
        if batch == ["slow"]:
            entered.set()
            go_on.wait(5)
        else:
            raise SystemExit
        return ["stored"] * len(batch)

    answers: dict[str, str] = {}

    def run(item: str) -> None:
        try:
            answers[item] = commits.run(operation, item, 10, alone_for=())
        except BaseException as exc:
            answers[item] = type(exc).__name__

    first = threading.Thread(target=run, args=("slow",))
    first.start()
    entered.wait(5)
    others = []
    for number, item in enumerate(("leader", "follower"), 1):
        others.append(threading.Thread(target=run, args=(item,)))
        others[-1].start()
        while len(commits._queue) < number:
            threading.Event().wait(0.001)
    go_on.set()
    for thread in (first, *others):
        thread.join()

    assert answers == {"slow": "stored", "leader": "SystemExit", "follower": "StoreBusy"}
    assert commits.run(lambda _, batch: batch, "next", alone_for=()) == "next"  # and it goes on


@pytest.mark.sqlite
def test_a_lock_held_by_another_program_is_busy_and_stores_nothing(store: Store) -> None:
    other = sqlite3.connect(store.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreBusy):
            store.inbox.add(notification())
    finally:
        other.execute("ROLLBACK")
        other.close()

    assert not store.inbox.add(notification()).duplicate  # and it goes on by itself


# --- turns, claims, results


def test_deliveries_of_one_call_go_one_after_another(store: Store) -> None:
    for number in range(3):
        store.inbox.add(notification(number))

    first = claim(store)
    assert claim(store) is None  # the second must wait for the first
    store.queue.record(result(first))
    second = claim(store)
    assert second.delivery.event_seq == 2


def test_different_calls_go_in_parallel(store: Store) -> None:
    for number in range(3):
        store.inbox.add(notification(number, session=str(number)))

    assert [claim(store).delivery.event_seq for _ in range(3)] == [1, 2, 3]


def test_without_a_session_or_without_order_nothing_waits(store: Store) -> None:
    for number in range(2):
        store.inbox.add(notification(number, session=None))
        store.inbox.add(notification(number + 10, ordered=False))

    assert [claim(store) is not None for _ in range(4)] == [True] * 4


def test_one_that_waits_for_its_retry_holds_its_own_call_only(store: Store) -> None:
    store.inbox.add(notification(1))
    store.inbox.add(notification(2))
    store.inbox.add(notification(3, session="8"))
    store.queue.record(result(claim(store), "due", next_try_at=NOON + timedelta(hours=1)))

    assert claim(store).delivery.session == "8"
    assert claim(store) is None
    assert claim(store, NOON + timedelta(hours=2)).delivery.event_seq == 1


@pytest.mark.parametrize("ended", ["dead", "held", "expired"])
def test_one_that_has_ended_lets_the_later_ones_pass(store: Store, ended: str) -> None:
    store.inbox.add(notification(1))
    store.inbox.add(notification(2))
    store.queue.record(result(claim(store), ended))

    assert claim(store).delivery.event_seq == 2


def test_a_replay_takes_its_old_place_in_the_call(store: Store) -> None:
    for number in range(3):
        store.inbox.add(notification(number))
    store.queue.record(result(claim(store), "dead"))
    [dead] = store.queries.deliveries(Selection(states=("dead",)))
    second = claim(store)  # on its way while the first is replayed
    assert store.operator.replay([Replay(dead, NOON, NOON)]) == 1
    assert claim(store) is None
    store.queue.record(result(second))

    assert claim(store).delivery.event_seq == 1
    assert claim(store) is None


def test_a_replay_of_what_has_changed_meanwhile_does_nothing(store: Store) -> None:
    store.inbox.add(notification())
    store.queue.record(result(claim(store), "dead"))
    [dead] = store.queries.deliveries(Selection())
    assert store.operator.discard([Discard(dead, NOON)]) == 1

    assert store.operator.replay([Replay(dead, NOON, NOON)]) == 0


def test_a_replay_counts_attempts_and_age_anew(store: Store) -> None:
    store.inbox.add(notification())
    store.queue.record(result(claim(store), "dead"))
    [dead] = store.queries.deliveries(Selection())
    later = NOON + timedelta(days=3)
    store.operator.replay([Replay(dead, later, later)])

    [delivery] = store.queries.deliveries(Selection())
    assert (delivery.state, delivery.attempts, delivery.age_started_at, delivery.replayed) == ("due", 0, later, True)


def test_the_next_one_is_claimed_in_the_commit_that_records_the_last(store: Store) -> None:
    for number in range(2):
        store.inbox.add(notification(number))
    job = claim(store)
    from msgspec.structs import replace

    following = store.queue.record(
        replace(result(job), claim_next=Claim(Shard("onec"), 1, NOON + timedelta(seconds=1)))
    )

    assert following is not None
    assert following.delivery.event_seq == 2
    assert states(store) == ["delivered", "sending"]


def test_a_result_under_an_old_epoch_does_not_overwrite(store: Store) -> None:
    store.inbox.add(notification())
    job = claim(store)
    recovered = store.queue.in_flight(Shard("onec"))
    assert [epoch for _, epoch in recovered] == [1]
    store.queue.record(result(job, "due"))  # the new owner took it for unclear
    assert store.leases.take_over(Shard("onec"), "another", store.leases.all()[Shard("onec")]) == 2
    assert claim(store) is None  # nothing is claimed under the old epoch
    assert store.queue.claim(Claim(Shard("onec"), 2, NOON + timedelta(seconds=1))) is not None
    store.queue.record(result(job, "dead"))  # the old one's late answer

    assert states(store) == ["sending"]


def test_a_late_delivered_settles_what_waits(store: Store) -> None:
    store.inbox.add(notification())
    job = claim(store)
    store.queue.record(result(job, "due"))
    store.queue.record(result(job, "delivered"))

    assert states(store) == ["delivered"]


def attempts(store: Store) -> list[list[int]]:
    return [
        [tried.number for tried in tries]
        for event in store.queries.events(Selection())
        for _, tries in store.queries.deliveries_of(event)
    ]


@pytest.mark.parametrize("state", ["due", "delivered", "dead"])
def test_a_result_whose_commit_was_not_confirmed_may_be_recorded_again(store: Store, state: str) -> None:
    store.inbox.add(notification())
    job = claim(store)
    for _ in range(3):
        store.queue.record(result(job, state))

    assert (states(store), attempts(store)) == ([state], [[1]])


def test_a_result_that_is_recorded_again_does_not_settle_the_next_try(store: Store) -> None:
    store.inbox.add(notification())
    first = claim(store)
    store.queue.record(result(first, "due"))
    second = claim(store)
    assert second is not None
    store.queue.record(result(first, "due"))
    assert states(store) == ["sending"]

    store.queue.record(result(second, "delivered"))
    assert (states(store), attempts(store)) == (["delivered"], [[1, 2]])


@pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(days=365)])
def test_an_event_of_a_clock_that_was_ahead_swallows_no_repeat_of_a_later_day(store: Store, ahead: timedelta) -> None:
    first = store.inbox.add(notification(at=NOON + ahead))
    second = store.inbox.add(notification(at=NOON))
    third = store.inbox.add(notification(at=NOON + timedelta(minutes=1)))

    assert [one.duplicate for one in (first, second, third)] == [False, False, True]
    assert third.event == second.event


def test_of_two_that_come_at_once_the_later_one_may_be_stored_first(store: Store) -> None:
    """Its time is taken before the commit: a repeat may seem to be a moment older than what it repeats."""
    assert not store.inbox.add(notification(at=NOON)).duplicate
    assert store.inbox.add(notification(at=NOON - timedelta(milliseconds=20))).duplicate


def test_what_was_not_begun_goes_back_without_counting(store: Store) -> None:
    store.inbox.add(notification())
    job = claim(store)
    assert store.queue.unclaim(job.delivery, job.epoch)

    again = claim(store)
    assert (again.delivery.id, again.delivery.attempts, again.delivery.tried_at) == (job.delivery.id, 0, None)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "claim", "deliver", "retry", "kill", "replay"]), st.integers(0, 2)),
        max_size=40,
    )
)
def test_whatever_happens_a_call_has_one_in_flight_and_keeps_its_order(
    store: Store, steps: list[tuple[str, int]]
) -> None:
    """Rule: never two of a call on their way, never a later one while an earlier one waits."""
    with store.database.write() as connection:
        for table in (tables.attempts, tables.deliveries, tables.events):
            connection.execute(table.delete())
    flying: list[Any] = []
    for number, (step, session) in enumerate(steps):
        if step == "add":
            store.inbox.add(notification(number, session=str(session)))
        elif step == "claim":
            job = claim(store)
            if job is not None:
                waiting = [
                    d
                    for d in store.queries.deliveries(Selection(session=job.delivery.session))
                    if d.state in ("due", "sending")
                ]
                assert waiting[0].id == job.delivery.id
                assert [d.state for d in waiting].count("sending") == 1
                flying.append(job)
        elif step == "replay":
            store.operator.replay(
                [
                    Replay(d, NOON, NOON)
                    for d in store.queries.deliveries(Selection(states=("dead",), session=str(session)))
                ]
            )
        elif flying:
            job = flying.pop(session % len(flying))
            store.queue.record(result(job, {"deliver": "delivered", "retry": "due", "kill": "dead"}[step]))
    for job in flying:
        store.queue.record(result(job))
    while (job := claim(store)) is not None:  # nothing is stuck
        store.queue.record(result(job))
    assert {"due", "sending"}.isdisjoint(states(store))
