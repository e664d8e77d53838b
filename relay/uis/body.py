"""Reads a body: strict JSON first, then repair, then form or query. What cannot be read is a MalformedEvent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from relay.errors import MalformedEvent
from relay.uis import damaged, forms
from relay.uis.encoding import decode
from relay.uis.reading import JSON, Reading, Unfilled, one_of_each
from relay.uis.secrets import KEYS
from relay.uis.variables import is_unsubstituted


def read(raw: bytes, *, is_query: bool = False) -> Reading:
    """Reads the bytes of a body, or of a query string, whatever the Content-Type claimed.

    Raises MalformedEvent with a sentence for the operator.
    """
    text, notes = decode(raw)
    text = text.lstrip("\ufeff \t\r\n\x00")
    if not text.strip("\x00 \t\r\n"):
        raise MalformedEvent("the body is empty: check the notification's template in the UIS cabinet")
    reading = forms.read(raw.strip()) if is_query or forms.looks_like_form(text) else _read_json(text)
    return replace(reading.noting(*notes), pairs=tuple(_settled(reading.pairs)))


def read_beside(query: bytes) -> Reading:
    """Read the query beside a body, whose parameters never cost the event."""
    try:
        return read(query, is_query=True) if query else Reading((), "form")
    except MalformedEvent:
        return Reading((), "form", ("the parameters in the address could not be read, and were left out",))


def _read_json(text: str) -> Reading:
    try:
        return _strict(text)
    except ValueError:  # not JSON, or a number of thousands of digits
        return damaged.read(text)
    except RecursionError as exc:
        raise MalformedEvent("the body is nested too deeply to be a notification") from exc


def _strict(text: str) -> Reading:
    """Raises ValueError when it is not strict JSON, MalformedEvent when it is but not an object."""
    doubled: list[str] = []
    outermost: list[tuple[str, JSON]] = []

    def collect(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
        nonlocal outermost
        outermost = one_of_each(pairs, doubled)
        return dict(outermost)

    value = json.loads(text, object_pairs_hook=collect, parse_constant=_refuse, parse_float=_finite)
    if not isinstance(value, dict):
        raise MalformedEvent("the body is JSON but not an object {…}: check the template in the UIS cabinet")
    return Reading(tuple(outermost), "json", tuple(doubled))


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{digits} is too large")
    return value


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
