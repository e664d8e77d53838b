"""What 1C says of the card that it shows to the employee: the call is stored before it, whatever comes of it."""

from __future__ import annotations

import pytest

from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, post

PHRASE = "Error Centrifugo send to channel: 101 !"


@pytest.fixture
def relay(make_relay: object, base: Sandbox) -> Relay:
    assert callable(make_relay)
    made: Relay = make_relay(base.onec_url)
    return made


def attempted(relay: Relay, clock: FakeClock) -> tuple[str, int | None, str]:
    """State of the delivery; status and reason of its one attempt."""
    SteppedLane(relay, "onec", clock).deliver()
    [event] = relay.store.queries.events(Selection())
    [(delivery, [attempt])] = relay.store.queries.deliveries_of(event)
    return delivery.state, attempt.status, attempt.reason


def test_a_push_that_failed_is_told_with_the_phrase_that_1c_answered(
    relay: Relay, clock: FakeClock, base: Sandbox
) -> None:
    base.onec.fail("push_fails", 1)
    post(relay, rendered("answered"))

    state, status, reason = attempted(relay, clock)

    assert (state, status) == ("delivered", 417)
    assert reason == f"stored, but 1C could not show it to extension 101: {PHRASE}"
    assert base.onec.recorded() == 1


def test_where_there_is_nobody_to_show_it_to_no_push_has_failed(relay: Relay, clock: FakeClock, base: Sandbox) -> None:
    post(relay, rendered("lost"))

    assert attempted(relay, clock) == ("delivered", 417, "Error Centrifugo send to channel: !")
