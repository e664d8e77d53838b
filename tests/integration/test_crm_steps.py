"""What a lane lends a target of several steps: leave for each request, the call's memory, and an end in between."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from relay.config.types import Rate
from relay.delivery.runner import LaneContext
from relay.delivery.throttle import Throttle, TokenBucket
from relay.errors import Interrupted
from relay.models import Outcome, Shard, TargetHealth
from relay.sandbox.amocrm.api import AmoCrm
from relay.sandbox.bitrix24.portal import Bitrix24
from relay.sandbox.server import Sandbox
from relay.store import Claim, ClaimedDelivery, Discard, Selection
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock, Told
from tests.lanes import SteppedLane, Waits, deliveries, dispatch, post
from tests.stories import CLIENT, answered, finished, incoming, recorded

CALLS = 40  # their requests are more than either takes at once


class Seconds:
    """A monotonic clock that stands until somebody waits for it, or a request takes its time on the way."""

    def __init__(self) -> None:
        self.now, self._chance = 0.0, random.Random(7)

    def __call__(self) -> float:
        return self.now

    def forward(self, by: float) -> None:
        self.now += by

    def jitter(self) -> None:
        self.now += self._chance.uniform(0, 0.4)


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def systems(clock: FakeClock, seconds: Seconds) -> Iterator[Sandbox]:
    """The two that count requests by the second, and do count them."""
    bitrix24 = Bitrix24(clock=clock, monotonic=seconds)
    running = Sandbox(bitrix24=bitrix24, amocrm=AmoCrm(clock=clock, monotonic=seconds)).start()
    yield running
    running.close()


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_a_burst_of_calls_is_never_too_fast(
    target: str, make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock, seconds: Seconds
) -> None:
    """Requests reach the target up to 0.4 s late, by chance, and so closer together than they were made."""
    relay = make_crm()
    systems.amocrm.add_contact(CLIENT)
    for session in range(CALLS):
        for endpoint, body in (incoming(session), answered(session), finished(session)):
            post(relay, body, endpoint)
    rate = relay.settings.targets[target].rate
    assert rate is not None

    def moment(what: str) -> None:
        if what.startswith("to send"):
            seconds.jitter()

    pace = {"bucket": TokenBucket(rate, seconds), "monotonic": seconds, "stopping": Waits(seconds.forward)}
    lane = SteppedLane(relay, target, clock, moment, **pace)
    lane.deliver()
    lane.close()

    state = getattr(systems, "bitrix24" if target == "b24" else "amocrm").state()
    assert state["limited"] == 0
    assert {one.state for one in deliveries(relay, target)} == {"delivered"}
    assert len(state["statistics"] if target == "b24" else state["calls"]) == CALLS
    assert state["requests"] > 1.9 * CALLS
    assert seconds.now >= (state["requests"] - rate.burst) / rate.per_second  # it did wait


def test_without_the_limiter_bitrix24_would_refuse(
    make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock, seconds: Seconds
) -> None:
    """What the burst shows is the limiter's doing."""
    relay = make_crm()
    for session in range(CALLS):
        post(relay, finished(session)[1], "rec")
    lane = SteppedLane(relay, "b24", clock)
    lane.deliver()
    lane.close()

    assert systems.bitrix24.state()["limited"] > 0


def test_work_that_ends_between_two_requests_goes_back_without_counting(relay: Relay, clock: FakeClock) -> None:
    """SIGTERM while a call's steps wait for the rate: nothing was lost, and it is no attempt."""
    waiting = threading.Event()

    def script(job: ClaimedDelivery, steps: Any) -> Outcome:
        steps.save_progress(first="done")
        waiting.set()
        while True:
            steps.acquire()

    target = Told(relay.settings.targets["onec"], script)
    post(relay, rendered("incoming"))
    dispatcher = dispatch(relay, target, clock=clock)
    assert waiting.wait(10)
    dispatcher.stop(5)

    [found] = relay.store.queries.deliveries(Selection())
    assert (found.state, found.attempts, found.unclear) == ("due", 0, 0)
    assert relay.store.calls.progress(found) == {"first": "done"}


def test_each_further_request_takes_a_token(relay: Relay, clock: FakeClock) -> None:
    seconds = Seconds()
    throttle = Throttle(TokenBucket(Rate(2, 1), seconds), clock, seconds)
    seconds.now = 10.0
    assert throttle.try_acquire()
    epoch = relay.store.leases.take_over(Shard("onec"), "me")
    assert epoch is not None
    post(relay, rendered("incoming"))
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, clock()))
    assert job is not None
    steps = LaneContext(job, relay.store, throttle, Waits(seconds.forward), lambda: True)

    steps.acquire()  # the permit it was claimed with
    assert seconds.now == 10.0
    for _ in range(3):
        steps.acquire()
    assert seconds.now == pytest.approx(11.5, abs=0.01)


