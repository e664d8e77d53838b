"""The notification «Записанный разговор» at a 1C: not by default, and never as a record that says nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, deliveries, post, post_call

LINK = "https://media.example.test/1/later"
RECORDED = b'{"call_session_id":7,"file_link":"%s"}' % LINK.encode()
ASKS = 'events = ["incoming", "answered", "lost", "outgoing", "finished", "recorded"]'


def last_row(relay: Relay, clock: FakeClock, base: Sandbox) -> dict[str, Any]:
    SteppedLane(relay, "onec", clock).deliver()
    fields: dict[str, Any] = base.onec.state()["records"][-1]["fields"]
    return fields


@pytest.mark.parametrize("body", [RECORDED, b'{"call_session_id":7,"leg_id":5}'])
def test_by_default_a_1c_takes_the_five_kinds_of_the_notifications_alone(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox, body: bytes
) -> None:
    relay = make_relay(base.onec_url)
    post_call(relay, 7)
    post(relay, body, "any")

    assert len(SteppedLane(relay, "onec", clock).deliver()) == 5
    *_, last = relay.store.queries.events(Selection())
    assert "no target takes events of this kind" in last.notes


@pytest.mark.parametrize("endpoint", ["any", "in"])
def test_a_recording_that_comes_later_is_filled_from_what_is_known_of_the_call(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox, endpoint: str
) -> None:
    relay = make_relay(base.onec_url, target=ASKS)
    post_call(relay, 7)
    post(relay, RECORDED, endpoint)

    row = last_row(relay, clock, base)

    assert base.onec.state()["writes"][-1]["endpoint"] == "rec"
    assert row == {
        "notification_name": "Записанный разговор",
        "start_time": "2026-03-02 12:45:59.863",
        "direction": "in",
        "call_session_id": 7,
        "extension_phone_number": "101",
        "virtual_phone_number": "74955550100",
        "called_phone_number": "74955550100",
        "calling_phone_number": "79005550123",
        "total_time_duration": 63,
        "wait_time_duration": 12,
        "full_record_file_link": LINK,
    }


def test_a_call_that_has_not_ended_is_the_one_that_came_in_and_not_the_colleague_who_was_asked(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox
) -> None:
    relay = make_relay(base.onec_url, target=ASKS)
    post(relay, rendered("incoming", call_session_id=7, extension_phone_number=None))
    post(relay, rendered("answered", call_session_id=7))
    post(relay, rendered("outgoing", call_session_id=7, calling_phone_number="74955550100"), "out")
    post(relay, RECORDED, "any")

    row = last_row(relay, clock, base)

    assert (row["direction"], row["calling_phone_number"]) == ("in", "79005550123")
    assert (row["extension_phone_number"], row["full_record_file_link"]) == ("101", LINK)


def test_a_recording_of_a_call_that_is_not_known_is_refused_and_does_not_become_an_outgoing_call_without_a_number(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox
) -> None:
    relay = make_relay(base.onec_url, target=ASKS)
    post(relay, RECORDED, "any")
    SteppedLane(relay, "onec", clock).deliver()

    [letter] = deliveries(relay, "onec")
    assert (letter.state, base.onec.recorded()) == ("dead", 0)
    assert "nothing else is known of this call" in (letter.reason or "")


@pytest.mark.parametrize("body", ["raw", "normalised"])
def test_a_handler_that_takes_other_bodies_gets_the_recording_even_so(
    make_relay: Callable[..., Relay], clock: FakeClock, base: Sandbox, body: str
) -> None:
    relay = make_relay(base.onec_url, target=f'{ASKS}\nbody = "{body}"')
    post(relay, RECORDED, "any")
    SteppedLane(relay, "onec", clock).deliver()

    assert base.onec.recorded() == 1
