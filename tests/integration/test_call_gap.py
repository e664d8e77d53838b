"""Two events of one call keep their distance at a 1C: its register has one record for a second, and replaces it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay import wiring
from relay.models import Delivery, Outcome, Shard
from relay.operations import actions
from relay.operations.filters import Chosen
from relay.sandbox.server import Sandbox
from relay.store import Claim, ClaimedDelivery, Expiry, NewEvent, Route, Selection
from relay.wiring import Relay
from tests.calls import STANDARD, rendered
from tests.factories import new_event
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, all_are, deliveries, post, post_call
from tests.waiting import eventually

GAP = 'call_gap = "1.1s"'
SPAN = timedelta(seconds=1.1)


@pytest.fixture
def spaced(make_relay: Callable[..., Relay], base: Sandbox) -> Relay:
    return make_relay(base.onec_url, target=GAP)


def drain(relay: Relay, clock: FakeClock, lane: SteppedLane, within_s: float = 60) -> timedelta:
    """Delivers all that waits; how long it took by the test's clock."""
    began = clock()
    while any(one.state == "due" for one in deliveries(relay, "onec")):
        lane.deliver()
        clock.forward(seconds=0.05)
        assert clock() - began < timedelta(seconds=within_s)
    return clock() - began


def rows(base: Sandbox) -> Counter[int]:
    """How many records each call has in the register."""
    return Counter(record["call_session_id"] for record in base.onec.state()["records"])


def waiting(relay: Relay) -> Delivery:
    [found] = [one for one in deliveries(relay, "onec") if one.state == "due"]
    return found


# --- at the end state of the simulated 1C


def test_after_a_night_all_five_notifications_of_each_call_have_a_record(
    spaced: Relay, clock: FakeClock, base: Sandbox
) -> None:
    for session in range(20):
        post_call(spaced, session)
    clock.forward(hours=9)  # nobody delivers meanwhile

    took = drain(spaced, clock, SteppedLane(spaced, "onec", clock))

    assert rows(base) == dict.fromkeys(range(20), 5)
    assert took < 4 * SPAN + timedelta(seconds=1)  # as long as for a single call


def test_without_a_gap_the_register_keeps_one_record_of_a_call_for_each_direction(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox
) -> None:
    relay = make_relay(base.onec_url, target='call_gap = "0s"')
    post_call(relay, 7)

    drain(relay, clock, SteppedLane(relay, "onec", clock))

    assert rows(base) == {7: 2}
    assert base.onec.recorded() == 5


def test_a_running_relay_writes_a_record_for_each_notification_of_a_call_that_comes_at_once(
    running: Any, onec: Sandbox
) -> None:
    """By the real clock, and through the hand-over in the notification's own commit."""
    relay = running(onec.onec_url, target=GAP)
    eventually(lambda: relay.dispatcher.ticked_ago() is not None, "it delivers")
    for session in (7, 8):
        post_call(relay, session)

    eventually(all_are(relay, "delivered"), "all delivered")
    assert rows(onec) == {7: 5, 8: 5}
    for session in (7, 8):
        of_call = [record for record in onec.onec.state()["writes"] if record["call_session_id"] == session]
        assert [record["endpoint"] for record in of_call] == ["in", "in", "in", "out", "rec"]


def test_the_end_of_a_call_keeps_what_the_register_knew_of_it(spaced: Relay, clock: FakeClock, base: Sandbox) -> None:
    post(spaced, rendered("answered", call_session_id=7))
    post(spaced, b'{"direction":"in","virtual_phone_number":74955550100,"call_session_id":7}', "rec")

    drain(spaced, clock, SteppedLane(spaced, "onec", clock))

    last = base.onec.state()["records"][-1]
    assert (last["endpoint"], last["fields"]["extension_phone_number"]) == ("rec", "101")


# --- when the next one comes


@pytest.mark.parametrize(("passed_s", "waits_s"), [(0.0, 1.1), (0.4, 0.7), (1.0, 0.1), (1.1, 0.0), (60.0, 0.0)])
def test_what_comes_after_the_call_was_delivered_waits_for_the_rest_of_the_gap(
    spaced: Relay, clock: FakeClock, passed_s: float, waits_s: float
) -> None:
    lane = SteppedLane(spaced, "onec", clock)
    post(spaced, rendered("incoming", call_session_id=7))
    lane.deliver()
    clock.forward(seconds=passed_s)
    post(spaced, rendered("answered", call_session_id=7))
    post(spaced, rendered("answered", call_session_id=8))

    [_, next_one, other] = deliveries(spaced, "onec")
    assert next_one.due_at - clock() == timedelta(seconds=waits_s)
    assert other.due_at == clock()


