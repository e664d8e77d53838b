"""Variables of UIS into the fields of a CallEvent: every type in every form that was seen."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from relay.intake.service import parse
from tests.calls import call_of, read

SAMARA = ZoneInfo("Europe/Samara")


def field(name: str, value: Any, wanted: str, endpoint: str = "rec", **more: Any) -> Any:
    body = json.dumps({"call_session_id": 1, **more, name: value}, ensure_ascii=False).encode()
    return getattr(call_of(body, endpoint), wanted)


NOON = datetime(2026, 3, 2, 9, 45, 59, 863000, UTC)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2026-03-02 12:45:59.863", NOON),
        ("2026-03-02T12:45:59.863", NOON),
        ("2026-03-02 12:45:59", NOON.replace(microsecond=0)),
        ("2026-03-02T12:45:59+03:00", NOON.replace(microsecond=0)),
        ("2026-03-02T09:45:59.863Z", NOON),
        ("2026-03-02 09:45:59.863+0000", NOON),
        (1772444759, NOON.replace(microsecond=0)),
        ("1772444759", NOON.replace(microsecond=0)),
        (1772444759863, NOON),
    ],
)
def test_times_in_all_their_forms(given: Any, expected: datetime) -> None:
    assert field("start_time", given, "started_at") == expected


def test_a_time_without_a_zone_is_the_accounts() -> None:
    body = b'{"call_session_id":1,"start_time":"2026-03-02 13:45:59.863"}'

    assert call_of(body, zone=SAMARA).started_at == NOON


@pytest.mark.parametrize("given", ["yesterday", "2026-13-40 99:00:00", "02.03.2026", True, [1]])
def test_what_is_no_time_is_kept_with_a_note(given: Any) -> None:
    call = call_of(json.dumps({"call_session_id": 1, "start_time": given}).encode())

    assert call.started_at is None
    assert call.extra["start_time"] == given
    assert any("start_time" in note for note in call.notes)


def test_notified_at_comes_from_either_name() -> None:
    assert field("notification_timestamp", 1772444759, "notified_at") == NOON.replace(microsecond=0)
    assert field("notification_time", "2026-03-02 12:45:59.863", "notified_at") == NOON


@pytest.mark.parametrize(
    ("given", "expected", "remark"),
    [
        ("79005550123", "+79005550123", "as UIS writes it"),
        (79005550123, "+79005550123", "a JSON number"),
        ("+79005550123", "+79005550123", "E.164"),
        ("89005550123", "+79005550123", "the trunk prefix"),
        ("8 (900) 555-01-23", "+79005550123", "typed by hand"),
        ("88005550100", "+78005550100", "toll-free"),
        ("375291234567", "+375291234567", "another country"),
        ("0486173", "0486173", "a SIP line"),
        ("101", "101", "a short number"),
        ("9005550123", "9005550123", "no country: not certain"),
        ("sip:office@example.test", "sip:office@example.test", "a SIP address"),
        ("11111111111", "11111111111", "no valid number"),
        ("anonymous", "anonymous", "withheld"),
    ],
)
def test_phones_in_all_their_forms(given: Any, expected: str, remark: str) -> None:
    assert field("calling_phone_number", given, "caller") == expected, remark


def test_a_dtmf_tail_is_split_off_and_kept() -> None:
    call = call_of(b'{"call_session_id":1,"calling_phone_number":"74955550186...9.2.3.3"}')

    assert call.caller == "+74955550186"
    assert call.extra["calling_phone_number_dtmf"] == "9.2.3.3"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([1, 2], (1, 2)),
        ("[1,2]", (1, 2)),
        ("1,2", (1, 2)),
        (["1", 2], (1, 2)),
        (5, (5,)),
        ("5", (5,)),
        (None, ()),
        ([], ()),
        ("", ()),
    ],
)
def test_employee_ids_in_all_their_forms(given: Any, expected: tuple[int, ...]) -> None:
    assert field("employee_ids", given, "employee_ids") == expected


def test_a_single_employee_id_is_taken_where_there_is_no_list() -> None:
    assert field("employee_id", 7, "employee_ids") == (7,)
    assert field("employee_id", 7, "employee_ids", employee_ids=[8]) == (8,)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["https://a.test/1", "https://a.test/2"], ("https://a.test/1", "https://a.test/2")),
        ("https://a.test/1", ("https://a.test/1",)),
        ('["https://a.test/1"]', ("https://a.test/1",)),
        ([11, 12], ("11", "12")),
        (11, ("11",)),
        (None, ()),
    ],
)
def test_wav_records_in_all_their_forms(given: Any, expected: tuple[str, ...]) -> None:
    assert field("wav_call_records", given, "wav_records") == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("False", False),
        (1, True),
        (0, False),
        ("1", True),
        ("0", False),
        ("да", True),
        ("нет", False),
        (None, None),
        ("", None),
    ],
)
def test_booleans_in_all_their_forms(given: Any, expected: bool | None) -> None:
    assert field("is_lost", given, "is_lost") is expected


@pytest.mark.parametrize(
    ("given", "expected"), [(63, 63), ("63", 63), (63.0, 63), (" 63 ", 63), ("0", 0), (None, None), ("", None)]
)
def test_seconds_in_all_their_forms(given: Any, expected: int | None) -> None:
    assert field("total_time_duration", given, "total_seconds") == expected


@pytest.mark.parametrize("given", [-1, 63.5, "01:03", True, 2**70, [63], 1_764_230_000_000])
def test_what_are_no_seconds_is_kept_with_a_note(given: Any) -> None:
    call = call_of(json.dumps({"call_session_id": 1, "total_time_duration": given}).encode())

    assert call.total_seconds is None
    assert "total_time_duration" in call.extra


@pytest.mark.parametrize(
    ("given", "expected"), [(3360109114, "3360109114"), ("3360109114", "3360109114"), (3360109114.0, "3360109114")]
)
def test_a_session_is_text(given: Any, expected: str) -> None:
    assert field("call_session_id", given, "session_id") == expected


@pytest.mark.parametrize(
    ("fields", "expected", "is_derived"),
    [
        ({"total_time_duration": 63, "wait_time_duration": 12}, 51, True),
        ({"total_time_duration": 63, "wait_time_duration": 12, "talk_time_duration": 40}, 40, False),
        ({"total_time_duration": 12, "wait_time_duration": 63}, None, None),
        ({"total_time_duration": 63}, None, None),
        ({"total_time_duration": 63, "wait_time_duration": 12, "is_lost": True}, 0, None),
    ],
)
def test_the_talk_time(fields: dict[str, Any], expected: int | None, is_derived: bool | None) -> None:
    call = call_of(json.dumps({"call_session_id": 1, **fields}).encode(), "rec")

    assert (call.talk_seconds, call.talk_derived) == (expected, is_derived)


@pytest.mark.parametrize(
    ("endpoint", "fields", "is_lost", "lost_by", "remark"),
    [
        ("rec", {"lost_reason": "Сотрудник разорвал соединение"}, True, "operator", "the user's first rule"),
        ("rec", {"lost_reason": "x", "is_lost": False}, True, "operator", "the rule wins over is_lost, with a note"),
        ("rec", {"lost_reason": None, "is_lost": True}, True, None, "who dropped it is not said"),
        ("rec", {"is_lost": False}, False, None, "talked"),
        ("in", {"lost_reason": "Абонент разорвал соединение"}, True, "client", "the user's second rule"),
        ("in", {"lost_reason": "x", "direction": "out"}, True, "client", "an outgoing call dropped by the client"),
        ("in", {"calling_phone_number": "1"}, None, None, "nothing is said yet"),
    ],
)
def test_who_lost_the_call(
    endpoint: str, fields: dict[str, Any], is_lost: bool | None, lost_by: str | None, remark: str
) -> None:
    call = call_of(json.dumps({"call_session_id": 1, "direction": "in", **fields}).encode(), endpoint)

    assert (call.is_lost, call.lost_by) == (is_lost, lost_by), remark


@pytest.mark.parametrize(
    ("direction", "contact", "expected"),
    [
        ("in", None, "+79005550123"),
        ("out", None, "+74955550100"),
        ("in", "79005550999", "+79005550999"),
        (None, None, "+79005550123"),
    ],
)
def test_the_client_is_the_other_party(direction: str | None, contact: str | None, expected: str) -> None:
    fields = {
        "direction": direction,
        "contact_phone_number": contact,
        "calling_phone_number": "79005550123",
        "called_phone_number": "74955550100",
    }

    assert call_of(json.dumps(fields).encode(), "rec").client_number == expected


def test_a_missing_direction_follows_the_endpoint_with_a_note() -> None:
    for endpoint in ("in", "out"):
        call = call_of(b'{"call_session_id":1}', endpoint)
        assert call.direction == endpoint
        assert any("direction" in note for note in call.notes)
    assert call_of(b'{"call_session_id":1}', "any").direction is None


def test_a_direction_that_contradicts_the_endpoint_is_believed_and_noted() -> None:
    call = call_of(b'{"call_session_id":1,"direction":"out","extension_phone_number":"101"}', "in")

    assert (call.direction, call.kind) == ("out", "outgoing")
    assert any("direction" in note for note in call.notes)


def test_unknown_keys_are_kept() -> None:
    call = call_of('{"call_session_id":1,"Отдел":"опт","visitor_country":"RU","contact_info":{"x":{"y":1}}}'.encode())

    assert call.extra == {"Отдел": "опт", "visitor_country": "RU", "contact_info.x": {"y": 1}}


def test_a_recording_that_comes_later() -> None:
    call = call_of(b'{"call_session_id":1,"file_link":"https://a.test/1","file_duration":63}', "any")

    assert (call.kind, call.record_link, call.extra["file_duration"]) == ("recorded", "https://a.test/1", 63)


def test_nul_half_surrogates_and_huge_integers_can_be_stored() -> None:
    understood = read(b'{"call_session_id":1,"scenario_name":"a\\u0000b\\ud800","x":' + b"9" * 30 + b',"\\ud800":1}')

    assert understood.call is not None
    assert understood.call.scenario == "ab\ufffd"
    assert understood.call.extra["x"] == "9" * 30
    json.dumps(understood.call.extra).encode()


def test_one_bad_field_never_costs_the_event() -> None:
    call = call_of(
        b'{"call_session_id":{"a":1},"direction":7,"employee_ids":{"a":1},"is_lost":"maybe","calling_phone_number":[]}'
    )

    assert call.kind == "incoming"
    assert {"call_session_id.a", "direction", "is_lost"} <= call.extra.keys()


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("call_status", "answered", "answered"),
        ("is_internal", "false", False),
        ("is_transfer", True, True),
        ("operator_rating", "5", 5),
        ("call_record_duration", "51", 51),
        ("contact_group_ids", "[1,2]", [1, 2]),
        ("cpn_region_id", 77, 77),
        ("noanswered_employee_full_names", ["Иванов И. И."], ["Иванов И. И."]),
        ("finish_time_localized", "2 марта, 12:47", "2 марта, 12:47"),
        ("eq_utm_source", "yandex", "yandex"),
        ("visitor_email", "a@example.test", "a@example.test"),
        ("first_answered_employee_email", "b@example.test", "b@example.test"),
        ("tp_project", "Север", "Север"),
    ],
)
def test_variables_without_a_field_are_kept_and_are_enough_for_an_event(name: str, given: Any, expected: Any) -> None:
    call = call_of(json.dumps({name: given}, ensure_ascii=False).encode(), "any")

    assert call.extra == {name: expected}


def test_the_parameters_in_the_address_are_kept_beside_what_the_body_says() -> None:
    understood = parse(
        b'{"call_session_id":1,"shop":"south"}',
        is_query=False,
        endpoint="in",
        zone=ZoneInfo("Europe/Moscow"),
        beside=b"region=%D0%AE%D0%B3&shop=north&empty={{x}}&call_session_id=2",
    )

    assert understood.call is not None
    assert understood.call.session_id == "1"
    assert understood.call.extra == {"shop": "south", "region": "Юг", "empty": None, "call_session_id": "2"}


def test_parameters_that_cannot_be_read_never_cost_the_event() -> None:
    understood = parse(
        b'{"call_session_id":1}',
        is_query=False,
        endpoint="in",
        zone=ZoneInfo("Europe/Moscow"),
        beside="a=Ю".encode() + b"%98",
    )

    assert understood.call is not None
    assert understood.call.session_id == "1"
