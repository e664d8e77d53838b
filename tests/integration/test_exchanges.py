"""What was sent and answered is kept: of each delivery the last attempt, in order, and not for ever."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from relay import bootstrap, wiring
from relay.models import Attempt
from relay.sandbox.server import Sandbox
from relay.store import Replay, Selection
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, deliveries, post, tell
from tests.stories import STORIES, finished, incoming


def with_exchanges(relay: Relay, event_id: str) -> list[Attempt]:
    deliveries = relay.store.queries.deliveries_of(relay.store.queries.event(event_id))
    return [attempt for _, attempts in deliveries for attempt in attempts if attempt.exchanges]


def test_the_last_attempt_is_kept_whole_and_replaces_the_one_before(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url)
    lane = SteppedLane(relay, "onec", clock)
    base.onec.fail("handler_exception", 1)
    event_id = post(relay, rendered("incoming"))
    lane.deliver()
    [first] = with_exchanges(relay, event_id)
    assert [exchange.status for exchange in first.exchanges or ()] == [500]

    clock.forward(minutes=5)
    lane.deliver()

    [last] = with_exchanges(relay, event_id)
    [(delivery, attempts)] = relay.store.queries.deliveries_of(relay.store.queries.event(event_id))
    [exchange] = last.exchanges or ()
    assert (delivery.state, len(attempts), last) == ("delivered", 2, attempts[-1])
    assert (exchange.status, exchange.phrase) == (417, "Error Centrifugo send to channel: !")
    assert json.loads(exchange.body)["call_session_id"] == 3360109114
    assert exchange.headers["Authorization"] == "Basic ***"


def test_a_replay_begins_anew_and_the_last_attempt_alone_is_kept_all_the_same(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url)
    lane = SteppedLane(relay, "onec", clock)
    base.onec.fail("bad_request", 1)
    event_id = post(relay, rendered("incoming"))
    lane.deliver()
    [dead] = deliveries(relay, "onec")
    assert relay.store.operator.replay([Replay(dead, clock(), clock())]) == 1
    lane.deliver()

    [kept] = with_exchanges(relay, event_id)
    assert (kept.number, kept.outcome) == (1, "delivered")
    assert [exchange.status for exchange in kept.exchanges or ()] == [417]


@pytest.mark.parametrize("target", ["b24", "amo"])
def test_the_requests_of_a_call_at_a_crm_stand_in_their_order(
    target: str, make_crm: Any, systems: Sandbox, clock: FakeClock
) -> None:
    relay = make_crm()
    lane = SteppedLane(relay, target, clock)

    tell(relay, [finished(3)], clock, lane)

    [delivery] = deliveries(relay, target)
    [attempt] = with_exchanges(relay, delivery.event)
    kept = attempt.exchanges or ()
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
    kept = repr([with_exchanges(relay, event.id) for event in relay.store.queries.events(Selection())])
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
    assert with_exchanges(relay, delivered)
    clock.forward(days=2)
    relay.housekeeping.prune()

    assert not with_exchanges(relay, delivered)
    assert with_exchanges(relay, dead)
    clock.forward(days=180)
    assert relay.housekeeping.prune() == 2, "nothing keeps the events"


def test_what_an_older_relay_kept_in_a_table_of_its_own_stands_with_its_attempt(
    make_old_database: Callable[[str], Path], make_settings: Callable[..., Any]
) -> None:
    settings = make_settings()
    kept = b'[{"method":"POST","url":"http://127.0.0.1/***","headers":{},"body":"{}","status":200,"took_ms":3}]'
    with closing(sqlite3.connect(make_old_database("0013"), isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO events (seq, id, source, endpoint, state, received_at, raw, is_query, zone, notes, digest, "
            "repeated, repeats) VALUES (1, 'e', 'trade', 'in', 'accepted', 0, '', 0, 'UTC', '[]', 0, 0, '[]')"
        )
        connection.execute(
            "INSERT INTO deliveries (seq, id, event_seq, event, target, kind, source, ordered, state, turn, epoch, "
            "attempts, failures, unclear, due_at, aged_from, replayed) "
            "VALUES (7, 'd', 1, 'e', 'onec', 'incoming', 'trade', 1, 'delivered', 1, 0, 2, 0, 0, 0, 0, 0)"
        )
        for number in (1, 2):
            connection.execute(
                "INSERT INTO attempts (delivery_seq, number, at, took_ms, outcome, reason) VALUES (7, ?, ?, 3, ?, '')",
                (number, number, "delivered"),
            )
        connection.execute("INSERT INTO exchanges (delivery_seq, at, exchanges) VALUES (7, 2, ?)", (kept,))

    assert bootstrap.migrate(settings) == "0013"

    relay = wiring.Relay(settings)
    [attempt] = with_exchanges(relay, "e")
    relay.close()
    assert (attempt.number, [exchange.status for exchange in attempt.exchanges or ()]) == (2, [200])


def test_nothing_is_kept_where_the_setting_says_so(
    make_relay: Callable[..., Relay], base: Sandbox, clock: FakeClock
) -> None:
    relay = make_relay(base.onec_url, storage='keep_payloads = "0s"')
    assert relay.settings.storage.keep_payloads == timedelta(0)
    event_id = post(relay, rendered("incoming"))

    SteppedLane(relay, "onec", clock).deliver()

    assert deliveries(relay, "onec")[0].state == "delivered"
    assert not with_exchanges(relay, event_id)


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
