"""Events, deliveries and attempts as the outside knows them: objects with fixed keys."""

from __future__ import annotations

from typing import Any

from relay.clock import iso
from relay.models import Attempt, Delivery, Event
from relay.uis.parser import decode
from relay.uis.rendering import as_record

JSONDict = dict[str, Any]


def event(found: Event) -> JSONDict:
    return {
        "id": found.id,
        "source": found.source,
        "endpoint": found.endpoint,
        "kind": found.kind,
        "state": found.state,
        "session": found.session,
        "received_at": iso(found.received_at),
        "problem": found.problem,
        "notes": list(found.notes),
        "repeats": [iso(at) for at in found.duplicate_times],
        "call": None if found.call is None else as_record(found.call),
    }


def delivery(found: Delivery) -> JSONDict:
    return {
        "id": found.id,
        "event": found.event,
        "target": found.target,
        "kind": found.kind,
        "session": found.session,
        "state": found.state,
        "attempts": found.attempts,
        "due_at": iso(found.due_at) if found.state in ("due", "sending") else None,
        "delivered_at": iso(found.delivered_at),
        "reason": found.reason,
        "remote": found.remote_id,
    }


def attempt(found: Attempt) -> JSONDict:
    return {
        "number": found.number,
        "at": iso(found.at),
        "took_ms": found.took_ms,
        "status": found.status,
        "outcome": found.outcome,
        "reason": found.reason,
    }


def dead_letter(found: Delivery | Event) -> JSONDict:
    """A dead or held delivery, or a quarantined event in the same shape."""
    if isinstance(found, Delivery):
        return delivery(found)
    return {
        "id": found.id,
        "event": found.id,
        "target": None,
        "kind": found.kind,
        "session": found.session,
        "state": found.state,
        "attempts": 0,
        "due_at": None,
        "delivered_at": None,
        "reason": found.problem,
        "remote": None,
    }


def whole(found: Event, parts: list[tuple[Delivery, list[Attempt]]]) -> JSONDict:
    """An event with its raw text, its deliveries, and the attempts in each of them."""
    return {
        **event(found),
        "raw": text(found.raw),
        "edited": None if found.edited is None else text(found.edited),
        "deliveries": [{**delivery(one), "attempts": [attempt(tried) for tried in tries]} for one, tries in parts],
    }


def text(raw: bytes) -> str:
    """The bytes for people; what is not text is shown as U+FFFD."""
    try:
        return decode(raw)[0]
    except Exception:  # whatever came, it must be possible to look at it
        return raw.decode("utf-8", "replace")
