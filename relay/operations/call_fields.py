"""What was understood of a call, as people read it."""

from __future__ import annotations

import json
from datetime import datetime
from zoneinfo import ZoneInfo

from relay.i18n import field_label, gettext, local
from relay.models import CallEvent

_OURS = ("kind", "direction", "lost_by")  # fields whose values are the relay's own words


def call_fields(call: CallEvent | None, zone: ZoneInfo) -> list[tuple[str, str]]:
    """Return the label and the value of each field that has one; times by the clock of its source."""
    if call is None:
        return []
    values = {
        name: getattr(call, name) for name in CallEvent.__struct_fields__ if name not in ("notes", "talk_derived")
    }
    return [
        (field_label(name), _in_words(name, each, zone))
        for name, each in values.items()
        if each not in (None, "", (), {})
    ]


def _in_words(name: str, value: object, zone: ZoneInfo) -> str:
    if name in _OURS:
        return gettext(str(value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, datetime):
        return local(value, zone)
    if isinstance(value, bool):
        return gettext("yes") if value else gettext("no")
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
