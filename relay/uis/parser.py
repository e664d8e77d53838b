"""Reads a body: strict JSON first, then repair, then form or query. What cannot be read is a MalformedEvent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from relay.errors import MalformedEvent
from relay.uis import coerce, forms, json_repair
from relay.uis.credentials import KEYS
from relay.uis.encoding import decode
from relay.uis.parsed_body import JSON, Ambiguous, ParsedBody, Unfilled, is_deep, one_of_each
from relay.uis.variables import is_unsubstituted

_TOO_DEEP = "the body is nested too deeply to be a notification"


def read(raw: bytes, *, is_query: bool = False) -> ParsedBody:
    """Reads the bytes of a body, or of a query string, whatever the Content-Type claimed.

    Raises MalformedEvent with a sentence for the operator.
    """
    text, notes = decode(raw)
    text = text.lstrip("\ufeff \t\r\n\x00")
    if not text.strip("\x00 \t\r\n"):
        raise MalformedEvent("the body is empty: check the notification's template in the UIS cabinet")
    reading = forms.read(raw.strip()) if is_query or forms.looks_like_form(text) else _read_json(text)
    return replace(reading.noting(*notes), pairs=tuple(_settled(reading.pairs)))


def read_beside(query: bytes) -> ParsedBody:
    """Read the query beside a body, whose parameters never cost the event."""
    try:
        return read(query, is_query=True) if query else ParsedBody((), "form")
    except MalformedEvent:
        return ParsedBody((), "form", ("the parameters in the address could not be read, and were left out",))


def _read_json(text: str) -> ParsedBody:
    try:
        reading = _read_object(text)
    except RecursionError as exc:
        raise MalformedEvent(_TOO_DEEP) from exc
    if is_deep(reading.pairs):
        raise MalformedEvent(_TOO_DEEP)
    return reading


def _read_object(text: str) -> ParsedBody:
    try:
        return _strict(text)
    except ValueError:  # not JSON, or a number of thousands of digits
        return json_repair.read(text)


def _strict(text: str) -> ParsedBody:
    """Raises ValueError when it is not strict JSON, MalformedEvent when it is but not an object."""
    doubled: list[str] = []
    outermost: Sequence[tuple[str, JSON]] = []

    def collect(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
        nonlocal outermost
        outermost = one_of_each(pairs, doubled)
        return dict(outermost)

    value = json.loads(text, object_pairs_hook=collect, parse_constant=coerce.refuse, parse_float=coerce.finite)
    if not isinstance(value, dict):
        raise MalformedEvent("the body is JSON but not an object {…}: check the template in the UIS cabinet")
    pairs = [(name, _emptied(value, 1)) for name, value in outermost] if doubled else outermost
    return ParsedBody(tuple(pairs), "json", tuple(doubled))


def _emptied(value: JSON, depth: int) -> JSON:
    """Leaves `Unread` only where fields are looked for, in the body and in its groups: below them it is null."""
    if isinstance(value, dict):
        return {name: _emptied(item, depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [_emptied(item, depth + 1) for item in value]
    return None if depth > 2 and isinstance(value, Ambiguous) else value


def _settled(pairs: Iterable[tuple[str, JSON]], *, is_nested: bool = False) -> Iterator[tuple[str, JSON]]:
    """The fields without the secrets, with the placeholders that were left marked; those of groups too."""
    for key, value in pairs:
        if key.strip().lower() in KEYS:
            continue
        if type(value) is str and is_unsubstituted(value, key):
            yield key, Unfilled(value)
        elif isinstance(value, dict) and not is_nested:
            yield key, dict(_settled(value.items(), is_nested=True))
        else:
            yield key, value
