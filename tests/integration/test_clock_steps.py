"""A wall clock that steps, or was set right while nobody looked: waits keep their length, and nothing is forgotten."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from relay.delivery import retry_policy
from relay.errors import StoreBusy
from relay.models import Delivery, Outcome, Shard
from relay.store import Claim, Discard, Replay, Selection, Store, target_state
from relay.wiring import Relay
from tests.calls import rendered
from tests.factories import POLICY, result
from tests.fakes import Failing, FakeClock, Scripted, with_store
from tests.lanes import all_are, dispatch, post, post_call
from tests.waiting import eventually

HOUR, YEAR = timedelta(hours=1), timedelta(days=365)
SIDE = '[sources.side]\ntoken = "x"\ntargets = ["other"]\n[targets.other]\nkind = "1c"\nurl = "http://127.0.0.1:9/x"\n'


def only(relay: Relay, target: str = "onec") -> Delivery:
    [delivery] = relay.store.queries.deliveries(Selection(target=target))
    return delivery


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_whose_commit_was_not_confirmed_is_followed_once(relay: Relay, clock: Any, step: timedelta) -> None:
    """The dispatcher is told that it failed, and follows it again."""
    post(relay, rendered("incoming"))
    target = Scripted(POLICY, lambda _: Outcome(name="later", reason="busy", wait=10 * HOUR / 60))
    store: Any = Failing(relay.store, "waits.follow_clock", StoreBusy("not confirmed"), times=2, done=True)
    dispatcher = dispatch(with_store(store), target, clock=clock, monotonic=lambda: 0.0)
    try:
        eventually(lambda: only(relay).attempts == 1 and only(relay).state == "due", "it waits")
        was_due = only(relay).due_at
        eventually(lambda: dispatcher._clock_jumps._last is not None, "the clock has been looked at")
        clock.now += step
        eventually(lambda: only(relay).due_at != was_due, "the step is followed")
        eventually(lambda: not dispatcher._unfollowed and store._left == 0, "and confirmed at last")
        assert only(relay).due_at == was_due + step
        throttle = dispatcher._lanes[Shard("onec")].throttle
        eventually(lambda: throttle.health.retry_not_before == was_due + step, "the lane has followed, too")
    finally:
        dispatcher.stop(5)


def waiting(relay: Relay, target: str, epoch: int, now: datetime) -> Delivery:
    """A delivery that was tried and waits for ten minutes."""
    job = relay.store.queue.claim(Claim(Shard(target), epoch, now))
    assert job is not None
    relay.store.queue.record(result(job, "due", now, next_try_at=now + timedelta(minutes=10)))
    return only(relay, target)


@pytest.mark.sqlite
def test_all_lanes_follow_a_step_or_none_does(make_relay: Callable[..., Relay], clock: Any) -> None:
    relay = make_relay(more=SIDE)
    lanes = {Shard(name): relay.store.leases.take_over(Shard(name), "me") or 0 for name in ("onec", "other")}
    for source in ("trade", "side"):
        relay.intake.accept(relay.settings.sources[source], "in", rendered("incoming"), is_query=False)
    before = {shard.target: waiting(relay, shard.target, epoch, clock()) for shard, epoch in lanes.items()}
    step = clock(), clock() + HOUR
    trigger = "BEFORE UPDATE ON leases WHEN NEW.target = 'other' BEGIN SELECT RAISE(ABORT, 'no'); END"
    with relay.store.database.write() as connection:
        connection.exec_driver_sql(f"CREATE TRIGGER other_fails {trigger}")
    with pytest.raises(sqlite3.IntegrityError):
        relay.store.waits.follow_clock(lanes, *step, {})
    assert {name: only(relay, name) for name in before} == before

    with relay.store.database.write() as connection:
        connection.exec_driver_sql("DROP TRIGGER other_fails")
    for _ in range(3):
        relay.store.waits.follow_clock(lanes, *step, {})
    assert {name: only(relay, name).due_at for name in before} == {name: d.due_at + HOUR for name, d in before.items()}
    assert {name: only(relay, name).age_started_at for name in before} == {
        name: d.age_started_at + HOUR for name, d in before.items()
    }


def test_a_step_back_is_followed_once_too_but_is_no_time_that_stood_still(relay: Relay, clock: Any) -> None:
    lanes = {Shard("onec"): relay.store.leases.take_over(Shard("onec"), "me") or 0}
    post(relay, rendered("incoming"))
    before = waiting(relay, "onec", lanes[Shard("onec")], clock())
    for _ in range(3):
        relay.store.waits.follow_clock(lanes, clock(), clock() - HOUR, {})

    assert only(relay).due_at == before.due_at - HOUR
    assert only(relay).age_started_at == before.age_started_at


def age(relay: Relay, now: datetime) -> timedelta:
    return now - only(relay).age_started_at


@pytest.mark.parametrize("step", [HOUR, 30 * HOUR, -HOUR])
def test_a_step_within_a_pause_does_not_count_twice(relay: Relay, clock: FakeClock, step: timedelta) -> None:
    """What waits was ten minutes old when the pause began, by the clock that was right then."""
    lanes = {Shard("onec"): relay.store.leases.take_over(Shard("onec"), "me") or 0}
    post(relay, rendered("incoming"))
    clock.forward(minutes=10)
    relay.store.targets.pause("onec", clock())
    clock.forward(hours=5)
    before, clock.now = clock(), clock() + step
    relay.store.waits.follow_clock(lanes, before, clock(), {})
    clock.forward(hours=3)
    relay.store.targets.resume("onec", clock())
    clock.forward(minutes=1)

    younger = min(-step, timedelta(minutes=10)) if step < timedelta(0) else timedelta(0)
    assert age(relay, clock()) == timedelta(minutes=11) - younger


def test_an_answer_that_came_after_a_step_forward_does_not_give_up_what_was_sent_before(
    make_relay: Callable[..., Relay], clock: FakeClock
) -> None:
    """The clock steps while the answer is awaited: the delivery in flight is as old as it was."""
    relay = make_relay(target='give_up_after = "1h"')
    post(relay, rendered("incoming"))
    awaited, answer = threading.Event(), threading.Event()

    def script(_: Any) -> Outcome:
        awaited.set()
        assert answer.wait(20)
        return Outcome(name="later", reason="busy")

    target = Scripted(relay.settings.targets["onec"], script)
    dispatcher = dispatch(relay, target, clock=clock, monotonic=lambda: 0.0)
    try:
        assert awaited.wait(20)
        eventually(lambda: dispatcher._clock_jumps._last is not None, "the clock has been looked at")
        clock.now += 2 * HOUR
        eventually(lambda: len(dispatcher._lanes[Shard("onec")].attempts.clock_jumps) == 1, "the step is followed")
        answer.set()
        eventually(lambda: only(relay).attempts == 1, "recorded")
        assert only(relay).state == "due"
    finally:
        answer.set()
        dispatcher.stop(5)


def test_a_resume_that_is_killed_between_two_chunks_makes_nobody_older(
    relay: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is killed: what waited keeps its age, also when the next `resume` comes an hour later."""
    monkeypatch.setattr(target_state, "_CHUNK", 2)
    for number in range(5):
        post(relay, rendered("incoming", call_session_id=number))
        clock.forward(minutes=1)
    post(relay, rendered("incoming", call_session_id=7))

    killed = 0
    while True:
        relay.store.targets.pause("onec", clock())
        clock.forward(hours=3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(relay.store.database, "write", _dying(relay.store.database.write, after=killed))
            try:
                relay.store.targets.resume("onec", clock())
                break
            except _Killed:
                killed += 1
        assert relay.store.targets.is_paused("onec")
        clock.forward(hours=1)
        assert relay.store.targets.resume("onec", clock())
        assert not relay.store.targets.is_paused("onec")
        ages = [clock() - delivery.age_started_at for delivery in relay.store.queries.deliveries(Selection())]
        assert ages == [timedelta(minutes=5 - number) for number in range(6)], killed
    assert killed >= 5, "it begins, moves three times two ages, and ends"


@pytest.mark.sqlite
def test_two_that_resume_a_target_at_once_make_nobody_younger_twice(
    relay: Relay, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target_state, "_CHUNK", 1)
    post_call(relay, 7)
    clock.forward(minutes=10)
    relay.store.targets.pause("onec", clock())
    clock.forward(hours=3)
    store = Store(f"sqlite:///{relay.store.database.path}")  # as another process has it
    others = threading.Thread(target=store.targets.resume, args=("onec", clock()))
    others.start()
    relay.store.targets.resume("onec", clock())
    others.join()
    store.close()

    assert not relay.store.targets.is_paused("onec")
    assert {clock() - delivery.age_started_at for delivery in relay.store.queries.deliveries(Selection())} == {HOUR / 6}


class _Killed(BaseException):
    pass


def _dying(write: Any, *, after: int) -> Any:
    """The database's `write`, of a process that is killed when it has committed so often."""
    left = iter(range(after))

    def dying(*args: Any) -> Any:
        if next(left, None) is None:
            raise _Killed
        return write(*args)

    return dying


# --- a clock that was ahead, and was set right while the relay was down


@pytest.mark.parametrize("ahead", [2 * HOUR, YEAR])
def test_what_a_clock_that_was_ahead_has_stored_is_delivered_at_once(
    relay: Relay, clock: FakeClock, ahead: timedelta
) -> None:
    clock.now += ahead
    for session in (1, 2):
        for kind in ("incoming", "answered"):
            post(relay, rendered(kind, call_session_id=session))
    clock.now -= ahead
    order: list[tuple[str | None, str]] = []

    def script(job: Any) -> Outcome:
        order.append((job.delivery.session, job.delivery.kind))
        return Outcome(name="delivered")

    dispatcher = dispatch(relay, Scripted(relay.settings.targets["onec"], script), clock=clock)
    try:
        eventually(all_are(relay, "delivered"), "all")
    finally:
        dispatcher.stop(5)
    assert {d.age_started_at <= clock() for d in relay.store.queries.deliveries(Selection())} == {True}
    for session in ("1", "2"):
        assert [kind for whose, kind in order if whose == session] == ["incoming", "answered"]


def test_a_wait_is_shortened_to_what_was_told_and_one_that_is_right_stays(relay: Relay, clock: FakeClock) -> None:
    longest = retry_policy.longest_wait(POLICY)
    epoch = relay.store.leases.take_over(Shard("onec"), "me") or 0

    def stored(session: int) -> Delivery:
        post(relay, rendered("incoming", call_session_id=session))
        return list(relay.store.queries.deliveries(Selection()))[-1]

    right = stored(1)
    replayed = stored(2)
    relay.store.operator.discard([Discard(replayed, clock())])
    relay.store.operator.replay([Replay(replace(replayed, state="discarded"), clock() + 30 * HOUR, clock())])
    clock.now += YEAR
    fresh, tried, spaced = stored(3), stored(4), stored(5)
    relay.store.operator.discard([Discard(fresh, clock()), Discard(right, clock())])
    assert (
        relay.store.queue.claim(Claim(Shard("onec"), epoch, clock())) is not None
    )  # the replayed one, then: both were due
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, clock()))
    assert job is not None
    assert job.delivery.id == tried.id
    relay.store.queue.record(result(job, "due", clock(), next_try_at=clock() + YEAR))
    relay.store.operator.discard([Discard(spaced, clock())])
    relay.store.operator.replay([Replay(replace(spaced, state="discarded"), clock() + 5 * HOUR, clock())])
    relay.store.operator.replay([Replay(replace(fresh, state="discarded"), clock(), clock())])
    clock.now -= YEAR

    shortened = 0
    while count := relay.store.waits.shorten(Shard("onec"), clock(), longest):
        shortened += count
    found = {d.id: d for d in relay.store.queries.deliveries(Selection())}
    assert shortened == 3
    assert found[fresh.id].due_at == clock()
    assert found[spaced.id].due_at == clock() + 5 * HOUR
    assert found[tried.id].due_at == clock() + longest
    assert {found[one.id].age_started_at for one in (fresh, spaced, tried)} == {clock()}
