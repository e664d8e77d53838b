"""Which of the seven kinds an event is: by its mnemonic, else by endpoint, direction and which fields are filled."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Literal

from relay.models import Kind

_BY_MNEMONIC: dict[str, Kind] = {
    # in_call_session, lost_call_session and set_mark are documented or recorded; the others are inferred from
    # CoMagic's names
    "in_call_session": "incoming",
    "out_call_session": "outgoing",
    "call_connected": "answered",
    "lost_call_session": "lost",
    "call_session_finished": "finished",
    "set_mark": "other",
}
_DIRECTIONS: dict[str, Literal["in", "out"]] = {"in_call_session": "in", "out_call_session": "out"}
_ENDS = ("finish_time", "finish_reason", "lost_reason", "total_time_duration", "is_lost", "call_status")
"""What only the end of a call has: «Записанный разговор» comes without any of it."""


def direction_of(mnemonic: str | None) -> Literal["in", "out"] | None:
    """Return the direction that a mnemonic stands for: UIS's own templates for these do not send it."""
    return _DIRECTIONS.get((mnemonic or "").lower())


def decide(
    endpoint: str, direction: str | None, mnemonic: str | None, filled: Callable[..., bool], present: Collection[str]
) -> Kind:
    """`filled(*names)`: has any of these variables a value; `present`: the names that stand in the body at all."""
    if mnemonic and mnemonic.lower() in _BY_MNEMONIC:
        return _BY_MNEMONIC[mnemonic.lower()]
    is_recording = filled("file_link", "record_file_links")
    if endpoint == "rec":
        return "recorded" if is_recording and not filled(*_ENDS) else "finished"
    if is_recording:
        return "recorded"
    if endpoint == "any":
        return _at_any(direction, filled, present)
    # the direction is UIS's own word, the endpoint was typed by hand: an incoming call at /out is read as at /in
    if endpoint == "out" and direction != "in":
        return "lost" if filled("lost_reason") else "other" if _is_over(filled) else "outgoing"
    return _at_in(direction, filled)


def _is_over(filled: Callable[..., bool]) -> bool:
    """Is it «Окончание разговора»: of one talk within a call, which may go on with another?"""
    return filled("leg_ids") and filled("talk_time_duration")


def _at_in(direction: str | None, filled: Callable[..., bool]) -> Kind:
    if filled("lost_reason", "finish_time", "finish_reason"):
        return "lost"
    if filled("leg_id") or _is_over(filled):
        return "other"
    if direction == "out":
        return "outgoing"
    return "answered" if filled("leg_ids", "extension_phone_number", "employee_phone_number") else "incoming"


def _at_any(direction: str | None, filled: Callable[..., bool], present: Collection[str]) -> Kind:
    if not {"is_lost", "full_record_file_link", "wav_call_records"}.isdisjoint(present) or filled(
        "total_time_duration"
    ):
        return "finished"
    if filled("lost_reason"):
        return "lost"
    if filled("leg_id", "leg_ids"):
        return "answered" if filled("leg_ids") and not _is_over(filled) else "other"
    if direction == "out":
        return "outgoing"
    if filled("extension_phone_number", "employee_phone_number"):
        return "answered"
    if filled("contact_phone_number", "calling_phone_number"):
        return "incoming"
    return "other"