def test_no_leave_without_the_lease(relay: Relay, clock: FakeClock) -> None:
    epoch = relay.store.leases.take_over(Shard("onec"), "me")
    assert epoch is not None
    post(relay, rendered("incoming"))
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, clock()))
    assert job is not None
    throttle = Throttle(TokenBucket(None, lambda: 0.0), clock, lambda: 0.0)
    steps = LaneContext(job, relay.store, throttle, threading.Event(), lambda: False)

    with pytest.raises(Interrupted):
        steps.acquire()


def test_what_needed_no_request_neither_opens_a_target_nor_costs_a_token(clock: FakeClock) -> None:
    """A late event that ends with a note says nothing of a target that is down, and the next probe goes out at once."""
    seconds = Seconds()
    throttle = Throttle(TokenBucket(Rate(0.001, 1), seconds), clock, seconds)
    throttle.restore(TargetHealth(state="down", reason="maintenance"))
    seconds.now += 1000
    permit = throttle.try_acquire()
    assert permit is not None
    assert permit.probe

    permit.is_used = True
    throttle.record_outcome(permit, Outcome(name="delivered", health_hint="not_asked"), "call")

    assert throttle.health.state == "down"
    again = throttle.try_acquire()
    assert again is not None
    assert again.probe


# --- what is remembered of a call


def test_what_is_remembered_adds_up_and_stays_apart(relay: Relay) -> None:
    for session in (1, 2):
        post(relay, rendered("incoming", call_session_id=session))
    first, second = relay.store.queries.deliveries(Selection())

    epoch = relay.store.leases.take_over(Shard("onec"), "me") or 0
    relay.store.calls.save_progress(first, epoch, {"a": 1, "b": 1})
    relay.store.calls.save_progress(first, epoch, {"b": None, "c": [1, "x"]})

    assert relay.store.calls.progress(first) == {"a": 1, "b": None, "c": [1, "x"]}
    assert relay.store.calls.progress(second) == {}


def test_what_was_said_of_a_call_ends_with_the_delivery_own_event(make_crm: Callable[..., Relay]) -> None:
    relay = make_crm()
    for endpoint, body in (incoming(7), answered(8), answered(7), recorded(7), finished(7)):
        post(relay, body, endpoint)
    of_seven = [one for one in deliveries(relay, "b24") if one.session == "7"]

    said = [[call.kind for call in relay.store.calls.history(one)] for one in of_seven]

    assert said[0] == ["incoming"]
    assert said[-1] == ["incoming", "answered", "recorded", "finished"]


def test_an_event_without_a_session_is_a_call_of_its_own(relay: Relay) -> None:
    for name in ("a", "b"):
        post(relay, rendered("incoming", call_session_id=None, scenario_name=name))
    first, second = relay.store.queries.deliveries(Selection())
    relay.store.calls.save_progress(first, relay.store.leases.take_over(Shard("onec"), "me") or 0, {"a": 1})

    assert [len(relay.store.calls.history(one)) for one in (first, second)] == [1, 1]
    assert relay.store.calls.progress(second) == {}


def test_a_calls_memory_lives_as_long_as_any_of_its_events(
    make_crm: Callable[..., Relay], systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    lane = SteppedLane(relay, "b24", clock)
    post(relay, incoming(7)[1], "in")
    post(relay, rendered("incoming", call_session_id=None), "in")
    lane.deliver()
    clock.forward(days=20)
    post(relay, finished(7)[1], "rec")
    lane.deliver()
    first, without, last = deliveries(relay, "b24")
    for name in ("onec", "amo"):
        relay.store.operator.discard([Discard(one, clock()) for one in deliveries(relay, name) if one.state == "due"])
    clock.forward(days=11)

    assert relay.housekeeping.prune() == 2
    assert relay.store.calls.progress(last)["finished"]
    assert relay.store.calls.progress(without) == {}
    clock.forward(days=20)
    assert relay.housekeeping.prune() == 1
    assert relay.store.calls.progress(last) == {}
    assert first.session == "7"
    lane.close()


def test_a_lengthy_wait_is_the_lanes_and_not_the_targets(clock: FakeClock) -> None:
    """The gap that a 429 makes holds for further requests too."""
    seconds = Seconds()
    throttle = Throttle(TokenBucket(None, seconds), clock, seconds)
    permit = throttle.try_acquire()
    assert permit is not None
    throttle.record_outcome(permit, Outcome(name="later", wait=timedelta(0)), "call")

    assert throttle.acquire_more() > 0
    seconds.now += 10
    assert throttle.acquire_more() == 0
    assert throttle.acquire_more() > 0
