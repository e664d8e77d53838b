"""What an operator changes: replay, discard. Each change is conditional on the state that was seen."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from relay.models import Delivery, Event
from relay.operations.filters import Chosen
from relay.store import Discard, Replay
from relay.wiring import Relay


class Replayed(Struct, frozen=True):
    count: int
    unreadable: list[Event]  #: quarantined events that still cannot be read


def replay(relay: Relay, chosen: Chosen, rate: float | None = None) -> Replayed:
    """Put them back, attempts counted anew; with a rate, spread over the time that it needs."""
    now = relay.clock()
    pause = timedelta(seconds=1 / rate) if rate else timedelta(0)
    replays = [
        Replay(delivery, now + pause * number, now, _gap(relay, delivery))
        for number, delivery in enumerate(chosen.deliveries)
    ]
    replayed = relay.store.operator.replay(replays)
    unreadable = [event for event in chosen.quarantined if relay.intake.reprocess(event).call is None]
    return Replayed(replayed + len(chosen.quarantined) - len(unreadable), unreadable)


def discard(relay: Relay, chosen: Chosen) -> int:
    """Take them out of the queue for good; return how many."""
    now = relay.clock()
    discards = [Discard(delivery, now, _gap(relay, delivery)) for delivery in chosen.deliveries]
    return relay.store.operator.discard(discards) + relay.store.operator.discard_events(chosen.quarantined)


def _gap(relay: Relay, delivery: Delivery) -> timedelta:
    """Return the least time between two deliveries of its call."""
    target = relay.settings.targets.get(delivery.target)
    return timedelta(0) if target is None else target.call_gap
