"""What an operator changes: replay, discard. Each change is conditional on the state that was seen."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from relay.errors import StoreError
from relay.i18n import said
from relay.models import Delivery, Event
from relay.operations.filters import Chosen
from relay.store import Discard, Replay
from relay.wiring import Relay


class Replayed(Struct, frozen=True):
    count: int
    unreadable: list[Event]  #: quarantined events that still cannot be read


def replay(relay: Relay, chosen: Chosen, rate: float | None = None, name: str | None = None) -> Replayed:
    """Put them back, attempts counted anew; with a rate, spread over the time that it needs.

    Where a replay with a name is broken off, the store knows when it began until one of this name has ended.
    Raises StoreError that says how many were put back.
    """
    now = relay.clock()
    pause = timedelta(seconds=1 / rate) if rate else timedelta(0)
    replays = [
        Replay(delivery, now + pause * number, now, _gap(relay, delivery))
        for number, delivery in enumerate(chosen.deliveries)
    ]
    done, unreadable = 0, []
    try:
        if name is not None:
            relay.store.operator.begin_replay(name, now)
        done = relay.store.operator.replay(replays)
        for event in chosen.quarantined:
            if relay.intake.reprocess(event).call is None:
                unreadable.append(event)
            else:
                done += 1
        if name is not None:
            relay.store.operator.finish_replay(name)
    except StoreError as exc:
        raise broken_off(exc, done, chosen.count) from exc
    return Replayed(done, unreadable)


def discard(relay: Relay, chosen: Chosen) -> int:
    """Take them out of the queue for good; return how many. Raises StoreError that says how many were."""
    now = relay.clock()
    discards = [Discard(delivery, now, _gap(relay, delivery)) for delivery in chosen.deliveries]
    done = 0
    try:
        done = relay.store.operator.discard(discards)
        return done + relay.store.operator.discard_events(chosen.quarantined)
    except StoreError as exc:
        raise broken_off(exc, done, chosen.count) from exc


def broken_off(exc: StoreError, done: int, count: int) -> StoreError:
    """Return the error with how far a change of many came, of which so many were done before its last part."""
    return StoreError(
        "%(why)s. Done before that: %(done)s of %(count)s; do the same once more, and it goes on with the rest",
        why=said(exc),
        done=done + exc.changed,
        count=count,
    )


def _gap(relay: Relay, delivery: Delivery) -> timedelta:
    target = relay.settings.targets.get(delivery.target)
    return timedelta(0) if target is None else target.call_gap
