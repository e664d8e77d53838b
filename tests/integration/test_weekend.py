"""A target that is down for a weekend: the lane's own code over a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from relay.config.types import Rate
from relay.delivery.lane import Lane
from relay.delivery.throttle import TokenBucket
from relay.models import Outcome
from relay.store import ClaimedDelivery, Selection
from relay.wiring import Relay
from tests.acceptance.process import SOAK
from tests.calls import rendered
from tests.fakes import Scripted
from tests.lanes import own, post

EVENTS = 50_000 if SOAK else 600
OF_A_CALL = 5
WEEKEND = timedelta(hours=60 if SOAK else 12)
RATE = Rate(50.0, 10)


class World:
    """A target, a lane without threads, and time."""

    def __init__(self, relay: Relay, clock: Any) -> None:
        self.relay, self.clock, self.began = relay, clock, clock()
        self.is_up = False
        self.requests: list[tuple[float, str]] = []  # seconds, session
        policy = replace(relay.settings.targets["onec"], rate=RATE)
        target = Scripted(policy, self.answer)
        self.lane = Lane(target, relay.store, clock, bucket=TokenBucket(RATE, self.seconds), monotonic=self.seconds)
        own(self.lane, relay.store, clock)

    def seconds(self) -> float:
        return float((self.clock() - self.began).total_seconds())

    def answer(self, job: ClaimedDelivery) -> Outcome:
        self.requests.append((self.seconds(), str(job.delivery.session)))
        return Outcome(name="delivered") if self.is_up else Outcome(name="later", status=502, reason="502")


@pytest.mark.timeout(1800)
def test_a_weekend_costs_nothing_but_time(make_relay: Callable[..., Relay], clock: Any) -> None:
    relay = make_relay()
    for number in range(EVENTS):
        call, place = divmod(number, OF_A_CALL)
        post(relay, rendered("incoming", call_session_id=call, scenario_name=str(place)))
    world = World(relay, clock)
    while world.seconds() < WEEKEND.total_seconds():
        world.lane.step()
        clock.forward(seconds=20)

    times = [at for at, _ in world.requests]
    minutes = Counter(int(at // 60) for at in times)
    assert all(count <= 1 for minute, count in minutes.items() if minute >= 3)  # until then the intervals grow
    assert len(times) <= WEEKEND.total_seconds() / 60 + 8
    assert len({session for _, session in world.requests}) > 100  # each time with another call
    assert {d.state for d in relay.store.queries.deliveries(Selection())} == {"due"}
    assert {d.failures for d in relay.store.queries.deliveries(Selection())} == {0}

    world.is_up = True
    world.requests.clear()
    began = world.seconds()
    fresh = 0
    while len(world.requests) < EVENTS + 50:
        assert world.seconds() - began < EVENTS / RATE.per_second * 3 + 600
        if fresh < 50 and len(world.requests) > 100:  # calls come in while the backlog drains
            post(relay, rendered("incoming", call_session_id=10_000_000 + fresh))
            fresh += 1
        for _ in range(20):
            world.lane.step()
        clock.forward(seconds=0.1)

    assert {d.state for d in relay.store.queries.deliveries(Selection())} == {"delivered"}
    assert len(world.requests) == EVENTS + 50
    _assert_in_order(relay)
    _assert_within_rate([at for at, _ in world.requests])
    places = [place for place, (_, session) in enumerate(world.requests) if int(session) >= 10_000_000]
    assert places[-1] < len(world.requests) * 0.6  # not behind the whole backlog
    assert world.requests[0][0] - began <= 75  # at the next probe


def _assert_in_order(relay: Relay) -> None:
    """Within each call as they were taken."""
    order: dict[str, list[tuple[Any, int]]] = {}
    for delivery in relay.store.queries.deliveries(Selection()):
        order.setdefault(str(delivery.session), []).append((delivery.delivered_at, delivery.event_seq))
    for deliveries in order.values():
        times = [at for at, _ in sorted(deliveries, key=lambda one: one[1])]
        assert times == sorted(times)


def _assert_within_rate(times: list[float]) -> None:
    for first, last in pairwise(range(0, len(times), 500)):
        assert last - first <= RATE.burst + RATE.per_second * (times[last] - times[first]) + 1
