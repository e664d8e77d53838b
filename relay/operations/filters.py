"""Which deliveries and events an operator means: filters in words to the store's, and what they choose."""

from __future__ import annotations

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from relay.clock import to_utc
from relay.config.types import duration
from relay.errors import NotFound
from relay.i18n import Message
from relay.models import Delivery, DeliveryState, Event
from relay.store import Selection
from relay.wiring import Relay

REPLAYABLE: tuple[DeliveryState, ...] = ("due", "delivered", "dead", "held", "expired", "discarded")
DISCARDABLE: tuple[DeliveryState, ...] = ("due", "dead", "held", "expired")


class Chosen(Struct, frozen=True):
    deliveries: list[Delivery]
    quarantined: list[Event]

    @property
    def count(self) -> int:
        return len(self.deliveries) + len(self.quarantined)


def when(text: str, zone: ZoneInfo, now: datetime) -> datetime:
    """Return `2h` ago, or a date or time in the account's zone, in UTC. Raises ValueError with an example."""
    if re.fullmatch(r"\d+(\.\d+)?(ms|s|m|h|d|w)", text):
        return now - duration(text)
    try:
        moment = datetime.fromisoformat(text)
        return to_utc(moment if moment.tzinfo else moment.replace(tzinfo=zone))
    except (ValueError, OverflowError) as exc:
        raise ValueError(
            Message("%(text)s: write it like 2h, 3d, 2026-03-02 or 2026-03-02T09:30", text=repr(text))
        ) from exc


def refuse_unknown(relay: Relay, target: str | None, source: str | None) -> None:
    """Raises NotFound for a target or source that neither the configuration nor the store knows."""
    targets = relay.store.queries.target_names(relay.settings.targets)
    if target is not None and target not in targets:
        names = ", ".join(sorted(targets))
        raise NotFound("there is no target %(name)s; there are: %(names)s", name=target, names=names)
    if source is not None and source not in relay.settings.sources:
        names = ", ".join(sorted(relay.settings.sources))
        raise NotFound("there is no source %(name)s; there are: %(names)s", name=source, names=names)


def choose(relay: Relay, filters: Selection, allowed: tuple[DeliveryState, ...]) -> Chosen:
    """Return what is in an allowed state; without states in the filters the dead-letter queue.

    Raises ValueError for states of which none is allowed, NotFound where IDs choose nothing.
    """
    for id in filters.ids:
        relay.store.queries.event(id)  # raises NotFound
    if filters.states and not {*allowed, "quarantined"}.intersection(filters.states):
        raise ValueError(
            Message(
                "what is %(states)s cannot be taken; only %(allowed)s",
                states=", ".join(filters.states),
                allowed=", ".join(allowed),
            )
        )
    letters = list(relay.store.queries.letters(filters, allowed))
    if filters.ids and not letters and filters.not_replayed_since is None:
        raise NotFound("none of it is in the dead-letter queue; name the --state to take it all the same")
    return Chosen(
        [letter for letter in letters if isinstance(letter, Delivery)],
        [letter for letter in letters if isinstance(letter, Event)],
    )
