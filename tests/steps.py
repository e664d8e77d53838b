"""What a lane lends an adapter, for tests without a lane: memory in a dictionary, and a hook at each request."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from relay.models import CallEvent, Event, TokenPair
from relay.store import ClaimedDelivery
from tests.calls import call_of
from tests.stories import Notification
from tests.unit.test_schedule import FRESH

NOW = datetime(2026, 3, 2, 9, 46, tzinfo=UTC)


class Memory:
    """The steps of one call; `before` is called before each request and before each thing is remembered."""

    def __init__(self, *said: CallEvent, before: Callable[[str], None] = lambda what: None) -> None:
        self._said, self._before = said, before
        self.facts: dict[str, Any] = {}

    def said(self) -> tuple[CallEvent, ...]:
        return self._said

    def done(self) -> dict[str, Any]:
        return dict(self.facts)

    def remember(self, **done: Any) -> None:
        self._before("remember")
        self.facts |= done

    def leave(self) -> None:
        self._before("request")


class Drawer:
    """A vault in memory."""

    def __init__(self) -> None:
        self.pair: TokenPair | None = None

    def load(self) -> TokenPair | None:
        return self.pair

    def save(self, pair: TokenPair) -> None:
        self.pair = pair

    def alone(self) -> AbstractContextManager[None]:
        return nullcontext()


def understood(notifications: list[Notification]) -> list[CallEvent]:
    return [call_of(body, endpoint) for endpoint, body in notifications]


def shipment(call: CallEvent, *, received_at: datetime = NOW) -> ClaimedDelivery:
    """A delivery of this call's notification."""
    event = Event(
        seq=1, id="01a2-event", source="trade", endpoint="in", kind=call.kind, state="accepted",
        session=call.session_id, received_at=received_at, raw=b"{}", edited=None, query=False, zone="Europe/Moscow",
        call=call, problem=None, notes=(), repeats=(), repeated=0,
    )  # fmt: skip
    return ClaimedDelivery(replace(FRESH, id="01a2-delivery", session=call.session_id, kind=call.kind), event, 1)
