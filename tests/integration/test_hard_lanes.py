"""Lanes whose store fails, whose target says absurd things, and whose results are confirmed too late: they go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from relay.config import Target
from relay.config.types import Rate
from relay.delivery.lane import Lane
from relay.delivery.maintenance import LaneMaintenance
from relay.delivery.throttle import TokenBucket
from relay.errors import StoreBusy, StoreError
from relay.models import Outcome, Shard, TargetHealth
from relay.operations import stats
from relay.store import ClaimedDelivery, LaneView, Selection, TargetFigures, target_state
from relay.wiring import Relay
from tests.calls import rendered
from tests.factories import POLICY
from tests.fakes import Failing, Scripted, Told, with_store
from tests.lanes import Waits, all_are, dispatch, own, post, states
from tests.waiting import eventually

ONE = replace(POLICY, concurrency=1, retry_first=timedelta(milliseconds=1), retry_max=timedelta(milliseconds=1))


def make_ill(relay: Relay, target: str = "onec") -> None:
    """A target that is down, with a probe that may go out at once."""
    epoch = relay.store.leases.take_over(Shard(target), "a former owner") or 0
    ill = TargetHealth(state="down", reason="it was", since=relay.clock(), probe_at=relay.clock())
    with relay.store.database.write() as connection:
        target_state.save_health(connection, target, epoch, ill)
    relay.store.leases.release("a former owner")  # nobody need wait until it counts as gone


def delivered(relay: Relay) -> set[str | None]:
    """The sessions of what is delivered."""
    return {each.session for each in relay.store.queries.deliveries(Selection()) if each.state == "delivered"}


@pytest.mark.parametrize("method", ["calls.save_progress", "calls.history", "calls.progress"])
def test_a_store_that_fails_in_a_probe_does_not_keep_the_target_down(stored: Relay, method: str) -> None:
    """A full disk while a CRM's call is on its way: when there is space again, the next probe goes out."""
    make_ill(stored)

    def script(_: ClaimedDelivery, steps: Any) -> Outcome:
        steps.acquire()
        steps.history()
        steps.progress()
        steps.save_progress(first="done")
        return Outcome(name="delivered")

    full: Any = with_store(Failing(stored.store, method, StoreError("the disk is full"), times=1))
    dispatcher = dispatch(full, Told(ONE, script))
    try:
        eventually(lambda: delivered(stored) >= {"1", "2"}, "the others pass; that one may have arrived")
        assert stored.store.targets.health("onec").state == "open"
    finally:
        dispatcher.stop(5)


def test_a_fault_in_what_a_probe_comes_to_does_not_keep_the_target_down(stored: Relay) -> None:
    make_ill(stored)
    answers = iter([Outcome(name="later", wait=timedelta.min)])  # no adapter says so, and no clock bears it
    target = Scripted(ONE, lambda _: next(answers, Outcome(name="delivered")))
    dispatcher = dispatch(stored, target)
    try:
        eventually(lambda: delivered(stored) >= {"1", "2"}, "the others pass")
    finally:
        dispatcher.stop(5)


def test_a_target_that_asks_for_ages_is_asked_again_after_an_hour_and_status_says_when(
    make_relay: Callable[..., Relay], clock: Any
) -> None:
    relay = make_relay()
    post(relay, rendered("incoming"))
    began = clock()
    answers = iter([Outcome(name="later", reason="503", wait=timedelta(days=365 * 7000))])
    target = Scripted(relay.settings.targets["onec"], lambda _: next(answers, Outcome(name="delivered")))
    dispatcher = dispatch(relay, target, clock=clock, monotonic=lambda: (clock() - began).total_seconds())
    try:
        eventually(lambda: len(target.sent) == 1 and states(relay) == ["due"], "it asked for time")
        assert figures(relay).reason == "asked to wait until 2026-03-02T10:45:00.000+00:00"
        [delivery] = relay.store.queries.deliveries(Selection())
        assert delivery.due_at - began == timedelta(hours=1)
        assert "retry_after_max" in (delivery.reason or "")
        clock.forward(minutes=59)
        assert len(target.sent) == 1
        clock.forward(minutes=2)

        def is_delivered() -> bool:
            clock.forward(seconds=0.01)  # time goes on: a permit that came before the lease's renewal is given back
            return all_are(relay, "delivered")()

        eventually(is_delivered, "after an hour")
        assert figures(relay).reason is None
    finally:
        dispatcher.stop(5)


def figures(relay: Relay) -> TargetFigures:
    [of_target] = stats.targets(relay, relay.clock() - timedelta(hours=24), "onec")
    return of_target


