"""Which calls are missed, and who counts as reached: stories of clients, told by UIS's notifications."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from relay.calls.missed_calls import MissedCall, missed_calls, waiting_clients
from relay.intake.service import parse
from relay.models import ToldCall
from relay.operations.missed_records import as_csv, became
from tests.stories import (
    Notification,
    answered,
    call_to,
    finished,
    incoming,
    lost,
    missed_call,
    not_taken,
    outgoing,
    taken_call,
)

ZONE = ZoneInfo("Europe/Moscow")
CLIENT, OTHER = "79005550123", "79005550777"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=ZONE)
NOW = NOON + timedelta(hours=2)


def after(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


def at(minute: float) -> str:
    return after(minute).strftime("%Y-%m-%d %H:%M:%S.000")


def told(session: int, minute: float, *notifications: Notification, source: str = "trade") -> ToldCall:
    calls = [parse(body, is_query=False, endpoint=endpoint, zone=ZONE).call for endpoint, body in notifications]
    events = tuple(call for call in calls if call is not None)
    assert len(events) == len(notifications)
    return ToldCall(source, str(session), (NOON + timedelta(minutes=minute)).astimezone(UTC), events)


def missed(session: int, minute: float, client: str | None = CLIENT, **more: Any) -> ToldCall:
    return told(session, minute, *missed_call(session, after(minute), client, **more))


def taken(session: int, minute: float, client: str = CLIENT, **more: Any) -> ToldCall:
    return told(session, minute, *taken_call(session, after(minute), client, **more))


def called(session: int, minute: float, client: str = CLIENT, **more: Any) -> ToldCall:
    return told(session, minute, *call_to(session, after(minute), client, **more))


def said(*calls: ToldCall) -> list[str]:
    return [f"{call.session}: {became(call, NOW)}" for call in missed_calls(calls)]


def test_nobody_has_called_back() -> None:
    assert said(missed(1, 0)) == ["1: has waited for 2 h"]


def test_somebody_called_back() -> None:
    [call] = missed_calls([missed(1, 0), called(2, 14)])

    assert became(call, NOW) == "called back after 14 min"
    assert call.reached is not None
    assert (call.reached.session, call.reached.employee, call.waits) == ("2", "102", False)


def test_another_employee_called_back_than_it_rang_at() -> None:
    [call] = missed_calls([missed(1, 0, extension="101"), called(2, 3, extension="105")])

    assert call.reached is not None
    assert call.reached.employee == "105"


def test_the_client_called_again_and_was_answered() -> None:
    assert said(missed(1, 0), taken(2, 5)) == ["1: called again after 5 min, and was answered"]


def test_he_called_again_in_vain() -> None:
    calls = missed(1, 0), missed(2, 5)
    assert said(*calls) == ["1: has waited for 2 h", "2: has waited for 1 h"]
    assert waiting_clients(missed_calls(calls)) == {"trade": [NOON]}  # one person to call back


def test_one_talk_is_for_all_his_calls_before_it() -> None:
    assert said(missed(1, 0), missed(2, 5), called(3, 10)) == [
        "1: called back after 10 min",
        "2: called back after 5 min",
    ]


def test_a_talk_before_the_call_does_not_count() -> None:
    assert said(taken(1, -30), called(2, -10), missed(3, 0)) == ["3: has waited for 2 h"]


def test_a_talk_that_went_on_while_he_called_on_another_line_counts() -> None:
    assert said(taken(1, -0.5), missed(2, 0, virtual_phone_number="74955550199")) == [
        "2: called again after 0 s, and was answered"
    ]


def test_calls_to_him_that_he_did_not_take_are_counted() -> None:
    assert said(missed(1, 0), called(2, 5, talks=False), called(3, 9, talks=False)) == [
        "1: has waited for 2 h; called 2 times in vain"
    ]


def test_a_talk_that_goes_on_reaches_him() -> None:
    ringing = {"start_time": at(7), "calling_phone_number": CLIENT}
    goes_on = told(2, 7, incoming(2, **ringing), answered(2, **ringing))

    assert said(missed(1, 0), goes_on) == ["1: called again after 7 min, and was answered"]


def test_a_call_that_rings_reaches_nobody_yet() -> None:
    ringing = told(2, 7, incoming(2, start_time=at(7), calling_phone_number=CLIENT))

    assert said(missed(1, 0), ringing) == ["1: has waited for 2 h"]


@pytest.mark.parametrize("client", ["101", "0101"])
def test_a_colleague_is_no_client(client: str) -> None:
    assert said(missed(1, 0, client)) == []


def test_a_withheld_number_is_listed_but_waits_for_nobody() -> None:
    calls = missed(1, 0, None), missed(2, 1, "anonymous")

    assert said(*calls) == ["1: withheld number: nobody can call back", "2: withheld number: nobody can call back"]
    assert waiting_clients(missed_calls(calls)) == {}


def test_another_client_and_another_firm_do_not_count() -> None:
    elsewhere = ToldCall("shop", "3", NOON, called(3, 6).events)

    assert said(missed(1, 0), called(2, 5, OTHER), elsewhere) == ["1: has waited for 2 h"]


def test_a_lost_call_with_a_talk_in_its_end_is_none() -> None:
    own = {"start_time": at(0), "calling_phone_number": CLIENT}
    both = told(1, 0, incoming(1, **own), answered(1, **own), lost(1, **own), finished(1, **own))

    assert said(both) == []


def test_a_duration_out_of_this_world_spoils_nothing() -> None:
    odd = missed(1, 0)
    [*others, end] = odd.events
    endless = replace(odd, events=(*others, replace(end, total_seconds=2**62, talk_seconds=2**62, is_lost=None)))

    assert said(endless, missed(2, 1)) != []


def test_a_talk_whose_end_was_never_told_hides_no_later_call() -> None:
    untold = {"start_time": at(-55), "calling_phone_number": CLIENT}
    endless = told(1, -55, incoming(1, **untold), answered(1, **untold))

    assert said(endless, missed(2, 0)) == ["2: has waited for 2 h"]


def test_a_colleague_who_was_asked_in_between_does_not_make_it_an_outgoing_call() -> None:
    own = {"start_time": at(0), "calling_phone_number": CLIENT}
    asked = {"start_time": at(0), "direction": "out", "calling_phone_number": "101", "called_phone_number": "102"}
    call = told(1, 0, outgoing(1, **asked), incoming(1, **own), lost(1, **own), not_taken(1, **own))

    assert [missed.session for missed in missed_calls([call])] == ["1"]


def test_an_outgoing_call_whose_end_tells_no_direction_is_not_missed() -> None:
    own = {"start_time": at(0), "called_phone_number": CLIENT}
    dropped = json.loads(lost(1, start_time=at(0))[1])
    del dropped["direction"]

    assert said(told(1, 0, outgoing(1, **own), ("in", json.dumps(dropped).encode()))) == []


def test_a_missed_call_of_which_a_colleagues_leg_was_told_first_is_missed() -> None:
    leg = outgoing(1, start_time=at(0), called_phone_number="102", calling_phone_number=CLIENT)

    assert said(told(1, 0, leg, not_taken(1, start_time=at(0)))) == ["1: has waited for 2 h"]


def test_an_end_that_says_nothing_of_a_talk_is_no_missed_call() -> None:
    end = {"call_session_id": 1, "direction": "in", "calling_phone_number": CLIENT, "start_time": at(0)}

    assert said(told(1, 0, incoming(1, start_time=at(0)), ("rec", json.dumps(end).encode()))) == []


def test_a_call_in_vain_that_begins_with_the_missed_one_is_no_try_since() -> None:
    [call] = missed_calls([taken(1, -0.5), missed(2, 0), called(3, 0, talks=False)])

    assert call.tries == 0


def test_one_client_who_is_written_in_two_ways_waits_once() -> None:
    assert waiting_clients(missed_calls([missed(1, 0), missed(2, 5, "9005550123")])) == {"trade": [NOON]}


def test_uis_own_call_back_in_vain_is_a_try() -> None:
    own = {"call_source": "auto_back_call_by_lost_call"}

    assert said(missed(1, 0), missed(2, 5, **own)) == ["1: has waited for 2 h; called 1 time in vain"]


@pytest.mark.parametrize(("called_as", "calls_as"), [("9005550123", CLIENT), ("00375291234567", "375291234567")])
def test_a_client_is_one_however_his_country_is_written(called_as: str, calls_as: str) -> None:
    assert said(missed(1, 0, called_as), taken(2, 5, calls_as)) == ["1: called again after 5 min, and was answered"]


def test_many_calls_of_one_client_are_no_many_times_many() -> None:
    calls = [call for each in range(1500) for call in (missed(2 * each, 2 * each), taken(2 * each + 1, 2 * each + 0.5))]
    found = missed_calls(calls)

    assert len(found) == 1500
    assert {call.reached.session for call in found if call.reached} == {str(2 * each + 1) for each in range(1500)}


def test_what_is_told_in_another_order_is_the_same() -> None:
    calls = [missed(1, 0), called(2, 5, talks=False), missed(3, 7), called(4, 10)]

    assert missed_calls(reversed(calls)) == missed_calls(calls)


@pytest.mark.parametrize("wrong", ["9999-12-30 12:00:00.000", "0001-01-01 00:00:00.000"])
def test_a_call_whose_clock_was_wrong_began_when_it_was_told(wrong: str) -> None:
    [call] = missed_calls([missed(1, 30, start_time=wrong)])

    assert call.began_at == after(30)


def test_the_table_opens_in_a_spreadsheet_and_runs_nothing() -> None:
    calls = [
        *missed_calls([missed(1, 0), called(2, 14)]),
        MissedCall(source="trade", session="9", began_at=NOON, client=None, line=None, employee='=cmd|" /C calc"!A0'),
        MissedCall(source="trade", session="9", began_at=NOON, client="+79005550123", line=None, employee="+A1"),
        MissedCall(source="trade", session="9", began_at=NOON, client=None, line=None, employee="a,=1+1"),
    ]

    text = as_csv(calls, lambda _: ZONE, NOW)

    heads = ["Began", "Client", "Line", "Employee", "What became of it", "Reached at", "Reached by", "Source", "Call"]
    heads.append("Time zone")
    assert text.startswith("\ufeff" + ";".join(f'"{head}"' for head in heads) + "\r\n")
    assert '"2026-03-02 12:00:00";"+79005550123";"+74955550100";' in text
    assert "'=cmd" in text
    assert ';"+79005550123";"";"\'+A1";' in text
    assert "'a,=1+1" in text
