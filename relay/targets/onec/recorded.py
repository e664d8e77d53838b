"""Completes «Записанный разговор», for a receiver that remembers nothing of a call, with what else is known. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from relay.models import CallEvent

_OWN = ("kind", "notified_at", "notification_name", "mnemonic", "extra", "notes")
_NAME = "Записанный разговор"  # as UIS calls this type of event


def completed(history: Sequence[CallEvent]) -> CallEvent:
    """Return the last of a call's events; what it lacks is taken from the others.

    The end of the call knows best. Before it has come, the earlier notification does: a colleague who is asked in
    between is an outgoing call of an incoming one.
    """
    *others, recorded = history
    ends = [call for call in reversed(others) if call.kind == "finished"]
    sources = (recorded, *ends, *others)
    fields = {
        name: next((value for call in sources if (value := getattr(call, name)) not in (None, ())), None)
        for name in CallEvent.__struct_fields__
        if name not in _OWN and getattr(recorded, name) in (None, ())
    }
    lacking = {name: value for name, value in fields.items() if value is not None}
    return replace(recorded, notification_name=recorded.notification_name or _NAME, **lacking)
