"""Calls for the tests: invented values, and the standard templates rendered as UIS renders them."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

from relay.intake.service import ParseResult, parse
from relay.models import CallEvent, Kind
from relay.sandbox.uis import render
from relay.uis.rendering import template_text

MOSCOW = ZoneInfo("Europe/Moscow")

VALUES: dict[str, Any] = {
    "start_time": "2026-03-02 12:45:59.863",
    "finish_time": "2026-03-02 12:47:02.001",
    "notification_name": "Входящий звонок",
    "direction": "in",
    "call_session_id": 3360109114,
    "virtual_phone_number": "74955550100",
    "called_phone_number": "74955550100",
    "calling_phone_number": "79005550123",
    "extension_phone_number": "101",
    "employee_phone_number": "74955550101",
    "employee_ids": [323409, 323410],
    "contact_id": 77012,
    "total_time_duration": 63,
    "wait_time_duration": 12,
    "finish_reason": "subscriber_disconnects",
    "lost_reason": "Абонент разорвал соединение",
    "is_lost": False,
    "full_record_file_link": "https://media.example.test/1/abc",
    "wav_call_records": None,
    "external_id": "crm-17",
    "call_source": "va",
    "scenario_name": "Основной",
}

ENDPOINT: dict[Kind, str] = {"incoming": "in", "answered": "in", "lost": "in", "outgoing": "out", "finished": "rec"}
STANDARD: tuple[Kind, ...] = tuple(ENDPOINT)


def rendered(kind: Kind, **changes: Any) -> bytes:
    """The kind's template, filled; `changes` are values by the variable's name."""
    values = {**VALUES, **({"direction": "out"} if kind == "outgoing" else {})}
    if kind == "finished":
        values["lost_reason"] = None
    return render(template_text(kind), {**values, **changes})


def read(body: bytes, endpoint: str = "in", *, is_query: bool = False, zone: ZoneInfo = MOSCOW) -> ParseResult:
    return parse(body, is_query=is_query, endpoint=endpoint, zone=zone)


def call_of(body: bytes, endpoint: str = "in", *, is_query: bool = False, zone: ZoneInfo = MOSCOW) -> CallEvent:
    """What was understood; the test fails with the problem when nothing was."""
    understood = read(body, endpoint, is_query=is_query, zone=zone)
    assert understood.call is not None, understood.problem
    return understood.call
