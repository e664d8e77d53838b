"""Makes the body for a target that takes one request for each event: as UIS would have sent it, as it came, or
normalised. Pure.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote_to_bytes
from zoneinfo import ZoneInfo

from relay.config import HttpTarget, OneCTarget
from relay.models import CallEvent, Event
from relay.uis import parser, rendering
from relay.uis.parser import charset

_JSON = "application/json; charset=utf-8"
_FORM = "application/x-www-form-urlencoded"


def content(event: Event, call: CallEvent, target: OneCTarget | HttpTarget) -> tuple[bytes, str]:
    """Return the body and its content type."""
    if target.body == "raw":
        return event.body, _type_of(event)
    empty: Any = "" if target.empty == "string" else None
    if target.body == "normalised":
        record = rendering.as_record(call).items()
        return rendering.dump([(key, empty if value is None else value) for key, value in record]), _JSON
    body = parser.read(event.body, is_query=event.is_query_string and event.edited is None)
    return rendering.render(body, call, endpoint=event.endpoint, zone=ZoneInfo(event.zone), empty=empty), _JSON


def _type_of(event: Event) -> str:
    """Return the content type of the bytes as they came, with the charset that they are in."""
    is_query = event.is_query_string and event.edited is None
    if not is_query and event.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return _JSON.replace("utf-8", charset(event.body))
    legacy = charset(unquote_to_bytes(event.body)) == "windows-1251"  # UTF-8 is what a form is without a word
    return f"{_FORM}; charset=windows-1251" if legacy else _FORM
