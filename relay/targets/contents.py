"""The body for a target that takes one request for each event: as UIS would have sent it, as it came, or normalised.

Pure.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol
from zoneinfo import ZoneInfo

from relay.events import CallEvent, Event
from relay.uis import body as bodies
from relay.uis import rendering

_JSON = "application/json; charset=utf-8"


class Form(Protocol):
    """How a target wants its bodies."""

    @property
    def body(self) -> Literal["template", "raw", "normalised"]: ...

    @property
    def empty(self) -> Literal["null", "string"]: ...


def content(event: Event, call: CallEvent, form: Form) -> tuple[bytes, str]:
    """The body and its content type."""
    if form.body == "raw":
        is_form = (event.query and event.edited is None) or not event.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(
            b"{"
        )
        return event.body, "application/x-www-form-urlencoded" if is_form else _JSON
    empty: Any = "" if form.empty == "string" else None
    if form.body == "normalised":
        record = rendering.as_record(call).items()
        return rendering.dump([(key, empty if value is None else value) for key, value in record]), _JSON
    reading = bodies.read(event.body, is_query=event.query and event.edited is None)
    return rendering.render(reading, call, endpoint=event.endpoint, zone=ZoneInfo(event.zone), empty=empty), _JSON
