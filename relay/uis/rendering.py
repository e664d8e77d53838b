"""The bodies that targets are sent: what came, the CallEvent's fields, or what UIS itself would have rendered.

That is what a 1C handler written for UIS expects, damage repaired. For a flat body: its own names in their order and
spelling. For anything else (GET, form, nested, `/any`): the template of the event's kind, filled from what was
understood; after it, for a nested body that came to the kind's own endpoint, whatever else stood in it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any, Literal
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

from relay.clock import iso
from relay.models import CallEvent, Event, Kind
from relay.uis import phones
from relay.uis.normalise import CONVERSIONS, is_empty, to_integer, to_text
from relay.uis.parser import ParsedBody, charset, read_event
from relay.uis.variables import JSON, PLACEHOLDER, TEXTS, VARIABLES, Ambiguous, Unfilled

_JSON = "application/json; charset=utf-8"
_FORM = "application/x-www-form-urlencoded"
_TEMPLATES: dict[Kind, str] = {
    "incoming": "in_incoming",
    "answered": "in_talk_started",
    "lost": "in_lost",
    "outgoing": "out_outgoing",
    "finished": "rec_finished",
    "recorded": "rec_finished",
    "other": "in_incoming",
}
_SLOT = re.compile(r'"(\w+)"\s*:\s*\{\{(\w+)\}\}')
_UIS_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,3})?", re.ASCII)


@cache
def template_text(kind: Kind) -> str:
    """Return the notification template of a kind, as it is typed into the UIS cabinet."""
    return (files("relay.uis") / "templates" / f"{_TEMPLATES[kind]}.tpl.json").read_text(encoding="utf-8")


@cache
def template_slots(kind: Kind) -> tuple[tuple[str, str], ...]:
    """Return the names in the body with their variables, in order."""
    return tuple((name, variable) for name, variable in _SLOT.findall(template_text(kind)))


def event_body(
    event: Event, call: CallEvent, form: Literal["template", "raw", "normalised"], missing: Literal["null", "string"]
) -> tuple[bytes, str]:
    """Return the body for one request, `missing` for each value there is none of, and its content type. Pure."""
    if form == "raw":
        return event.body, _type_of(event)
    empty: Any = "" if missing == "string" else None
    if form == "normalised":
        record = as_record(call).items()
        return dump([(key, empty if value is None else value) for key, value in record]), _JSON
    return render(read_event(event), call, endpoint=event.endpoint, zone=ZoneInfo(event.zone), empty=empty), _JSON


def _type_of(event: Event) -> str:
    """Return the content type of the bytes as they came, with the charset that they are in."""
    is_query = event.is_query_string and event.edited is None
    if not is_query and event.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _JSON.replace("utf-8", charset(event.body))
    legacy = charset(unquote_to_bytes(event.body)) == "windows-1251"  # UTF-8 is what a form is without a word
    return f"{_FORM}; charset=windows-1251" if legacy else _FORM


def render(body: ParsedBody, call: CallEvent, *, endpoint: str, zone: ZoneInfo, empty: JSON = None) -> bytes:
    """Return the body for a target that knows UIS alone; compact, because the 1C receiver keeps 1024 characters."""
    if body.is_flat and body.shape != "form" and endpoint != "any":
        pairs = [(key, _as_sent(key, value, body)) for key, value in body.pairs]
    else:
        values = _by_variable(body)
        pairs = [(key, _from_call(name, values.get(name), call, zone)) for key, name in template_slots(call.kind)]
        if body.shape != "form" and endpoint != "any":
            pairs += _beyond_template(body, {name for _, name in template_slots(call.kind)})
    return dump([(key, empty if value is None else value) for key, value in pairs])


def dump(pairs: list[tuple[str, JSON]]) -> bytes:
    """Return compact JSON of the pairs in order."""
    fields = dict(pairs)
    if len(fields) == len(pairs):
        text = _json(fields)  # at once: a quarter of the time
    else:
        text = "{" + ",".join(f"{_json(key)}:{_json(value)}" for key, value in pairs) + "}"
    try:
        return text.encode()
    except UnicodeEncodeError:  # half a surrogate pair; as an escape it is valid JSON
        return json.dumps(fields, separators=(",", ":")).encode()


_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # `dumps` makes one for each value


def _as_sent(key: str, value: JSON, body: ParsedBody) -> JSON:
    if isinstance(value, Ambiguous):
        return None
    if isinstance(value, Unfilled):
        return _left_empty(key, value)
    return value if body.shape == "json" else _typed(key.lower(), value)


def _typed(name: str, value: JSON) -> JSON:
    """Return the value with the JSON type that UIS gives it; as it is where it has no such type."""
    variable = VARIABLES.get(name)
    if variable is None:
        return value
    if is_empty(value):
        return value if value == [] else None
    try:
        match variable.type:
            case "time" | "text" | "any":
                return value
            case "phone":
                return phones.as_uis_writes(phones.parse(to_text(value)).number)
            case "session":
                return to_integer(value)
            case "extension" | "direction":
                return to_text(value)
            case "links" if isinstance(value, list):
                return value
            case other:
                typed = CONVERSIONS[other](value)
                return list(typed) if isinstance(typed, tuple) else typed
    except ValueError:
        return value


def _beyond_template(body: ParsedBody, slots: Collection[str]) -> Iterator[tuple[str, JSON]]:
    """Yield the fields of a nested body that its kind's template lacks, each where it stood."""
    for key, value in body.pairs:
        if isinstance(value, dict):
            beyond = [inner for inner in value if inner.strip().lower() not in slots]
            if beyond:
                yield key, {inner: _as_sent(inner, value[inner], body) for inner in beyond}
        elif key.strip().lower() not in slots:
            yield key, _as_sent(key, value, body)


def _left_empty(key: str, left: Unfilled) -> JSON:
    """Return what stands for a placeholder that was left: "" where UIS would have put a text, or for one's own key.

    The receiver that the standard templates were written for keeps a call's extension when it gets "", and null
    erases it; in texts it tells the two apart as well.
    """
    match = PLACEHOLDER.fullmatch(left.text.strip())
    name = match[1] if match else left.text.strip()
    variable = VARIABLES.get(name.lower()) or VARIABLES.get(key.strip().lower())
    return "" if variable is None or variable.type in TEXTS else None


def _by_variable(body: ParsedBody) -> dict[str, JSON]:
    flat: dict[str, JSON] = {}
    for key, value in body.pairs:
        for name, item in value.items() if isinstance(value, dict) else [(key, value)]:
            flat.setdefault(name.strip().lower(), item)
    return flat


def _from_call(name: str, sent: JSON, call: CallEvent, zone: ZoneInfo) -> JSON:
    field = VARIABLES[name].field
    value = getattr(call, field) if field else None
    if value is None or value == ():
        return _left_empty(name, sent) if isinstance(sent, Unfilled) else None
    if VARIABLES[name].type == "time":
        if isinstance(sent, str) and _UIS_TIME.fullmatch(sent.strip()):
            return sent.strip()
        return value.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S.") + f"{value.microsecond // 1000:03d}"
    return _typed(name, list(value) if isinstance(value, tuple) else value)


def as_record(call: CallEvent) -> dict[str, JSON]:
    """Return the CallEvent's fields by name, times as `2026-03-02T09:45:59.863+00:00`: its form outside the relay."""
    record: dict[str, JSON] = {}
    for name in CallEvent.__struct_fields__:
        value = getattr(call, name)
        if isinstance(value, datetime):
            value = iso(value)
        record[name] = list(value) if isinstance(value, tuple) else value
    return record