@pytest.mark.parametrize(
    ("session", "passed_s", "is_handed_over"), [("7", 0.4, False), ("7", 1.2, True), ("8", 0.4, True)]
)
def test_a_free_hand_is_not_given_what_has_to_wait(
    spaced: Relay, clock: FakeClock, session: str, passed_s: float, is_handed_over: bool
) -> None:
    lane = SteppedLane(spaced, "onec", clock)
    post(spaced, rendered("incoming", call_session_id=7))
    lane.deliver()
    clock.forward(seconds=passed_s)

    stored = spaced.store.inbox.add(_new(spaced, clock, session))

    assert len(stored.claimed) == is_handed_over


def _new(relay: Relay, clock: FakeClock, session: str) -> NewEvent:
    [event] = relay.store.queries.events(Selection())
    assert event.call is not None
    call = type(event.call)(kind="answered", session_id=session)
    epoch = relay.store.leases.all()[Shard("onec")].epoch
    return new_event(call, Route("onec", True, epoch, SPAN), received_at=clock())


@pytest.mark.parametrize(("target", "session"), [('order = "none"', 7), ("", None)])
def test_without_order_or_without_a_session_nothing_waits(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox, target: str, session: int | None
) -> None:
    relay = make_relay(base.onec_url, target=f"{GAP}\n{target}")
    lane = SteppedLane(relay, "onec", clock)
    post(relay, rendered("incoming", call_session_id=session))
    lane.deliver()
    for kind in ("answered", "lost"):
        post(relay, rendered(kind, call_session_id=session))

    lane.deliver()

    assert {one.state for one in deliveries(relay, "onec")} == {"delivered"}


# --- after a try that may have written, and after one that has not


def _claimed(relay: Relay, clock: FakeClock, epoch: int) -> ClaimedDelivery:
    job = relay.store.queue.claim(Claim(Shard("onec"), epoch, clock()))
    assert job is not None
    return job


def _record(relay: Relay, lane: SteppedLane, job: ClaimedDelivery, outcome: Outcome) -> None:
    result = lane.lane.attempts.result(job.delivery, job.epoch, relay.clock(), outcome)
    relay.store.queue.record(result)


@pytest.mark.parametrize(
    ("outcome", "target", "waits", "remark"),
    [
        ("delivered", "", True, "a record"),
        ("unclear", 'unclear = "hold"', True, "perhaps a record"),
        ("failed", "attempts = 1", True, "the handler may have stumbled after it had written"),
        ("refused", "", False, "no record: the next may go at once"),
    ],
)
def test_whether_the_next_of_the_call_waits(
    make_relay: Callable[..., Relay],
    clock: FakeClock,
    base: Sandbox,
    outcome: Any,
    target: str,
    waits: bool,
    remark: str,
) -> None:
    relay = make_relay(base.onec_url, target=f"{GAP}\n{target}")
    lane = SteppedLane(relay, "onec", clock)
    post(relay, rendered("incoming", call_session_id=7))
    post(relay, rendered("answered", call_session_id=7))
    post(relay, rendered("incoming", call_session_id=8))  # for `failed`: another call passes
    job, other = (_claimed(relay, clock, lane.epoch) for _ in range(2))
    clock.forward(seconds=5)
    _record(relay, lane, other, Outcome(name="delivered"))
    _record(relay, lane, job, Outcome(name=outcome, reason="said so"))

    assert (waiting(relay).due_at - clock() == SPAN) == waits, remark


def test_a_repeat_of_the_same_event_has_the_pauses_of_the_schedule_alone(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox
) -> None:
    relay = make_relay(base.onec_url, target=f"{GAP}")
    base.onec.fail("reset", 1)
    post(relay, rendered("incoming", call_session_id=7))
    SteppedLane(relay, "onec", clock).deliver()

    assert timedelta(seconds=0.2) <= waiting(relay).due_at - clock() <= timedelta(seconds=0.25)  # retry_first


# --- a restart, a take-over, an operator


def test_the_gap_outlives_the_process_that_delivered(spaced: Relay, clock: FakeClock, base: Sandbox) -> None:
    post_call(spaced, 7)
    SteppedLane(spaced, "onec", clock).deliver()
    spaced.close()
    again = wiring.Relay(spaced.settings, clock=clock)
    lane = SteppedLane(again, "onec", clock)  # under a new epoch

    assert lane.deliver() == []
    drain(again, clock, lane)
    again.close()

    assert rows(base) == {7: 5}


