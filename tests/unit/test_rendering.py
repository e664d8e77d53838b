"""The drop-in rule: a 1C handler that works behind UIS works unchanged behind the relay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.uis import parser as bodies
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
        ("Start_time", "x"),
        ("calling_phone_number", 79005550123),
        ("scenario_name", ""),
        ("a", [1.5]),
        ("call_session_id", "7"),
    ]


def test_a_repaired_body_has_the_types_of_uis() -> None:
    body = b'{"call_session_id":""7"","calling_phone_number":+79005550123,"is_lost":"false","total_time_duration":"63","lost_reason":,"x":"1",}'

    assert sent(body, "rec") == [
        ("call_session_id", 7),
        ("calling_phone_number", "79005550123"),
        ("is_lost", False),
        ("total_time_duration", 63),
        ("lost_reason", None),
        ("x", "1"),
    ]


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
        "Start_time": "2026-03-02 12:45:59",
        "notification_name": None,
        "direction": "in",
        "call_session_id": 7,
        "virtual_phone_number": None,
        "called_phone_number": None,
        "calling_phone_number": "79005550123",
        "call_source": None,
        "scenario_name": None,
    }


def test_other_forms_of_time_become_the_one_of_uis() -> None:
    body = b"start_time=2026-03-02T09:45:59.863Z&direction=in&call_session_id=7"

    assert dict(sent(body))["Start_time"] == "2026-03-02 12:45:59.863"


def test_a_list_that_is_empty_stays_a_list() -> None:
    body = b'{"call_session_id":7,"employee_ids":[],"wav_call_records":[],}'

    assert sent(body, "rec") == [("call_session_id", 7), ("employee_ids", []), ("wav_call_records", [])]


def test_missing_values_can_be_empty_texts() -> None:
    assert sent(b'{"call_session_id":7,"lost_reason":null}', empty="") == [("call_session_id", 7), ("lost_reason", "")]


# --- placeholders that UIS left: the receiver keeps a call's extension when it gets "", and null erases it

LEFT = [
    ("extension_phone_number", "{{extension_phone_number}}", "", "the extension"),
    ("scenario_name", "{{scenario_name}}", "", "a text"),
    ("direction", "{{ direction }}", "", "a text of two words"),
    ("full_record_file_link", "{{full_record_file_link}}", "", "a link"),
    ("call_status", "{{call_status}}", "", "a text of Novofon's"),
    ("department", "{{department}}", "", "a key of the customer's with a variable that UIS does not have"),
    ("department", "{{contact_id}}", None, "the variable decides, not the key"),
    ("contact_id", "{{department}}", None, "the key, where there is no such variable"),
    ("contact_id", "{{contact_id}}", None, "an id"),
    ("total_time_duration", "{{total_time_duration}}", None, "seconds"),
    ("Start_time", "{{start_time}}", None, "a time"),
    ("is_lost", "{{is_lost}}", None, "yes or no"),
    ("employee_ids", "{{employee_ids}}", None, "a list of ids"),
    ("wav_call_records", "{{wav_call_records}}", None, "a list of links"),
    ("tag_names", "{{tag_names}}", None, "a list of texts"),
    ("calling_phone_number", "{{calling_phone_number}}", None, "a phone: the receiver does not tell the two apart"),
]


@pytest.mark.parametrize(("key", "placeholder", "expected", "remark"), LEFT)
@pytest.mark.parametrize("written", ['"{}"', "{}", '""{}""'], ids=["quoted", "bare", "quoted twice"])
def test_a_placeholder_that_was_left(written: str, key: str, placeholder: str, expected: Any, remark: str) -> None:
    body = f'{{"call_session_id":7,"{key}":{written.format(placeholder)}}}'.encode()

    assert sent(body, "rec") == [("call_session_id", 7), (key, expected)], remark


@pytest.mark.parametrize("empty", [None, ""])
def test_what_uis_itself_sent_as_null_stays_what_is_set_for_missing_values(empty: Any) -> None:
    body = b'{"call_session_id":7,"extension_phone_number":null,"scenario_name":null}'

    assert sent(body, "rec", empty=empty) == [
        ("call_session_id", 7),
        ("extension_phone_number", empty),
        ("scenario_name", empty),
    ]


@pytest.mark.parametrize(
    ("body", "endpoint"),
    [
        (b'{"call_session_id":7,"is_lost":null,"extension_phone_number":"{{extension_phone_number}}"}', "any"),
        (b'{"call_info":{"call_session_id":7,"extension_phone_number":"{{extension_phone_number}}"}}', "rec"),
        (b"call_session_id=7&extension_phone_number={{extension_phone_number}}", "rec"),
    ],
    ids=["any", "nested", "form"],
)
def test_a_placeholder_that_was_left_is_one_in_the_template_too(body: bytes, endpoint: str) -> None:
    fields = dict(sent(body, endpoint))

    assert (fields["extension_phone_number"], fields["scenario_name"]) == ("", None)


@pytest.mark.parametrize(
    ("key", "value", "expected", "remark"),
    [
        ("event", "start_time", "start_time", "a constant of the customer's"),
        ("type", "call_source", "call_source", "another"),
        ("scenario_name", "tag_names", "tag_names", "a scenario of that name"),
        ("call_source", "call_source", "", "its own name: nothing was filled in"),
        ("Start_time", "start_time", None, "in any case"),
    ],
)
def test_a_constant_that_is_a_variables_name_is_no_placeholder(
    key: str, value: str, expected: Any, remark: str
) -> None:
    assert sent(f'{{"call_session_id":7,"{key}":"{value}"}}'.encode()) == [
        ("call_session_id", 7),
        (key, expected),
    ], remark


# --- a nested body at the kind's own endpoint

NESTED = {
    "integration_key": "***",
    "call_info": {"call_session_id": 7, "direction": "in", "department": "опт", "token": "***"},
    "contact_info": {"contact_phone_number": "79005550123", "contact_full_name": "{{contact_full_name}}"},
    "employee_info": {"extension_phone_number": "101"},
    "event": "CALL_END",
    "shop": {"name": {"ru": "Север"}},
}


@pytest.mark.parametrize("damage", ["", ","])
def test_a_nested_body_keeps_the_keys_that_the_template_lacks_where_they_stood(damage: str) -> None:
    body = (json.dumps(NESTED, ensure_ascii=False)[:-1] + damage + "}").encode()
    fields = dict(sent(body, "rec"))

    assert (fields["call_session_id"], fields["direction"], fields["extension_phone_number"]) == (7, "in", "101")
    assert list(fields.items())[-4:] == [
        ("call_info", {"department": "опт"}),
        ("contact_info", {"contact_phone_number": "79005550123", "contact_full_name": ""}),
        ("event", "CALL_END"),
        ("shop", {"name": {"ru": "Север"}}),
    ]


def test_what_came_to_any_is_the_template_alone() -> None:
    assert "event" not in dict(sent(json.dumps(NESTED).encode(), "any"))
