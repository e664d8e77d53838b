"""Lanes for the tests: notifications without HTTP, scripted targets, lanes that the test works itself and may kill."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from msgspec.structs import replace

from relay import targets, wiring
from relay.clock import Clock, to_us
from relay.delivery.dispatcher import Dispatcher
from relay.delivery.lane import Lane
from relay.delivery.maintenance import LaneMaintenance
from relay.delivery.throttle import TokenBucket
from relay.models import Delivery, Outcome
from relay.sandbox.server import Sandbox
from relay.store import AttemptResult, Route, Selection, Store
from relay.targets.http_client import TargetError
from relay.wiring import Relay
from tests.calls import call_of, rendered
from tests.factories import new_event
from tests.fakes import FakeClock, Scripted
from tests.stories import Notification

TRADE = "trade"
OWNER = "the test"


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
        post(relay, rendered(kind, call_session_id=session), endpoint)


def add(relay: Relay, *targets: str, session: int = 7, kind: str = "incoming", clock: Clock = wiring.now_utc) -> None:
    """Store a notification for targets that the configuration need not have."""
    endpoint = "rec" if kind == "finished" else "in"
    call = call_of(rendered(kind, call_session_id=session), endpoint)  # type: ignore[arg-type]
    raw = f"{session} {kind}".encode()
    routes = [Route(target, ordered=True) for target in targets]
    new = new_event(call, *routes, endpoint=endpoint, raw=raw, zone="UTC", received_at=clock())
    relay.store.inbox.add(new)


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


def deliveries(relay: Relay, target: str) -> list[Delivery]:
    return list(relay.store.queries.deliveries(Selection(target=target)))


def own(lane: Lane, store: Store, clock: Clock) -> int:
    """Take the lane over as the dispatcher does; return the epoch. Its threads are not started."""
    epoch = store.leases.take_over(lane.shard, OWNER, store.leases.all().get(lane.shard))
    assert epoch is not None
    LaneMaintenance(lane, store, clock, lambda: 0.0).take_over(epoch)
    lane.gain_ownership(epoch, math.inf)
    return epoch


# --- a lane that the test works itself, and may kill

Moment = Callable[[str], None]


class Killed(BaseException):
    """The process is gone: nothing that comes after it happens."""


class Waits(threading.Event):
    """Stops nothing; a wait for it moves the clock."""

    def __init__(self, forward: Callable[[float], None]) -> None:
        super().__init__()
        self._forward = forward

    def wait(self, timeout: float | None = None) -> bool:
        self._forward(max(timeout or 0.0, 0.001))  # a float that is added nothing to would stand for ever
        return False


class SteppedLane:
    """A lane on the real adapter of a target, worked step by step; what a killed one was sending is taken over.

    `moment` is told of each thing that a kill could come between. `more` goes to the lane.
    """

    def __init__(self, relay: Relay, target: str, clock: FakeClock, moment: Moment | None = None, **more: Any) -> None:
        adapter = targets.build(relay.settings.targets[target], clock, relay.store.token_store(target))
        store: Any = relay.store
        if moment is not None:
            rooms = {name: _Watched(getattr(store, name), moment) for name in ("calls", "queue")}
            store = SimpleNamespace(**{**vars(store), **rooms})
            adapter.client.request = _watched(adapter.client.request, moment)
        self._outcomes: list[Outcome] = []
        self._deliver, adapter.deliver = adapter.deliver, self._noted  # type: ignore[method-assign]
        settings = {
            "bucket": TokenBucket(None, lambda: 0.0),
            "monotonic": lambda: clock().timestamp(),
            "observe": self._observe,
            "keeps_exchanges": bool(relay.settings.storage.keep_payloads),
            "stopping": Waits(lambda seconds: clock.forward(seconds=seconds)),
            **more,
        }
        self.lane, self._stopping = Lane(adapter, store, clock, **settings), settings["stopping"]
        self._queue, self._clock = relay.store.queue, clock
        self.epoch = own(self.lane, relay.store, clock)

    def _noted(self, *args: Any) -> Outcome:
        try:
            self._sent = self._deliver(*args)
        except TargetError as exc:
            self._sent = exc.outcome
            raise
        return self._sent

    def _observe(self, result: AttemptResult) -> None:
        attempt = result.attempt
        assert attempt is not None
        outcome = replace(self._sent, name=attempt.outcome, reason=attempt.reason, status=attempt.status)
        self._outcomes.append(outcome)

    def deliver(self) -> list[Outcome]:
        """Deliver everything that is due now; return what the attempts came to."""
        self._outcomes.clear()
        while self.lane.step() or self._must_wait():
            pass
        return list(self._outcomes)

    def _must_wait(self) -> bool:
        """Wait as the lane's threads would, if the target is well and only the pace keeps it from what is due."""
        due_us = self._queue.poll(OWNER)[self.lane.shard].due_us
        wait_s = self.lane.throttle.wait_s()
        if due_us is None or due_us > to_us(self._clock()) or not wait_s or not self.lane.throttle.is_well:
            return False
        self._stopping.wait(wait_s)
        return True

    def close(self) -> None:
        self.lane.adapter.close()


class _Watched:
    """A room of the store that tells before and after it has written something."""

    def __init__(self, room: Any, moment: Moment) -> None:
        self._room, self._moment = room, moment

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._room, name)
        return _watched(method, self._moment, name) if name in ("claim", "record", "save_progress") else method


def _watched(call: Callable[..., Any], moment: Moment, name: str = "send") -> Callable[..., Any]:
    def watched(*args: Any, **more: Any) -> Any:
        what = f"{name} {args[1]}" if name == "send" else name  # of a request, the address
        moment(f"to {what}")
        answer = call(*args, **more)
        moment(f"done: {what}")
        return answer

    return watched


def tell(relay: Relay, notifications: list[Notification], clock: FakeClock, *lanes: SteppedLane) -> None:
    """Each notification is accepted, and delivered before the next one comes."""
    for endpoint, body in notifications:
        post(relay, body, endpoint)
        clock.forward(seconds=1)
        for lane in lanes:
            lane.deliver()


KILLED_EVERY = 1 if os.environ.get("RELAY_SOAK") else 3
"""Moments from one kill to the next: in short every third, begun with another one in each story."""


def tell_killed(relay: Relay, notifications: list[Notification], clock: FakeClock, target: str, at: int) -> bool:
    """The same, killed once at the moment of that number; False: there are fewer moments."""
    count = 0

    def moment(what: str) -> None:
        nonlocal count
        count += 1
        if count == at:
            raise Killed(what)

    lane = SteppedLane(relay, target, clock, moment)
    for endpoint, body in notifications:
        post(relay, body, endpoint)
        clock.forward(seconds=1)
        try:
            lane.deliver()
        except Killed:
            lane.close()
            lane = SteppedLane(relay, target, clock)
            clock.forward(seconds=2)
            lane.deliver()
    lane.close()
    return count >= at
