"""The drop-in rule: a 1C handler that works behind UIS works unchanged behind the relay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.uis import body as bodies
from relay.uis.rendering import render
from tests.calls import ENDPOINT, MOSCOW, STANDARD, VALUES, call_of, rendered


def sent(body: bytes, endpoint: str = "in", *, is_query: bool = False, empty: Any = None) -> list[tuple[str, Any]]:
    """The fields that 1C gets, in order."""
    call = call_of(body, endpoint, is_query=is_query)
    reading = bodies.read(body, is_query=is_query)
    return list(json.loads(render(reading, call, endpoint=endpoint, zone=MOSCOW, empty=empty)).items())


@pytest.mark.parametrize("kind", STANDARD)
def test_the_five_templates_arrive_as_uis_would_have_sent_them(kind: Any) -> None:
    body = rendered(kind)

    assert sent(body, ENDPOINT[kind]) == list(json.loads(body).items())


@pytest.mark.parametrize("kind", STANDARD)
def test_missing_values_are_null(kind: Any) -> None:
    body = rendered(kind, **dict.fromkeys(VALUES))

    assert sent(body, ENDPOINT[kind]) == list(json.loads(body).items())


@pytest.mark.parametrize("kind", STANDARD)
def test_a_body_with_quoted_placeholders_gets_its_types_back(kind: Any) -> None:
    sound = rendered(kind, scenario_name='ООО "А"')
    values = json.loads(sound)
    quoted = "{" + ",".join(f'"{key}":"{json.dumps(value, ensure_ascii=False)}"' for key, value in values.items()) + "}"

    assert sent(quoted.encode(), ENDPOINT[kind]) == list(values.items())


def test_a_strict_body_passes_unchanged_but_for_secret_and_placeholders() -> None:
    body = b'{"Start_time":"x","token":"***","calling_phone_number":79005550123,"scenario_name":"{{scenario_name}}","a":[1.5],"call_session_id":"7"}'

    assert sent(body) == [
        ("Start_time", "x"), ("calling_phone_number", 79005550123), ("scenario_name", None), ("a", [1.5]), ("call_session_id", "7"),
    ]  # fmt: skip


def test_a_repaired_body_has_the_types_of_uis() -> None:
    body = b'{"call_session_id":""7"","calling_phone_number":+79005550123,"is_lost":"false","total_time_duration":"63","lost_reason":,"x":"1",}'

    assert sent(body, "rec") == [
        ("call_session_id", 7), ("calling_phone_number", "79005550123"), ("is_lost", False),
        ("total_time_duration", 63), ("lost_reason", None), ("x", "1"),
    ]  # fmt: skip


def test_a_field_that_is_in_doubt_is_sent_empty() -> None:
    assert sent('{"call_session_id":7,"scenario_name":""А" и "Б""}'.encode()) == [
        ("call_session_id", 7),
        ("scenario_name", None),
    ]


@pytest.mark.parametrize("kind", STANDARD)
def test_what_came_to_any_is_rendered_by_the_kinds_template(kind: Any) -> None:
    body = rendered(kind)
    nested = json.dumps({"call_info": json.loads(body)}, ensure_ascii=False).encode()

    assert sent(nested, ENDPOINT[kind]) == list(json.loads(body).items())


def test_a_get_is_rendered_by_the_template() -> None:
    query = b"start_time=2026-03-02%2012:45:59&direction=in&call_session_id=7&calling_phone_number=79005550123&scenario_name="

    assert dict(sent(query, "in", is_query=True)) == {
        "Start_time": "2026-03-02 12:45:59", "notification_name": None, "direction": "in", "call_session_id": 7,
        "virtual_phone_number": None, "called_phone_number": None, "calling_phone_number": "79005550123",
        "call_source": None, "scenario_name": None,
    }  # fmt: skip


def test_other_forms_of_time_become_the_one_of_uis() -> None:
    body = b"start_time=2026-03-02T09:45:59.863Z&direction=in&call_session_id=7"

    assert dict(sent(body))["Start_time"] == "2026-03-02 12:45:59.863"


def test_a_list_that_is_empty_stays_a_list() -> None:
    body = b'{"call_session_id":7,"employee_ids":[],"wav_call_records":[],}'

    assert sent(body, "rec") == [("call_session_id", 7), ("employee_ids", []), ("wav_call_records", [])]


def test_missing_values_can_be_empty_texts() -> None:
    assert sent(b'{"call_session_id":7,"lost_reason":null}', empty="") == [("call_session_id", 7), ("lost_reason", "")]
