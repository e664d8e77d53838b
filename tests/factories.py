"""Values for the tests: deliveries, events and tokens as the relay would have them."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from relay.clock import new_id
from relay.config import OneCTarget, Secret
from relay.models import Attempt, CallEvent, ClaimedDelivery, Delivery, Event, Verdict
from relay.store import AttemptResult, NewEvent, Route, slot
from tests.calls import call_of, rendered
from tests.stories import Notification

NOW = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)
POLICY = OneCTarget(name="onec", url="http://127.0.0.1/")
FRESH = Delivery(
    seq=1,
    id="d",
    event_seq=1,
    event="e",
    target="onec",
    kind="incoming",
    source="trade",
    session="7",
    ordered=True,
    state="sending",
    attempts=0,
    failures=0,
    unclear=0,
    due_at=NOW,
    age_started_at=NOW,
    replayed=False,
    tried_at=None,
    delivered_at=None,
    reason=None,
    remote_id=None,
)


def job(
    body: bytes = rendered("incoming"), endpoint: str = "in", *, is_query: bool = False, edited: bytes | None = None
) -> ClaimedDelivery:
    """A delivery to a 1C of the notification with this body."""
    call = call_of(body if edited is None else edited, endpoint, is_query=is_query)
    event = _event(call, endpoint=endpoint, raw=body, edited=edited, is_query_string=is_query)
    return ClaimedDelivery(replace(FRESH, id="01a2-delivery"), event, 1)


def result(
    claimed: ClaimedDelivery,
    state: Any,
    at: datetime,
    *,
    next_try_at: datetime | None = None,
    unclear: int = 0,
    reason: str | None = None,
    attempt: Attempt | None = None,
) -> AttemptResult:
    """What is recorded of a delivery that came to this."""
    verdict = Verdict(state=state, at=at, next_try_at=next_try_at, failures=0, unclear=unclear, reason=reason)
    return AttemptResult(
        delivery=claimed.delivery, epoch=claimed.epoch, verdict=verdict, remote_id=None, attempt=attempt
    )


def shipment(call: CallEvent, *, received_at: datetime = NOW) -> ClaimedDelivery:
    """A delivery of this call's notification."""
    delivery = replace(FRESH, id="01a2-delivery", session=call.session_id, kind=call.kind)
    return ClaimedDelivery(delivery, _event(call, received_at=received_at), 1)


def new_event(call: CallEvent, *routes: Route, window: timedelta = timedelta(0), **changes: Any) -> NewEvent:
    """A notification that is to be stored."""
    received_at = changes.get("received_at", NOW)
    event = _event(call, **{"id": new_id(received_at), "seq": 0, **changes})
    return NewEvent(event, window, routes, slot(event.source, event.session))


def _event(call: CallEvent, **changes: Any) -> Event:
    event = Event(
        seq=1,
        id="01a2-event",
        source="trade",
        endpoint="in",
        kind=call.kind,
        state="accepted",
        session=call.session_id,
        received_at=NOW,
        raw=b"{}",
        edited=None,
        is_query_string=False,
        zone="Europe/Moscow",
        call=call,
        problem=None,
        notes=(),
        duplicate_times=(),
        duplicate_count=0,
    )
    return replace(event, **changes)


def understood(notifications: list[Notification]) -> list[CallEvent]:
    """Return what the relay understands of them."""
    return [call_of(body, endpoint) for endpoint, body in notifications]


def jwt(ends: Any) -> Secret:
    """An amoCRM token that says when it ends."""
    payload = urlsafe_b64encode(json.dumps({"exp": ends}).encode()).rstrip(b"=").decode()
    return Secret(f"eyJhbGciOiJSUzI1NiJ9.{payload}.signature")
