"""Records of events, deliveries and attempts, with the fixed keys that the outside knows; exchanges as text."""

from __future__ import annotations

import shlex
from typing import Any

from msgspec import Struct

from relay.models import UNFINISHED, Attempt, Delivery, Event, Exchange
from relay.uis.parser import decode
from relay.uis.rendering import as_record

JSONDict = dict[str, Any]


def event_record(event: Event) -> JSONDict:
    return {
        **fields(event, "id", "source", "endpoint", "kind", "state", "session", "received_at", "problem", "notes"),
        "repeats": event.duplicate_times,
        "call": None if event.call is None else as_record(event.call),
    }


def delivery_record(delivery: Delivery) -> JSONDict:
    return {
        **fields(delivery, "id", "event", "target", "kind", "session", "state", "attempts"),
        "due_at": delivery.due_at if delivery.state in UNFINISHED else None,
        **fields(delivery, "delivered_at", "reason"),
        "remote": delivery.remote_id,
    }


def attempt_record(attempt: Attempt) -> JSONDict:
    return fields(attempt, "number", "at", "took_ms", "status", "outcome", "reason")


def fields(value: Struct, *names: str) -> JSONDict:
    return {name: getattr(value, name) for name in names}


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


def curl_command(exchange: Exchange) -> str | None:
    """Return the command, secrets left out as in the exchange; None where a part of it is not kept."""
    if exchange.is_cut or not exchange.headers:  # of an exchange of tokens there is the address alone
        return None
    options = [
        f"-H {shlex.quote(f'{name}: {value}')}"
        for name, value in exchange.headers.items()
        if name.lower() != "content-length"  # which curl finds out by itself
    ]
    body = [f"--data-binary {shlex.quote(exchange.body)}"] if exchange.body else []
    return " \\\n  ".join([f"curl -i -X {exchange.method} {shlex.quote(exchange.url)}", *options, *body])


def dead_letter_record(letter: Delivery | Event) -> JSONDict:
    """Return a dead or held delivery, or a quarantined event in the same shape."""
    if isinstance(letter, Delivery):
        return delivery_record(letter)
    return {
        "id": letter.id,
        "event": letter.id,
        "target": None,
        **fields(letter, "kind", "session", "state"),
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
            {**delivery_record(delivery), "attempts": list(map(attempt_record, attempts))}
            for delivery, attempts in deliveries
        ],
    }


def text(raw: bytes) -> str:
    """Return the bytes for people; what is not text is shown as U+FFFD."""
    try:
        return decode(raw)[0]
    except Exception:  # whatever came, it must be possible to look at it
        return raw.decode("utf-8", "replace")
