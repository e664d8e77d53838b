"""Lanes for the tests: notifications without HTTP, scripted targets, waiting for what is to come."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from relay import wiring
from relay.clock import Clock
from relay.config import Target
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.models import Outcome
from relay.sandbox.server import Sandbox
from relay.store import ClaimedDelivery, Selection
from relay.wiring import Relay
from tests.calls import rendered

TRADE = "trade"
LONG_S = 20.0


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


def eventually(reached: Callable[[], bool], what: str, within_s: float = LONG_S) -> None:
    """Waits for the thing itself."""
    ends, pause = time.monotonic() + within_s, threading.Event()
    while not reached():
        assert time.monotonic() < ends, f"not within {within_s} s: {what}"
        pause.wait(0.01)


def states(relay: Relay) -> list[str]:
    return [delivery.state for delivery in relay.store.queries.deliveries(Selection())]


def all_are(relay: Relay, state: str) -> Callable[[], bool]:
    return lambda: set(states(relay)) == {state}


def received(onec: Sandbox) -> list[dict[str, Any]]:
    return [{**json.loads(record["body"]), "endpoint": record["endpoint"]} for record in onec.onec.state()["writes"]]


class Seconds:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A target that does what the script says; each step is an outcome or something to wait for."""

    def __init__(self, settings: Target, script: Callable[[ClaimedDelivery], Outcome]) -> None:
        self.settings, self._script = settings, script
        self.sent: list[str] = []

    def send(self, shipment: ClaimedDelivery, steps: Any = None) -> Outcome:
        self.sent.append(shipment.delivery.id)
        return self._script(shipment)

    def close(self) -> None:
        pass


class Told(Scripted):
    """A target that does what the script says, and may use what it is lent."""

    def __init__(self, settings: Target, script: Callable[[ClaimedDelivery, Any], Outcome]) -> None:
        super().__init__(settings, lambda job: Outcome(name="delivered"))
        self._told = script

    def send(self, shipment: ClaimedDelivery, steps: Any = None) -> Outcome:
        self.sent.append(shipment.delivery.id)
        return self._told(shipment, steps)


class Failing:
    """A store of which one method (`queue.claim`) fails for a while, before or after it has done its work."""

    def __init__(self, store: Any, path: str, error: Exception, *, times: int, done: bool = False) -> None:
        self._store, self._error, self._left, self._done = store, error, times, done
        self._room, self._method = path.split(".")

    def __getattr__(self, name: str) -> Any:
        room = getattr(self._store, name)
        if name != self._room:
            return room
        methods = {each: getattr(room, each) for each in dir(room) if not each.startswith("_")}
        return SimpleNamespace(**{**methods, self._method: self._failing(methods[self._method])})

    def _failing(self, found: Callable[..., Any]) -> Callable[..., Any]:
        def fail(*args: Any) -> Any:
            if self._left <= 0:
                return found(*args)
            self._left -= 1
            if self._done:
                found(*args)
            raise self._error

        return fail


def with_store(store: Any) -> Any:
    """What a dispatcher needs of a relay."""
    return SimpleNamespace(store=store)


def dispatch(relay: Relay, *targets: Scripted, clock: Clock = wiring.now_utc, **more: Any) -> Dispatcher:
    """A running dispatcher with a lane for each of the targets. `monotonic` may be given."""
    lanes = [Lane(target, relay.store, clock, **more) for target in targets]
    dispatcher = Dispatcher(lanes, relay.store, clock, **more)
    dispatcher.start()
    return dispatcher