def test_what_a_killed_process_was_sending_may_have_been_written(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox
) -> None:
    relay = make_relay(base.onec_url, target=f'{GAP}\nunclear = "hold"')
    killed = SteppedLane(relay, "onec", clock)
    post(relay, rendered("incoming", call_session_id=7))
    _claimed(relay, clock, killed.epoch)
    clock.forward(seconds=10)
    heir = SteppedLane(relay, "onec", clock)
    post(relay, rendered("answered", call_session_id=7))

    assert waiting(relay).due_at - clock() == SPAN
    assert heir.deliver() == []


@pytest.mark.parametrize("act", ["discard", "end", "replay"])
def test_nobody_lets_a_call_go_on_before_its_time(spaced: Relay, clock: FakeClock, act: str) -> None:
    """Whoever takes the next one away, or puts an earlier one before it."""
    lane = SteppedLane(spaced, "onec", clock)
    for kind in STANDARD[:3]:
        post(spaced, rendered(kind, call_session_id=7))
    lane.deliver()
    first, second, _ = deliveries(spaced, "onec")
    assert (first.state, second.state) == ("delivered", "due")
    clock.forward(seconds=0.3)
    if act == "discard":
        assert actions.discard(spaced, Chosen([second], [])) == 1
    elif act == "end":
        assert spaced.store.waits.expire([Expiry(second, "expired", "too old", clock(), SPAN)]) == 1
    else:
        clock.forward(seconds=1)
        lane.deliver()
        assert actions.replay(spaced, Chosen([first], [])).count == 1

    assert lane.deliver() == []
    clock.forward(seconds=1.1)
    assert len(lane.deliver()) == 1


# --- the clock


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(
    st.sampled_from([-86400.0, -3600.0, -1.5, 1.5, 3600.0, 86400.0]),
    st.floats(0.0, 1.0),
    st.floats(0.0, 0.25),
)
def test_a_step_of_the_clock_neither_shortens_the_gap_nor_makes_an_hour_of_it(
    spaced: Relay, clock: FakeClock, step_s: float, after_s: float, noticed_s: float
) -> None:
    """It is noticed a moment later. Time that has really passed counts, whatever the clock shows."""
    session = spaced.clock().timestamp()  # another call in each example
    lane = SteppedLane(spaced, "onec", clock)
    post(spaced, rendered("incoming", call_session_id=session))
    post(spaced, rendered("answered", call_session_id=session))
    lane.deliver()
    sent = 0.0
    clock.forward(seconds=after_s)
    passed = sent + after_s
    clock.forward(seconds=noticed_s)
    before = clock()
    clock.forward(seconds=step_s)
    spaced.store.waits.follow_clock({Shard("onec"): lane.epoch}, before, clock(), {Shard("onec"): SPAN})
    passed += noticed_s

    left = (waiting(spaced).due_at - clock()).total_seconds()
    assert abs(max(left, 0) - max(1.1 - passed, 0)) < 0.001
    clock.forward(seconds=max(left, 0))
    assert len(lane.deliver()) == 1


@pytest.mark.parametrize("step_s", [-3600.0, 3600.0])
def test_what_got_its_turn_after_the_step_but_before_it_was_noticed_waits_as_it_should(
    spaced: Relay, clock: FakeClock, step_s: float
) -> None:
    lane = SteppedLane(spaced, "onec", clock)
    post(spaced, rendered("incoming", call_session_id=7))
    job = _claimed(spaced, clock, lane.epoch)
    expected = clock()
    clock.forward(seconds=step_s)
    post(spaced, rendered("answered", call_session_id=7))
    _record(spaced, lane, job, Outcome(name="delivered"))
    clock.forward(seconds=0.2)
    spaced.store.waits.follow_clock(
        {Shard("onec"): lane.epoch}, expected + timedelta(seconds=0.2), clock(), {Shard("onec"): SPAN}
    )

    assert (waiting(spaced).due_at - clock()).total_seconds() == pytest.approx(0.9, abs=0.001)


def test_a_clock_that_was_set_back_makes_nobody_wait_for_longer_than_the_gap(spaced: Relay, clock: FakeClock) -> None:
    lane = SteppedLane(spaced, "onec", clock)
    post(spaced, rendered("incoming", call_session_id=7))
    lane.deliver()
    clock.forward(hours=-1)
    post(spaced, rendered("answered", call_session_id=7))

    assert waiting(spaced).due_at - clock() == SPAN
