"""Rows to values and back. The column lists here are the order in which the statements select them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import msgspec

from relay.clock import from_us
from relay.models import Attempt, CallEvent, Delivery, Event
from relay.store import tables

EVENT_COLUMNS = tuple(
    tables.events.c[name]
    for name in (
        "seq", "id", "source", "endpoint", "kind", "state", "session", "received_at", "raw", "edited",
        "is_query", "zone", "call", "problem", "notes", "repeats", "repeated",
    )
)  # fmt: skip
DELIVERY_COLUMNS = tuple(
    tables.deliveries.c[name]
    for name in (
        "seq", "id", "event_seq", "event", "target", "kind", "source", "session", "ordered", "state", "attempts",
        "failures", "unclear", "due_at", "aged_from", "replayed", "tried_at", "delivered_at", "reason", "remote",
    )
)  # fmt: skip
ATTEMPT_COLUMNS = tuple(tables.attempts.c[name] for name in ("number", "at", "took_ms", "status", "outcome", "reason"))

_NO_DIGIT = re.compile(r"\D")

_call_decoder = msgspec.json.Decoder(CallEvent)
_list_decoder = msgspec.json.Decoder(list[Any])
encode = msgspec.json.Encoder().encode


def _moment(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def event(row: Any) -> Event:
    (seq, id_, source, endpoint, kind, state, session, received_at, raw, edited,
     is_query, zone, call, problem, notes, repeats, repeated) = row  # fmt: skip
    return Event(
        seq=seq, id=id_, source=source, endpoint=endpoint, kind=kind, state=state, session=session,
        received_at=from_us(received_at), raw=raw, edited=edited, is_query_string=bool(is_query), zone=zone,
        call=None if call is None else _call_decoder.decode(call), problem=problem,
        notes=tuple(_list_decoder.decode(notes)), duplicate_count=repeated,
        duplicate_times=tuple(from_us(at) for at in _list_decoder.decode(repeats)),
    )  # fmt: skip


def delivery(row: Any) -> Delivery:
    (seq, id_, event_seq, event_id, target, kind, source, session, ordered, state, attempts,
     failures, unclear, due_at, aged_from, replayed, tried_at, delivered_at, reason, remote) = row  # fmt: skip
    return Delivery(
        seq=seq, id=id_, event_seq=event_seq, event=event_id, target=target, kind=kind, source=source,
        session=session, ordered=bool(ordered), state=state, attempts=attempts, failures=failures, unclear=unclear,
        due_at=from_us(due_at), age_started_at=from_us(aged_from), replayed=bool(replayed),
        tried_at=_moment(tried_at), delivered_at=_moment(delivered_at), reason=reason, remote_id=remote,
    )  # fmt: skip


def attempt(row: Any) -> Attempt:
    number, at, took_ms, status, outcome, reason = row
    return Attempt(number=number, at=from_us(at), took_ms=took_ms, status=status, outcome=outcome, reason=reason)


def call_json(call: CallEvent) -> str:
    return encode(call).decode()


def phones(call: CallEvent) -> str:
    """The digits of every number of a call, for the search by phone."""
    numbers = {call.caller, call.callee, call.client_number, call.employee_number, call.virtual_number}
    return " ".join([_NO_DIGIT.sub("", number) for number in numbers if number])
