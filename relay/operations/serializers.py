"""Records of events, deliveries and attempts: objects with the fixed keys that the outside knows."""

from __future__ import annotations

from typing import Any

from relay.clock import iso
from relay.models import Attempt, Delivery, Event, Exchange
from relay.uis.parser import decode
from relay.uis.rendering import as_record

JSONDict = dict[str, Any]


def event_record(event: Event) -> JSONDict:
    return {
        "id": event.id,
        "source": event.source,
        "endpoint": event.endpoint,
        "kind": event.kind,
        "state": event.state,
        "session": event.session,
        "received_at": iso(event.received_at),
        "problem": event.problem,
        "notes": list(event.notes),
        "repeats": [iso(at) for at in event.duplicate_times],
        "call": None if event.call is None else as_record(event.call),
    }


def delivery_record(delivery: Delivery) -> JSONDict:
    return {
        "id": delivery.id,
        "event": delivery.event,
        "target": delivery.target,
        "kind": delivery.kind,
        "session": delivery.session,
        "state": delivery.state,
        "attempts": delivery.attempts,
        "due_at": iso(delivery.due_at) if delivery.state in ("due", "sending") else None,
        "delivered_at": iso(delivery.delivered_at),
        "reason": delivery.reason,
        "remote": delivery.remote_id,
    }


def attempt_record(attempt: Attempt) -> JSONDict:
    return {
        "number": attempt.number,
        "at": iso(attempt.at),
        "took_ms": attempt.took_ms,
        "status": attempt.status,
        "outcome": attempt.outcome,
        "reason": attempt.reason,
    }


def request_text(exchange: Exchange) -> str:
    """Return a request as it went out, for people."""
    lines = [f"{exchange.method} {exchange.url}", *(f"{name}: {value}" for name, value in exchange.headers.items())]
    return "\n".join([*lines, "", exchange.body] if exchange.body else lines)


def answer_text(exchange: Exchange) -> str:
    """Return the answer to it; empty when there was none."""
    if exchange.status is None:
        return ""
    lines = [f"{exchange.status} {exchange.phrase}".rstrip()]
    lines += [f"{name}: {value}" for name, value in exchange.answer_headers.items()]
    return "\n".join([*lines, "", exchange.answer] if exchange.answer else lines)


def dead_letter_record(letter: Delivery | Event) -> JSONDict:
    """Return a dead or held delivery, or a quarantined event in the same shape."""
    if isinstance(letter, Delivery):
        return delivery_record(letter)
    return {
        "id": letter.id,
        "event": letter.id,
        "target": None,
        "kind": letter.kind,
        "session": letter.session,
        "state": letter.state,
        "attempts": 0,
        "due_at": None,
        "delivered_at": None,
        "reason": letter.problem,
        "remote": None,
    }


def whole_record(event: Event, deliveries: list[tuple[Delivery, list[Attempt]]]) -> JSONDict:
    """Return an event with its raw text, its deliveries, and the attempts in each of them."""
    return {
        **event_record(event),
        "raw": text(event.raw),
        "edited": None if event.edited is None else text(event.edited),
        "deliveries": [
            {**delivery_record(delivery), "attempts": [attempt_record(attempt) for attempt in attempts]}
            for delivery, attempts in deliveries
        ],
    }


def text(raw: bytes) -> str:
    """Return the bytes for people; what is not text is shown as U+FFFD."""
    try:
        return decode(raw)[0]
    except Exception:  # whatever came, it must be possible to look at it
        return raw.decode("utf-8", "replace")
