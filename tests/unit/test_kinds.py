"""Which kind an event is: by mnemonic, else by endpoint, direction and which fields are filled."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.calls import ENDPOINT, STANDARD, call_of, rendered


@pytest.mark.parametrize("kind", STANDARD)
def test_the_users_own_five(kind: Any) -> None:
    assert call_of(rendered(kind), ENDPOINT[kind]).kind == kind


@pytest.mark.parametrize(
    ("endpoint", "fields", "kind"),
    [
        ("in", {"notification_mnemonic": "call_session_finished"}, "finished"),
        ("rec", {"notification_mnemonic": "in_call_session"}, "incoming"),
        ("any", {"notification_mnemonic": "set_mark"}, "other"),
        ("any", {"notification_mnemonic": "call_connected"}, "answered"),
        ("in", {"notification_mnemonic": "never_seen", "direction": "in"}, "incoming"),
        ("rec", {}, "finished"),
        ("rec", {"lost_reason": "x"}, "finished"),
        ("in", {"file_link": "https://a.test/1"}, "recorded"),
        ("any", {"record_file_links": ["https://a.test/1"]}, "recorded"),
        ("in", {"direction": "in"}, "incoming"),
        ("in", {"direction": "in", "extension_phone_number": "101"}, "answered"),
        ("in", {"direction": "in", "employee_phone_number": "74955550101"}, "answered"),
        ("in", {"direction": "out", "extension_phone_number": "101"}, "outgoing"),
        ("in", {"direction": "out"}, "outgoing"),
        ("in", {"direction": "in", "finish_time": "2026-03-02 12:45:59"}, "lost"),
        ("in", {"direction": "in", "finish_reason": "timeout"}, "lost"),
        ("in", {"direction": "in", "lost_reason": "x", "leg_id": 5}, "lost"),
        ("in", {"direction": "in", "leg_id": 5, "extension_phone_number": "101"}, "other"),
        ("out", {"direction": "out"}, "outgoing"),
        ("out", {"direction": "out", "lost_reason": "x"}, "lost"),
        ("out", {"direction": "out", "finish_time": "2026-03-02 12:45:59"}, "outgoing"),
        ("out", {"direction": "in", "extension_phone_number": "101"}, "answered"),
        ("any", {"is_lost": None}, "finished"),
        ("any", {"full_record_file_link": None}, "finished"),
        ("any", {"wav_call_records": None}, "finished"),
        ("any", {"total_time_duration": 5}, "finished"),
        ("any", {"total_time_duration": None, "lost_reason": "x"}, "lost"),
        ("any", {"leg_id": 5, "direction": "in"}, "other"),
        ("any", {"leg_ids": [5], "direction": "in"}, "answered"),
        ("any", {"leg_ids": [5], "talk_time_duration": 9}, "other"),
        ("any", {"direction": "out"}, "outgoing"),
        ("any", {"extension_phone_number": "101", "direction": "in"}, "answered"),
        ("any", {"contact_phone_number": "79005550123"}, "incoming"),
        ("any", {"calling_phone_number": "79005550123"}, "incoming"),
        ("any", {"call_source": "va"}, "other"),
        ("any", {"notification_mnemonic": "lost_call_session", "contact_phone_number": "79005550123"}, "lost"),
        ("any", {"notification_mnemonic": "out_call_session", "employee_phone_number": "74955550101"}, "outgoing"),
        ("in", {"notification_mnemonic": "Out_Call_Session"}, "outgoing"),
        ("in", {"direction": "in", "leg_ids": [5], "talk_time_duration": 9, "extension_phone_number": "101"}, "other"),
        ("out", {"direction": "out", "leg_ids": [5], "talk_time_duration": 9}, "other"),
        ("in", {"direction": "in", "leg_ids": [5], "employee_id": 5}, "answered"),
        ("rec", {"file_link": "https://a.test/1", "file_duration": 51, "direction": "in"}, "recorded"),
        ("rec", {"record_file_links": ["https://a.test/1"]}, "recorded"),
        ("rec", {"file_link": None, "record_file_links": []}, "finished"),
        ("rec", {"file_link": "https://a.test/1", "finish_reason": "timeout"}, "finished"),
        ("rec", {"file_link": "https://a.test/1", "total_time_duration": 63}, "finished"),
        ("rec", {"file_link": "https://a.test/1", "is_lost": False}, "finished"),
    ],
)
def test_the_kind(endpoint: str, fields: dict[str, Any], kind: str) -> None:
    assert call_of(json.dumps({"call_session_id": 1, **fields}).encode(), endpoint).kind == kind


# UIS's own templates, all to one address; the placeholders as they are filled
OWN = {
    "Входящий звонок": ("in_call_session", {}, "incoming", "in"),
    "Ожидание ответа": ("x", {"direction": "in", "employee_id": 5, "leg_id": 7}, "other", "in"),
    "Начало разговора": ("x", {"direction": "in", "employee_id": 5, "leg_ids": [7]}, "answered", "in"),
    "Окончание разговора": (
        "x",
        {"direction": "in", "employee_id": 5, "leg_ids": [7], "talk_time_duration": 9},
        "other",
        "in",
    ),
    "Исходящий звонок": (
        "out_call_session",
        {"employee_id": 5, "employee_phone_number": "74955550101"},
        "outgoing",
        "out",
    ),
    "Потерянный звонок": ("lost_call_session", {"wait_time_duration": 9, "employee_ids": [5]}, "lost", None),
    "Завершение звонка": (
        "x",
        {"direction": "out", "talk_time_duration": 0, "total_time_duration": 9, "wait_time_duration": 9},
        "finished",
        "out",
    ),
    "Записанный разговор": ("x", {"file_link": "https://a.test/1", "file_duration": 9}, "recorded", None),
}


@pytest.mark.parametrize("name", OWN)
def test_the_templates_of_the_cabinet_at_one_address(name: str) -> None:
    mnemonic, fields, kind, direction = OWN[name]
    every = {"notification_name": name, "notification_mnemonic": mnemonic, "contact_phone_number": "79005550123"}
    call = call_of(json.dumps({"call_session_id": 1, **every, **fields}).encode(), "any")

    assert (call.kind, call.direction, call.client_number) == (kind, direction, "+79005550123")


def test_the_mnemonic_says_the_direction_before_the_endpoint_does() -> None:
    call = call_of(b'{"call_session_id":1,"notification_mnemonic":"out_call_session"}', "in")

    assert call.direction == "out"
    assert any("mnemonic" in note for note in call.notes)
