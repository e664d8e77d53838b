"""A call of UIS's report as the notification that UIS would have sent."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.calls.summary import CallSummary
from relay.config import Report, Secret
from relay.errors import MalformedEvent
from relay.reports.report_call import finished, read_call, read_time, windows
from relay.targets.http_client import Response
from relay.uis_api.data_api import DATA_API, least_interval
from relay.uis_api.json_rpc import ApiError, Limits, read_answer, read_limits
from tests.calls import MOSCOW, call_of

NOW = datetime(2026, 3, 2, 9, 45, tzinfo=ZoneInfo("UTC"))
ROW: dict[str, Any] = {
    "id": 187020303,
    "start_time": "2026-03-02 11:03:07",
    "finish_time": "2026-03-02 11:04:30",
    "direction": "in",
    "finish_reason": "operator_not_responsible",
    "is_lost": True,
    "virtual_phone_number": "74955550100",
    "contact_phone_number": "79005550123",
    "total_duration": 83,
    "wait_duration": 83,
    "operator_phone_number": None,
}


def brought(legs: list[dict[str, Any]] | None = None, **changes: Any) -> Any:
    call = read_call({**ROW, **changes}, MOSCOW)
    assert call is not None
    return call_of(finished(call, legs or [], {"25": "101"}), "rec")


def test_a_call_lost_by_an_employee_has_uis_own_words() -> None:
    call = brought()
    assert (call.lost_by, call.lost_reason) == ("operator", "Сотрудник не отвечает")
    assert (call.client_number, call.total_seconds, call.talk_seconds) == ("+79005550123", 83, 0)


@pytest.mark.parametrize("talked", [0, 20, 60])
def test_how_long_they_talked_is_the_reports_own_word(talked: int) -> None:
    call = brought(talk_duration=talked, wait_duration=None)

    assert (call.kind, call.talk_seconds) == ("finished", talked)


def test_a_call_without_a_talk_that_uis_does_not_call_lost_is_not_missed() -> None:
    call = brought(talk_duration=0, is_lost=False, finish_reason="fax_received")

    assert CallSummary((call,)).is_missed is False


def test_a_call_that_the_client_gave_up_has_none() -> None:
    call = brought(finish_reason="subscriber_disconnects")
    assert (call.is_lost, call.lost_reason) == (True, None)


def test_the_employee_is_the_last_who_talked() -> None:
    legs = [
        {"start_time": "3", "is_operator": True, "is_talked": False, "employee_id": 26, "employee_phone_number": "2"},
        {"start_time": "2", "is_operator": True, "is_talked": True, "employee_id": 25, "employee_phone_number": "1"},
        {"start_time": "1", "is_operator": False, "calling_phone_number": "79005550123", "called_phone_number": "9"},
    ]
    call = brought(legs)
    assert (call.extension, call.employee_number, call.caller, call.callee) == ("101", "1", "+79005550123", "9")


def test_an_outgoing_call_has_the_client_at_its_end() -> None:
    call = brought(
        [{"start_time": "1", "calling_phone_number": "74955550100", "called_phone_number": "sip"}], direction="out"
    )
    assert (call.caller, call.callee, call.client_number) == ("+74955550100", "+79005550123", "+79005550123")


@given(
    st.dictionaries(
        st.sampled_from([*ROW, "employees", "scenario_name", "wav_call_records"]),
        st.none() | st.integers() | st.text() | st.booleans() | st.lists(st.integers()),
    )
)
def test_whatever_a_row_holds_is_read_or_left_alone(changes: dict[str, Any]) -> None:
    with contextlib.suppress(MalformedEvent):
        call = read_call({**ROW, **changes}, MOSCOW)
        if call is not None:
            json.loads(finished(call, [changes], {}))


@pytest.mark.parametrize("row", [{**ROW, "finish_time": None}, {}])
def test_what_goes_on_is_no_call_yet(row: dict[str, Any]) -> None:
    assert read_call(row, MOSCOW) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": None},
        {"id": True},
        {"id": "7\0"},
        {"id": ""},
        {"id": " "},
        {"id": "9" * 5000},
        {"start_time": "0001-01-01 00:00:00+03:00"},
        {"finish_time": "0001-01-01 00:00:00+03:00"},
        {"start_time": "yesterday"},
    ],
)
def test_a_row_without_a_session_or_times_cannot_be_read(wrong: dict[str, Any]) -> None:
    with pytest.raises(MalformedEvent):
        read_call({**ROW, **wrong}, MOSCOW)


@pytest.mark.parametrize(("text", "hour"), [("2026-08-22 11:03:07", 8), ("2026-08-22T11:03:07Z", 11)])
def test_a_time_is_the_accounts_unless_it_has_a_zone(text: str, hour: int) -> None:
    at = read_time(text, MOSCOW)

    assert at is not None
    assert at.astimezone(UTC).hour == hour


def test_a_long_span_is_split() -> None:
    parts = list(windows(NOW, NOW + timedelta(days=200), timedelta(days=89)))
    assert [(last - first).days for first, last in parts] == [89, 89, 22]
    assert parts[0][0] == NOW and parts[-1][1] == NOW + timedelta(days=200)


def test_a_short_span_is_one() -> None:
    assert list(windows(NOW, NOW + timedelta(days=89), timedelta(days=89))) == [(NOW, NOW + timedelta(days=89))]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"result":', b'{"result":null}', b'{"error":"x"}'])
@pytest.mark.parametrize(("status", "state"), [(200, "later"), (429, "later"), (502, "later"), (403, "misconfigured")])
def test_what_is_no_answer_of_the_data_api(body: bytes, status: int, state: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_answer(Response(status, {}, body), NOW, DATA_API)
    assert caught.value.state == state


def test_an_error_is_read_whatever_the_status() -> None:
    body = json.dumps({"error": {"code": -32001, "data": {"mnemonic": "access_token_blocked", "value": "the-key"}}})
    for status in (200, 400, 403):
        with pytest.raises(ApiError) as caught:
            read_answer(Response(status, {}, body.encode()), NOW, DATA_API)
        assert caught.value.state == "misconfigured" and "the-key" not in str(caught.value)


@pytest.mark.parametrize("limits", [None, [], {}, {"minute_remaining": "many"}, {"minute_remaining": 1}])
def test_limits_that_cannot_be_read_are_none(limits: Any) -> None:
    assert read_limits(limits, NOW) is None


@pytest.mark.parametrize(
    ("remaining", "sources", "apart"),
    [(1000, 1, 4 * 3600 / 800), (1000, 4, 4 * 4 * 3600 / 800), (600, 2, 2 * 4 * 3600 / 400), (200, 1, 4 * 3600)],
)
def test_runs_are_as_far_apart_as_the_days_requests_ask(remaining: int, sources: int, apart: float) -> None:
    limits = Limits(10, NOW, remaining, NOW + timedelta(hours=4), 1000)
    assert least_interval(limits, NOW, sources=sources, requests=1).total_seconds() == pytest.approx(apart, abs=1)


def test_the_brands_have_their_addresses() -> None:
    key = Secret("k")
    assert Report(key=key).address == "https://dataapi.uiscom.ru/v2.0"
    assert Report(key=key, preset="novofon").address == "https://dataapi-jsonrpc.novofon.ru/v2.0"
    assert Report(key=key, url="http://127.0.0.1/v2.0").address == "http://127.0.0.1/v2.0"
