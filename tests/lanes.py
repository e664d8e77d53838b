"""Lanes for the tests: notifications without HTTP, scripted targets, waiting for what is to come."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from relay import wiring
from relay.clock import Clock
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import Scripted

TRADE = "trade"


def post(relay: Relay, body: bytes, endpoint: str = "in") -> str:
    receipt = relay.intake.accept(relay.settings.sources[TRADE], endpoint, body, is_query=False)
    relay.intake.dispatch(receipt)
    assert receipt.status == "accepted"
    return receipt.event


def post_call(relay: Relay, session: int) -> None:
    """The five notifications of one call."""
    for kind, endpoint in (
        ("incoming", "in"),
        ("answered", "in"),
        ("lost", "in"),
        ("outgoing", "out"),
        ("finished", "rec"),
    ):
        post(relay, rendered(kind, call_session_id=session), endpoint)  # type: ignore[arg-type]


def states(relay: Relay) -> list[str]:
    return [delivery.state for delivery in relay.store.queries.deliveries(Selection())]


def all_are(relay: Relay, state: str) -> Callable[[], bool]:
    return lambda: set(states(relay)) == {state}


def received(onec: Sandbox) -> list[dict[str, Any]]:
    return [{**json.loads(record["body"]), "endpoint": record["endpoint"]} for record in onec.onec.state()["writes"]]


def dispatch(relay: Relay, *targets: Scripted, clock: Clock = wiring.now_utc, **more: Any) -> Dispatcher:
    """A running dispatcher with a lane for each of the targets. `monotonic` may be given."""
    lanes = [Lane(target, relay.store, clock, **more) for target in targets]
    dispatcher = Dispatcher(lanes, relay.store, clock, **more)
    dispatcher.start()
    return dispatcher
