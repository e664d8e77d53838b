"""What was sent and answered is kept: of each delivery the last attempt, in order, and not for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from relay.models import AttemptExchanges
from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, deliveries, post, tell
from tests.stories import STORIES, finished, incoming


def exchanges(relay: Relay, event_id: str) -> list[AttemptExchanges]:
    return list(relay.store.queries.exchanges_of(relay.store.queries.event(event_id)).values())


def test_the_last_attempt_is_kept_whole_and_replaces_the_one_before(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url)
    lane = SteppedLane(relay, "onec", clock)
    base.onec.fail("handler_exception", 1)
    event_id = post(relay, rendered("incoming"))
    lane.deliver()
    [first] = exchanges(relay, event_id)
    assert [exchange.status for exchange in first.exchanges] == [500]

    clock.forward(minutes=5)
    lane.deliver()

    [last] = exchanges(relay, event_id)
    [(delivery, attempts)] = relay.store.queries.deliveries_of(relay.store.queries.event(event_id))
    [exchange] = last.exchanges
    assert (delivery.state, len(attempts), last.delivery_seq) == ("delivered", 2, delivery.seq)
    assert last.at == attempts[-1].at != attempts[0].at
    assert (exchange.status, exchange.phrase) == (417, "Error Centrifugo send to channel: !")
    assert json.loads(exchange.body)["call_session_id"] == 3360109114
    assert exchange.headers["Authorization"] == "Basic ***"


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_the_requests_of_a_call_at_a_crm_stand_in_their_order(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    lane = SteppedLane(relay, target, clock)

    tell(relay, [finished(3)], clock, lane)

    [delivery] = deliveries(relay, target)
    kept = relay.store.queries.exchanges_of(relay.store.queries.event(delivery.event))[delivery.seq].exchanges
    addresses = [exchange.url.rsplit("/", 1)[1].partition("?")[0] for exchange in kept]
    if target == "b24":
        in_order = [name for name in addresses if name.startswith("telephony.")]
        assert in_order == [f"telephony.externalcall.{step}.json" for step in ("register", "finish", "attachrecord")]
        assert kept[0].url == f"{systems.url}/***/{addresses[0]}", "the webhook's code is a secret"
    else:
        assert len(kept) >= 2
        assert {exchange.headers["Authorization"] for exchange in kept} == {"Bearer ***"}


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_tokens_that_are_exchanged_on_the_way_are_not_kept(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm(oauth=True)
    lane = SteppedLane(relay, target, clock)

    tell(relay, STORIES["answered"], clock, lane)

    pair = relay.store.token_store(target).load()
    assert pair is not None
    kept = repr([exchanges(relay, event.id) for event in relay.store.queries.events(Selection())])
    assert "token" in kept, "that they were exchanged can be seen"
    assert pair.access not in kept
    assert pair.refresh not in kept


def test_what_was_delivered_is_forgotten_first_and_what_was_not_stays_with_its_delivery(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url)
    lane = SteppedLane(relay, "onec", clock)
    delivered = post(relay, incoming(1)[1])
    lane.deliver()
    base.onec.fail("bad_request", 1)
    dead = post(relay, incoming(2)[1])
    lane.deliver()

    clock.forward(days=6)
    relay.housekeeping.prune()
    assert exchanges(relay, delivered)
    clock.forward(days=2)
    relay.housekeeping.prune()

    assert not exchanges(relay, delivered)
    assert exchanges(relay, dead)
    clock.forward(days=180)
    assert relay.housekeeping.prune() == 2, "nothing keeps the events"


def test_nothing_is_kept_where_the_setting_says_so(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url, storage='keep_payloads = "0s"')
    assert relay.settings.storage.keep_payloads == timedelta(0)
    event_id = post(relay, rendered("incoming"))

    SteppedLane(relay, "onec", clock).deliver()

    assert deliveries(relay, "onec")[0].state == "delivered"
    assert not exchanges(relay, event_id)


def test_the_page_of_an_event_shows_what_was_sent_and_answered(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url, more='[admin]\npassword = "a long enough one"\n')
    event_id = post(relay, rendered("incoming"))
    SteppedLane(relay, "onec", clock).deliver()
    page = create_app(relay, delivers=False).test_client()
    form = page.get("/admin/login").get_data(as_text=True).split('name="form" value="')[1].split('"')[0]
    page.post("/admin/login", data={"password": "a long enough one", "form": form})

    text = page.get(f"/admin/events/{event_id}", headers={"Accept-Language": "en"}).get_data(as_text=True)

    assert "<h4>Sent</h4>" in text
    assert "curl -i -X POST" in text
    assert "Authorization: Basic ***" in text
    assert "417 Error Centrifugo send to channel: !" in text