def test_an_outcome_that_is_confirmed_too_late_is_one_attempt(stored: Relay) -> None:
    late = Failing(stored.store, "queue.record", StoreBusy("the commit was not confirmed in time"), times=1, done=True)
    target = Scripted(ONE, lambda _: Outcome(name="delivered", status=200))
    dispatcher = dispatch(with_store(late), target)
    try:
        eventually(lambda: states(stored).count("delivered") == 2, "it goes on")
    finally:
        dispatcher.stop(5)
    tries = [
        tried
        for event in stored.store.queries.events(Selection())
        for _, tried in stored.store.queries.deliveries_of(event)
    ]
    assert sorted(len(one) for one in tries) == [0, 1, 1]  # what the unconfirmed commit had claimed is found later


def test_an_answer_waits_for_a_store_that_is_away(stored: Relay) -> None:
    """Whatever is asked of the store after it: it has come once, and is not taken for unclear."""
    away = Failing(stored.store, "queue.another_was_delivered", StoreError("the server is away"), times=3)
    lane, target = stepped(
        with_store(away), ONE, stored.clock, Outcome(name="failed", status=500), stopping=Waits(lambda _: None)
    )
    assert lane.step()
    assert len(target.sent) == 1
    [[tried]] = [
        tries
        for event in stored.store.queries.events(Selection())
        for _, tries in stored.store.queries.deliveries_of(event)
        if tries
    ]
    assert tried.outcome == "failed"
    assert not lane.unrecorded


# --- one step


def stepped(relay: Relay, target: Target, clock: Any, outcome: Outcome, **more: Any) -> tuple[Lane, Scripted]:
    """Return a lane whose threads do not run, and what it sends to."""
    scripted = Scripted(target, lambda _: outcome)
    lane = Lane(scripted, relay.store, clock, monotonic=lambda: 0.0, **more)
    own(lane, relay.store, clock)
    return lane, scripted


def test_a_step_sends_one_delivery_and_says_when_none_is_due(stored: Relay) -> None:
    lane, target = stepped(stored, ONE, stored.clock, Outcome(name="delivered"))

    for sent in (1, 2, 3):
        assert lane.step()
        assert len(target.sent) == sent
    assert not lane.step()
    assert states(stored) == ["delivered"] * 3


def test_an_answer_waits_for_the_store_until_the_end_of_the_grace(stored: Relay) -> None:
    away = Failing(stored.store, "queue.record", StoreError("the server does not answer"), times=2)

    entered, go_on = threading.Event(), threading.Event()

    def slowly(_: ClaimedDelivery) -> Outcome:
        entered.set()
        go_on.wait(10)
        return Outcome(name="delivered", status=200)

    dispatcher = dispatch(with_store(away), Scripted(ONE, slowly))
    assert entered.wait(10)
    dispatcher.stop_claiming()
    go_on.set()
    dispatcher.stop(30)

    assert sorted(states(stored)) == ["delivered", "due", "due"]


def test_a_second_signal_gives_the_database_no_more_time(stored: Relay) -> None:
    stored.stop_claiming(2.0)
    ends_at = stored.store.database.ends_at
    stored.stop_claiming(18.0)
    assert stored.store.database.ends_at == ends_at


def test_what_was_claimed_with_a_result_goes_back_when_the_lane_stops(stored: Relay) -> None:
    lane, target = stepped(stored, ONE, stored.clock, Outcome(name="delivered"))
    assert lane.step()
    assert sorted(states(stored)) == ["delivered", "due", "sending"]

    lane.stop(0.0)

    assert sorted(states(stored)) == ["delivered", "due", "due"]
    assert len(target.sent) == 1


def test_a_step_without_a_token_claims_nothing(stored: Relay) -> None:
    bucket = TokenBucket(Rate(1.0, 1), lambda: 0.0)  # empty, and time stands
    lane, target = stepped(stored, ONE, stored.clock, Outcome(name="delivered"), bucket=bucket)

    assert not lane.step()
    assert (states(stored), target.sent) == (["due"] * 3, [])


# --- what has outlived its time


def test_a_backlog_that_has_outlived_its_time_ends_by_the_page(make_relay: Callable[..., Relay], clock: Any) -> None:
    """However long it is: the other lanes and the lease wait meanwhile, so one look ends a page of it at most."""
    relay = make_relay(target='give_up_after = "14d"')
    for session in range(450):
        post(relay, rendered("incoming", call_session_id=session))
    clock.forward(days=14, minutes=1)
    maintenance = owned(relay, relay.settings.targets["onec"], clock)

    ended = []
    while "due" in (found := states(relay)):
        maintenance.sweep(LaneView())
        ended.append(found.count("due") - states(relay).count("due"))
        assert ended[-1] > 0
    assert sum(ended) == 450
    assert max(ended) <= 200


def owned(relay: Relay, target: Target, clock: Any) -> LaneMaintenance:
    """Return the maintenance of a lane whose threads do not run."""
    lane = Lane(Scripted(target, lambda _: Outcome(name="delivered")), relay.store, clock)
    lane.epoch = relay.store.leases.take_over(Shard(target.name), "me")
    return LaneMaintenance(lane, relay.store, clock, lambda: 0.0)
