"""Which of the seven kinds an event is: by its mnemonic, else by endpoint, direction and which fields are filled."""

from __future__ import annotations

from collections.abc import Callable, Collection

from relay.events import Kind

_BY_MNEMONIC: dict[str, Kind] = {
    # in_call_session and set_mark are documented or recorded; the other two are inferred from CoMagic's names
    "in_call_session": "incoming",
    "call_connected": "answered",
    "call_session_finished": "finished",
    "set_mark": "other",
}


def decide(
    endpoint: str, direction: str | None, mnemonic: str | None, filled: Callable[..., bool], present: Collection[str]
) -> Kind:
    """`filled(*names)`: has any of these variables a value; `present`: the names that stand in the body at all."""
    if mnemonic and mnemonic.lower() in _BY_MNEMONIC:
        return _BY_MNEMONIC[mnemonic.lower()]
    if endpoint == "rec":
        return "finished"
    if filled("file_link", "record_file_links"):
        return "recorded"
    if endpoint == "any":
        return _at_any(direction, filled, present)
    # the direction is UIS's own word, the endpoint was typed by hand: an incoming call at /out is read as at /in
    if endpoint == "out" and direction != "in":
        return "lost" if filled("lost_reason") else "outgoing"
    return _at_in(direction, filled)


def _at_in(direction: str | None, filled: Callable[..., bool]) -> Kind:
    if filled("lost_reason", "finish_time", "finish_reason"):
        return "lost"
    if filled("leg_id"):
        return "other"
    if direction == "out":
        return "outgoing"
    return "answered" if filled("extension_phone_number", "employee_phone_number") else "incoming"


def _at_any(direction: str | None, filled: Callable[..., bool], present: Collection[str]) -> Kind:
    if not {"is_lost", "full_record_file_link", "wav_call_records"}.isdisjoint(present) or filled(
        "total_time_duration"
    ):
        return "finished"
    if filled("lost_reason"):
        return "lost"
    if filled("leg_id", "leg_ids"):
        talking = filled("leg_ids") and not filled("talk_time_duration")
        return "answered" if talking else "other"
    if direction == "out":
        return "outgoing"
    if filled("extension_phone_number", "employee_phone_number"):
        return "answered"
    if filled("contact_phone_number", "calling_phone_number"):
        return "incoming"
    return "other"
