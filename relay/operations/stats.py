"""How targets and sources are doing, as the command line and the page show it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

from relay.i18n import Message, join
from relay.operations.serializers import JSONDict, fields
from relay.store import TargetFigures
from relay.wiring import Relay


class Delay(Struct, frozen=True):
    """How long deliveries took from their acceptance."""

    median: timedelta
    most: timedelta  #: 95 of 100 took no longer


def delay(spans: Sequence[timedelta]) -> Delay | None:
    """Return None where nothing was delivered."""
    return Delay(percentile(spans, 50), percentile(spans, 95)) if spans else None


def percentile(spans: Sequence[timedelta], percent: int) -> timedelta:
    """Return the least of the spans that so many percent of them do not exceed."""
    return sorted(spans)[max(0, math.ceil(len(spans) * percent / 100) - 1)]


class SourceStats(Struct, frozen=True, kw_only=True):
    """How a source is doing; the fields are the keys of its record."""

    source: str
    taken_24h: int
    last_taken_at: datetime | None
    refused_24h: dict[str, int]  #: by status


def targets(relay: Relay, since: datetime, only: str | None = None) -> Iterator[TargetFigures]:
    """Yield each target, configured or removed; what was delivered counts from `since`."""
    configured = relay.settings.targets
    for name in relay.store.queries.target_names(configured):
        if only in (None, name):
            figures = relay.store.queries.target_figures(name, since)
            state = figures.state if name in configured else "removed"
            yield replace(figures, state=state, reason=_reason(figures, relay.clock()))


def target_record(relay: Relay, figures: TargetFigures) -> JSONDict:
    target = relay.settings.targets.get(figures.name)
    return {
        "target": figures.name,
        "kind": None if target is None else target.kind,
        **fields(figures, "state", "reason", "due", "oldest_due_at"),
        "delivered_24h": figures.delivered,
        **fields(figures, "dead", "last_error"),
    }


def _reason(figures: TargetFigures, now: datetime) -> str | None:
    """Return why it is not open, and until when it wants to be left alone."""
    until = figures.retry_not_before
    pause = "" if until is None or until <= now else Message("asked to wait until %(at)s", at=until)
    return join(figures.reason or "", pause) or None


def sources(relay: Relay, since: datetime, only: str | None = None) -> Iterator[SourceStats]:
    """Yield each configured source; what is counted counts from `since`."""
    refused = relay.store.inbox.rejected_since(relay.settings.sources, since)
    for name in relay.settings.sources:
        if only in (None, name):
            taken, last = relay.store.queries.taken_since(name, since)
            yield SourceStats(source=name, taken_24h=taken, last_taken_at=last, refused_24h=refused[name])
