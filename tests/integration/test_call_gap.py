"""Two events of one call keep their distance at a 1C: its register has one record for a second, and replaces it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from relay.sandbox.onec import OneC
from relay.sandbox.server import Sandbox
from relay.wiring import Relay
from tests.conftest import FakeClock
from tests.hand import Hand, deliveries
from tests.lanes import post_call

GAP = ""
USER = ("Обмен УИС", "пароль")


@pytest.fixture
def base(clock: FakeClock) -> Iterator[Sandbox]:
    """A simulated 1C whose clock is the test's."""
    sandbox = Sandbox(OneC(*USER, clock=clock)).start()
    yield sandbox
    sandbox.close()


def drain(relay: Relay, clock: FakeClock, hand: Hand, within_s: float = 60) -> timedelta:
    """Delivers all that waits; how long it took by the test's clock."""
    began = clock()
    while any(one.state == "due" for one in deliveries(relay, "onec")):
        hand.deliver()
        clock.forward(seconds=0.05)
        assert clock() - began < timedelta(seconds=within_s)
    return clock() - began


def test_after_a_night_all_five_notifications_of_each_call_have_a_record(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox
) -> None:
    relay = make_relay(base.onec_url, target=GAP)
    for session in range(20):
        post_call(relay, session)
    clock.forward(hours=9)  # nobody delivers meanwhile

    took = drain(relay, clock, Hand(relay, "onec", clock))

    rows = Counter(record["call_session_id"] for record in base.onec.state()["records"])
    assert rows == dict.fromkeys(range(20), 5)
    assert took < timedelta(seconds=4 * 1.1 + 1)  # as long as for a single call
