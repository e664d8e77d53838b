"""A click places one call at most, whatever happens meanwhile; over real sockets."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import requests
from click.testing import CliRunner
from flask import Flask
from msgspec.structs import replace
from werkzeug.test import TestResponse

from relay.cli import main
from relay.errors import StoreBusy
from relay.models import Click, Kind
from relay.observability.logging import redact_fields
from relay.operations import readiness
from relay.operations.troubles import troubles
from relay.sandbox.server import Sandbox
from relay.sandbox.uis_account import UisAccount
from relay.sandbox.uis_call_api import CALL_ERRORS
from relay.uis_api.call_api import CallApi
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import TRADE, SteppedLane, post
from tests.stories import outgoing
from tests.waiting import eventually

TOKEN = "click-to-call-secret"
PORTAL_TOKEN = "application-token-of-the-portal"
PHONE = "+7 900 555-01-23"
CALL = "/trade/hs/UIScom/call"
EVENTS = "/trade/bitrix24/events"
EMPLOYEES = 'employees = { "101" = 323409, "102" = 323410 }'


def calls_table(sandbox: Sandbox, *lines: str) -> str:
    rows = [f'url = "{sandbox.call_api_url}"', 'key = "sandbox-key"', f'token = "{TOKEN}"', 'line = "74955550100"']
    return "\n".join(["[sources.trade.calls]", *rows, *lines])


@pytest.fixture
def uis(clock: FakeClock) -> Iterator[Sandbox]:
    sandbox = Sandbox(uis=UisAccount(clock=clock)).start()
    yield sandbox
    sandbox.close()


@pytest.fixture
def clicking(uis: Sandbox, make_relay: Callable[..., Relay]) -> Callable[..., Relay]:
    def make(*lines: str, **more: str) -> Relay:
        return make_relay(source=calls_table(uis, *(lines or [EMPLOYEES])), **more)

    return make


def click(relay: Relay, **more: Any) -> TestResponse:
    return click_in(create_app(relay), **more)


def click_in(app: Flask, **more: Any) -> TestResponse:
    body = {"employee": "101", "phone": PHONE, **more}
    return app.test_client().post(CALL, data=json.dumps(body), headers={"X-Relay-Token": TOKEN})


def placed(sandbox: Sandbox) -> list[dict[str, Any]]:
    return sandbox.uis.state()["placed"]


def clicks_in(logged: list[Any]) -> list[str]:
    return [line["event"] for line in logged if line["event"].startswith("click.")]


def stored(relay: Relay) -> list[tuple[str, str | None]]:
    return [(each.state, each.session) for each in relay.store.clicks.recent(50)]


def test_a_click_rings_the_employee_and_then_the_client(
    uis: Sandbox, clicking: Callable[..., Relay], logged: list[Any]
) -> None:
    relay = clicking()
    answer = click(relay, external_id="order-7")

    [call] = placed(uis)
    assert (answer.status_code, answer.json) == (202, {"call_session_id": call["call_session_id"]})
    assert (call["first_call"], call["employee"], call["contact"]) == ("employee", {"id": 323409}, "79005550123")
    assert (call["direction"], call["virtual_phone_number"], call["external_id"]) == ("out", "74955550100", "order-7")
    assert stored(relay) == [("started", str(call["call_session_id"]))]
    assert clicks_in(logged) == ["click.started"]
    assert "0123" not in json.dumps(logged) and "555-01" not in json.dumps(logged)


def test_the_log_hides_a_number_in_an_external_id(clicking: Callable[..., Relay], logged: list[Any]) -> None:
    relay = clicking()
    for external_id in ("order-79005550123", "заказ_8 (900) 555-01-23", "lead79005550123"):
        for _ in range(2):
            assert click(relay, external_id=external_id).status_code == 202

    lines = [json.dumps(redact_fields(None, "", dict(line)), ensure_ascii=False) for line in logged]
    assert clicks_in(logged) == ["click.started", "click.repeated"] * 3
    assert not [line for line in lines if "5550" in line or "555-01" in line]


def test_a_notification_is_taken_though_its_click_cannot_be_stored(
    clicking: Callable[..., Relay], monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    relay = clicking()
    begins = json.loads(outgoing(7)[1])

    def fails(*_: object) -> bool:
        raise StoreBusy("the store is busy")

    monkeypatch.setattr(relay.store.clicks, "notified", fails)
    body = json.dumps({**begins, "external_id": "order-7"}).encode()
    receipt = relay.intake.accept(relay.settings.sources["trade"], "out", body, is_query=False)

    assert receipt.status == "accepted"
    assert clicks_in(logged) == ["click.not_recorded"]


def test_the_employees_are_asked_with_the_report_s_key_and_another_line_is_taken(
    uis: Sandbox, make_relay: Callable[..., Relay]
) -> None:
    report = f'[sources.trade.report]\nurl = "{uis.data_api_url}"\nkey = "sandbox-key"'
    relay = make_relay(source=f"{calls_table(uis)}\n{report}")
    for _ in range(2):
        assert click(relay, employee=102, line="+7 495 555-01-99").status_code == 202
    assert click(relay, employee="999").json["error"] == "employee_unknown"

    assert [call["employee"]["id"] for call in placed(uis)] == [323410, 323410]
    assert placed(uis)[0]["virtual_phone_number"] == "74955550199"
    assert uis.uis.state()["requests"].count("get.employees") == 1
    assert relay.reports.reconcilers[TRADE].account.limits is not None, "the report knows what the click has used"


def test_twenty_clicks_of_one_id_place_one_call(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay, together = clicking(EMPLOYEES, "rate = 100"), threading.Barrier(20)
    app = create_app(relay)

    def one(_: int) -> int:
        together.wait(10)
        return click_in(app, external_id="order-7").status_code

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))

    assert len(placed(uis)) == 1
    assert 202 in answers and set(answers) <= {202, 503, 504}  # begun; too many at once; not answered yet
    assert [state for state, _ in stored(relay)] == ["started"]


def test_twenty_different_clicks_place_each_its_own(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    app = create_app(clicking(EMPLOYEES, "rate = 100"))
    with ThreadPoolExecutor(5) as pool:
        answers = list(pool.map(lambda number: click_in(app, external_id=f"order-{number}"), range(20)))

    assert [answer.status_code for answer in answers] == [202] * 20
    assert sorted(call["external_id"] for call in placed(uis)) == sorted(f"order-{number}" for number in range(20))
    sessions = {call["external_id"]: call["call_session_id"] for call in placed(uis)}
    assert [answer.json["call_session_id"] for answer in answers] == [sessions[f"order-{n}"] for n in range(20)]


def test_a_repeat_is_answered_with_what_came_of_the_click(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay = clicking()
    for name in ("order-7", 0):
        first = click(relay, external_id=name)
        assert click(relay, external_id=name).json == first.json
    uis.uis.fail("contact_in_blacklist", 1)
    refused = click(relay, external_id="order-8")
    again = click(relay, external_id="order-8")

    assert (refused.status_code, again.status_code) == (422, 422)
    assert again.json == refused.json
    assert len(placed(uis)) == 2


LOST = ["reset_after_writing", "hang_after_writing", "drip_headers_after_writing", "bad_gateway_after_writing"]


@pytest.mark.parametrize("mode", LOST)
def test_a_call_whose_answer_is_lost_is_found_among_those_that_go_on(
    mode: str, uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    relay = clicking(EMPLOYEES, 'timeout = "300ms"', 'connect_timeout = "300ms"')
    click(relay, external_id="another")
    uis.uis.fail(mode, 1)
    answers = [click(relay, external_id="order-7") for _ in range(2)]

    session = placed(uis)[1]["call_session_id"]
    assert [answer.json for answer in answers] == [{"call_session_id": session}] * 2
    assert [call["external_id"] for call in placed(uis)] == ["another", "order-7"]


def test_a_call_of_another_program_with_the_same_id_is_not_taken_for_it(
    uis: Sandbox, clicking: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = clicking(EMPLOYEES)
    calls = relay.settings.sources["trade"].calls
    assert calls is not None
    with closing(CallApi(calls, clock)) as api:
        api.start(employee=323409, contact="79005550777", line="74955550100", external_id="order-7")
    uis.uis.fail("reset", 1)  # nothing is placed for the click

    assert click(relay, external_id="order-7").status_code == 504
    assert stored(relay) == [("unclear", None)]


@pytest.mark.parametrize("mode", ["reset", "internal_error", *LOST])
def test_a_lost_answer_is_unclear_and_never_asked_again(
    mode: str, uis: Sandbox, clicking: Callable[..., Relay], logged: list[Any]
) -> None:
    relay = clicking(EMPLOYEES, 'timeout = "300ms"', 'connect_timeout = "300ms"')
    uis.uis.fail(mode, 2)  # the look whether the call goes on fails too
    answers = [click(relay, external_id="order-7") for _ in range(3)]

    assert [answer.status_code for answer in answers] == [504] * 3
    assert "посмотрите" in answers[0].json["message"]
    # UIS may place it after the relay has given up waiting for the answer
    eventually(lambda: len(placed(uis)) == ("after_writing" in mode), "it was placed, or never will be")
    assert stored(relay) == [("unclear", None)]
    assert clicks_in(logged) == ["click.unclear", "click.repeated", "click.repeated"]


def test_a_notification_tells_that_the_call_of_an_unclear_click_has_begun(
    uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    relay = clicking()
    uis.uis.fail("reset_after_writing", 2)
    assert click(relay, external_id="order-7").status_code == 504
    [call] = placed(uis)
    session = call["call_session_id"]
    post(relay, rendered("outgoing", call_session_id=session, external_id="order-7"), "out")

    assert stored(relay) == [("started", str(session))]
    assert click(relay, external_id="order-7").json == {"call_session_id": session}
    assert len(placed(uis)) == 1


@pytest.mark.parametrize(
    ("mode", "status"),
    [
        ("access_token_invalid", 503),
        ("ip_not_whitelisted", 503),
        ("forbidden", 503),
        ("component_disabled", 503),
        ("virtual_phone_number_not_found", 503),
        ("limit_exceeded", 429),
        ("employee_not_found", 422),
        ("no_active_phone_number", 422),
        ("contact_in_blacklist", 422),
    ],
)
def test_what_uis_refuses_is_said_with_what_to_do(
    mode: str, status: int, uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    relay = clicking()
    uis.uis.fail(mode, 1)
    answer = click(relay)

    assert (answer.status_code, answer.json["error"]) == (status, mode)
    assert "sandbox-key" not in answer.text and len(answer.json["message"]) > 20
    assert placed(uis) == []


def test_nothing_was_called_where_uis_cannot_be_reached(
    unused_port: int, uis: Sandbox, make_relay: Callable[..., Relay]
) -> None:
    table = calls_table(uis, EMPLOYEES).replace(uis.call_api_url, f"http://127.0.0.1:{unused_port}/v4.0")
    answer = click(make_relay(source=table))
    assert (answer.status_code, answer.json["error"]) == (503, "later")


@pytest.mark.parametrize(
    ("lines", "body", "error"),
    [
        ([], {"phone": "+1 212 555 0123"}, "phone_not_allowed"),
        (['allowed = ["7495*"]'], {}, "phone_not_allowed"),
        ([], {"phone": "9005550123"}, "phone_invalid"),
        ([], {"phone": "1" * 90}, "phone_invalid"),
        ([], {"line": "the first"}, "line_invalid"),
        ([], {"employee": "103"}, "employee_unknown"),
    ],
)
def test_what_may_not_be_called_is_not_asked_for(
    lines: list[str], body: dict[str, Any], error: str, uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    answer = click(clicking(EMPLOYEES, *lines), **body)
    assert (answer.status_code, answer.json["error"]) == (422, error)
    assert uis.uis.state()["requests"] == []


def test_a_pattern_allows_what_it_says(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay = clicking(EMPLOYEES, 'allowed = ["7900555XXXX", "1212*"]')
    assert click(relay).status_code == click(relay, phone="+1 212 555 0123").status_code == 202
    assert click(relay, phone="+7 495 555-01-01").status_code == 422
    assert len(placed(uis)) == 2


def test_a_click_that_has_waited_for_too_long_places_no_call(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    client = create_app(clicking()).test_client()
    body = json.dumps({"employee": "101", "phone": PHONE})
    answers = [
        client.post(f"{CALL}?token={TOKEN}", data=body, environ_overrides={"relay.waited_s": waited})
        for waited in (31.0, 29.0)
    ]
    assert [answer.status_code for answer in answers] == [422, 202]
    assert answers[0].json["error"] == "too_old"
    assert len(placed(uis)) == 1


def test_more_than_the_rate_is_refused_until_a_minute_has_passed(
    uis: Sandbox, clicking: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = clicking(EMPLOYEES, "rate = 2")
    assert [click(relay).status_code for _ in range(3)] == [202, 202, 429]
    clock.forward(seconds=61)
    assert click(relay).status_code == 202
    assert len(placed(uis)) == len(stored(relay)) == 3

    relay.rejections.flush()
    [trouble] = [each for each in troubles(relay, []) if each.kind == "clicks"]
    assert trouble.sentence == "trade: 1 click was refused lately: there were more than `rate` in a minute"
    assert "raise `rate`" in trouble.advice


def test_a_source_whose_uis_hangs_leaves_room_for_the_clicks_of_the_others(
    uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    of_shop = calls_table(uis, EMPLOYEES).replace("trade", "shop")
    shop = f'[sources.shop]\ntoken = "another-secret-of-a-shop"\ntargets = ["onec"]\n{of_shop}'
    relay = clicking(EMPLOYEES, "rate = 100", 'timeout = "2s"', more=shop)
    app, body = create_app(relay), json.dumps({"employee": "101", "phone": PHONE})

    def click_at(source: str) -> int:
        return app.test_client().post(f"/{source}/hs/UIScom/call?token={TOKEN}", data=body).status_code

    uis.uis.fail("hang_after_writing", 4)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(click_at, "trade") for _ in range(4)]
        eventually(lambda: len(placed(uis)) == 4, "four clicks wait for UIS")

        assert (click_at("trade"), click_at("shop")) == (503, 202)
    assert [each.result() for each in waiting] == [202] * 4, "they are found among those that go on"
    assert click_at("trade") == 202


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"employee":"101"}', b'{"employee":"","phone":"7"}', b'{"employee":[],"phone":"7"}'],
)
def test_a_body_that_is_no_click_is_refused(body: bytes, uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay = clicking()
    client = create_app(relay).test_client()
    assert client.post(f"{CALL}?token={TOKEN}", data=body).status_code == 400
    assert (
        client.post(f"{CALL}?token={TOKEN}", data=json.dumps({"employee": "1" * 101, "phone": "7"})).status_code == 400
    )
    assert stored(relay) == [] and placed(uis) == []


def test_the_secret_is_its_own(uis: Sandbox, clicking: Callable[..., Relay], relay: Relay) -> None:
    client = create_app(clicking()).test_client()
    body = json.dumps({"employee": "101", "phone": PHONE})
    for token in ("", "correct-horse", "wrong"):  # the second is the source's
        answer = client.post(f"{CALL}?token={token}", data=body)
        assert (answer.status_code, answer.json["error"]) == (401, "unauthorized")
    assert client.get(f"{CALL}?token={TOKEN}").status_code == 405
    assert client.post(CALL, data=body, auth=("1c", TOKEN)).status_code == 202
    assert client.post(CALL, data=body, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 202
    assert len(placed(uis)) == 2
    assert create_app(relay).test_client().post(CALL, data=body).status_code == 404, "calls are off"


def test_the_message_is_in_the_language_that_is_asked_for(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    client = create_app(clicking()).test_client()
    body = json.dumps({"employee": "101", "phone": "911"})
    for language, word in (("en", "country"), ("ru", "кодом"), ("", "кодом")):
        answer = client.post(f"{CALL}?token={TOKEN}", data=body, headers={"Accept-Language": language})
        assert word in answer.json["message"]


# --- Bitrix24


@pytest.fixture
def portal(systems: Sandbox, make_crm: Callable[..., Relay]) -> Relay:
    return make_crm(amo=calls_table(systems, EMPLOYEES, f'application_token = "{PORTAL_TOKEN}"'))


def registered(systems: Sandbox, phone: str = "79005550123", user: int = 12) -> str:
    """What Bitrix24 does itself when a user clicks: it registers the call."""
    params = {"USER_ID": user, "PHONE_NUMBER": phone, "TYPE": 1}
    url = f"{systems.bitrix24_webhook}telephony.externalcall.register.json"
    return str(requests.post(url, json=params, timeout=10).json()["result"]["CALL_ID"])


def event(relay: Relay, clock: FakeClock, call_id: str, **more: str) -> int:
    fields = {
        "event": "ONEXTERNALCALLSTART",
        "ts": str(int(clock().timestamp())),
        "auth[application_token]": PORTAL_TOKEN,
        "data[CALL_ID]": call_id,
        "data[USER_ID]": "12",
        "data[PHONE_NUMBER]": PHONE,
        **more,
    }
    return create_app(relay).test_client().post(EVENTS, data=urlencode(fields)).status_code


def ended(relay: Relay) -> None:
    """Wait for the threads that place calls."""
    eventually(lambda: not any(thread.name == "click" for thread in threading.enumerate()), "the call was placed")


def lane_tells(relay: Relay, clock: FakeClock, session: int, external_id: str | None = None) -> None:
    lane = SteppedLane(relay, "b24", clock)
    kinds: list[tuple[Kind, str]] = [("outgoing", "out"), ("finished", "rec")]
    for kind, endpoint in kinds:
        more = {"direction": "out", "called_phone_number": "79005550123", "calling_phone_number": "74955550100"}
        post(relay, rendered(kind, call_session_id=session, external_id=external_id, **more), endpoint)
        clock.forward(seconds=1)
        lane.deliver()
    lane.close()


def test_a_click_in_bitrix24_is_one_call_there_too(systems: Sandbox, portal: Relay, clock: FakeClock) -> None:
    call_id = registered(systems)
    assert event(portal, clock, call_id, **{"data[LINE_NUMBER]": "the main line"}) == 200
    ended(portal)
    [call] = placed(systems)
    assert (call["employee"], call["external_id"]) == ({"id": 323409}, call_id)
    lane_tells(portal, clock, call["call_session_id"])

    state = systems.bitrix24.state()
    assert state["registered"] == 1, "only by Bitrix24 itself"
    assert [row["CALL_ID"] for row in state["statistics"]] == [call_id]


def test_a_notification_that_is_quicker_than_the_answer_finds_the_call(
    systems: Sandbox, portal: Relay, clock: FakeClock
) -> None:
    call_id = registered(systems)
    systems.uis.fail("reset_after_writing", 2)
    event(portal, clock, call_id)
    ended(portal)
    assert stored(portal) == [("unclear", None)]
    [call] = placed(systems)
    lane_tells(portal, clock, call["call_session_id"], external_id=call_id)

    assert systems.bitrix24.state()["registered"] == 1
    assert [row["CALL_ID"] for row in systems.bitrix24.state()["statistics"]] == [call_id]


@pytest.mark.parametrize("odd", [{"data[CALL_ID]": "a\x00b"}, {"data[PHONE_NUMBER]": "7900\x005550123"}])
def test_an_event_with_what_no_database_takes_is_rejected(
    systems: Sandbox, portal: Relay, clock: FakeClock, odd: dict[str, str]
) -> None:
    assert event(portal, clock, registered(systems), **odd) == 400
    assert placed(systems) == []


def test_a_repeated_event_places_no_second_call_however_late_it_comes(
    systems: Sandbox, portal: Relay, clock: FakeClock
) -> None:
    call_id, ts = registered(systems), str(int(clock().timestamp()))
    for _ in range(2):
        assert [event(portal, clock, call_id, ts=ts) for _ in range(3)] == [200] * 3
        ended(portal)
        clock.forward(minutes=5)

    assert len(placed(systems)) == 1
    assert systems.bitrix24.state()["statistics"] == [], "and the call goes on"


@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"ts": "1772444000"}, "too_old"),
        ({"data[USER_ID]": "99"}, "employee_unknown"),
        ({"data[PHONE_NUMBER]": "+1 212 555 0123"}, "phone_not_allowed"),
    ],
)
def test_a_call_that_was_not_placed_is_finished_in_bitrix24(
    more: dict[str, str], error: str, systems: Sandbox, portal: Relay, clock: FakeClock, logged: list[Any]
) -> None:
    call_id = registered(systems)
    assert event(portal, clock, call_id, **more) == 200
    ended(portal)

    assert placed(systems) == []
    assert [line["error"] for line in logged if line["event"] == "click.refused"] == [error]
    [row] = systems.bitrix24.state()["statistics"]
    assert (row["CALL_ID"], row["DURATION"]) == (call_id, 0)
    assert any("а" <= letter <= "я" for letter in row["FAILED_REASON"])


def test_an_unclear_call_is_not_finished_in_bitrix24(systems: Sandbox, portal: Relay, clock: FakeClock) -> None:
    call_id = registered(systems)
    systems.uis.fail("reset", 1)
    event(portal, clock, call_id)
    ended(portal)
    assert systems.bitrix24.state()["statistics"] == []


def test_a_call_back_rings_the_default_user(systems: Sandbox, make_crm: Callable[..., Relay], clock: FakeClock) -> None:
    calls = calls_table(systems, EMPLOYEES, f'application_token = "{PORTAL_TOKEN}"')
    relay = make_crm(amo=calls, b24='employees = { "323410" = 1 }')
    ts = str(int(clock().timestamp()))
    for _ in range(2):
        more = {"event": "OnExternalCallBackStart", "data[CALL_ID]": "", "data[USER_ID]": "", "ts": ts}
        assert event(relay, clock, "", **more) == 200
        ended(relay)

    assert [call["employee"]["id"] for call in placed(systems)] == [323410]


def test_whose_extension_it_is_bitrix24_is_asked(
    systems: Sandbox, make_crm: Callable[..., Relay], clock: FakeClock
) -> None:
    calls = calls_table(systems, EMPLOYEES, f'application_token = "{PORTAL_TOKEN}"')
    relay = make_crm(amo=calls, b24_users="")
    event(relay, clock, registered(systems, user=13), **{"data[USER_ID]": "13"})
    ended(relay)
    assert [call["employee"]["id"] for call in placed(systems)] == [323410]


def test_an_event_without_the_application_s_token_is_refused(systems: Sandbox, portal: Relay, clock: FakeClock) -> None:
    for token in ("", "wrong", TOKEN):
        assert event(portal, clock, "externalCall.1", **{"auth[application_token]": token}) == 401
    assert event(portal, clock, "externalCall.1", event="ONCRMLEADADD") == 200
    ended(portal)
    assert stored(portal) == []


# --- around it


@pytest.mark.parametrize(
    ("mode", "name", "words"),
    [
        ("ok", "delivered", "first click"),
        ("component_disabled", "delivered", "cannot be listed"),
        ("forbidden", "misconfigured", "Доступ к Call API"),
        ("access_token_invalid", "misconfigured", "key"),
        ("ip_not_whitelisted", "misconfigured", "203.0.113.9"),
    ],
)
def test_check_asks_whether_the_key_is_good(
    mode: str, name: str, words: str, uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    relay = clicking()
    uis.uis.fail(mode, 1)
    [(_, outcome)] = readiness.ask_calls(relay.settings, relay.clock)
    assert outcome.name == name and words in outcome.reason
    assert placed(uis) == []


def test_check_online_names_the_calls(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay = clicking()
    said = CliRunner().invoke(main, ["check", "--online"], env={"RELAY_CONFIG": str(relay.settings.file)}).output
    assert "trade, calls by a click: ready" in said


def test_clicks_are_kept_as_long_as_what_was_delivered_and_forgotten_with_their_person(
    uis: Sandbox, clicking: Callable[..., Relay], clock: FakeClock
) -> None:
    relay = clicking()
    click(relay, external_id="order-7")
    traces = relay.store.erasure.find("9005550123")
    assert traces.mentions == {"clicks": 1}
    relay.store.erasure.erase(traces)
    [kept] = relay.store.clicks.recent(10)
    assert "123" not in kept.phone.replace("…", "") and kept.state == "started"
    relay.housekeeping.prune()
    assert stored(relay)
    clock.forward(days=31)
    relay.housekeeping.prune()
    assert stored(relay) == []


def test_each_error_of_the_call_api_has_words_of_its_own(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay = clicking(EMPLOYEES, "rate = 100")
    for mode in sorted(set(CALL_ERRORS) - {"invalid_parameters_combination"}):
        uis.uis.fail(mode, 1)
        assert "ошибка ретранслятора" not in click(relay).text, mode


def test_the_end_of_the_clicks_of_a_source_is_its_own(
    uis: Sandbox, clicking: Callable[..., Relay], clock: FakeClock
) -> None:
    """The same id at two sources names two clicks."""
    relay = clicking()
    for source in (TRADE, "other"):
        one = Click(source=source, external_id="7", at=clock(), phone="7", employee="101")
        kept, is_new = relay.store.clicks.begin(one, most=5, since=clock() - timedelta(minutes=1))
        assert is_new and kept is not None and kept.state == "unclear"


def test_the_settings_page_shows_the_clicks_behind_its_login(uis: Sandbox, clicking: Callable[..., Relay]) -> None:
    relay = clicking(more='[admin]\npassword = "open-sesame-now"')
    assert click(relay, phone="+7 900 555-01-77").status_code == 202
    page = create_app(relay).test_client()
    assert "555-01-77" not in page.get("/admin/settings", follow_redirects=True).text
    form = re.search(r'name="form" value="([^"]+)"', page.get("/admin/login").text)
    page.post("/admin/login", data={"password": "open-sesame-now", "form": form[1] if form else ""})
    before = page.get("/admin/settings").text
    assert "+7 900 555-01-77" in before and "/admin/calls/trade/" not in before
    [call] = placed(uis)
    post(relay, rendered("outgoing", call_session_id=call["call_session_id"]), "out")
    assert f"/admin/calls/trade/{call['call_session_id']}" in page.get("/admin/settings").text


def test_a_click_above_the_rate_is_finished_in_bitrix24_too(
    systems: Sandbox, make_crm: Callable[..., Relay], clock: FakeClock
) -> None:
    calls = calls_table(systems, EMPLOYEES, f'application_token = "{PORTAL_TOKEN}"', "rate = 1")
    relay = make_crm(amo=calls)
    first, second = registered(systems), registered(systems, phone="79005550199")
    for call_id in (first, second):
        assert event(relay, clock, call_id) == 200
        ended(relay)

    assert [call["external_id"] for call in placed(systems)] == [first]
    assert [row["CALL_ID"] for row in systems.bitrix24.state()["statistics"]] == [second]


def test_the_report_tells_too_that_the_call_of_an_unclear_click_has_begun(
    uis: Sandbox, clicking: Callable[..., Relay]
) -> None:
    relay = clicking()
    table = relay.settings.sources[TRADE]
    assert table.calls is not None
    uis.uis.fail("reset_after_writing", 2)
    click(relay, external_id="order-7")
    relay.intake.accept_reported(
        table, rendered("finished", call_session_id=7, external_id="order-7"), "from the report"
    )
    assert stored(relay) == [("started", "7")]


def test_an_end_of_the_process_waits_for_what_is_being_called(
    systems: Sandbox, portal: Relay, clock: FakeClock
) -> None:
    arrived, go_on = threading.Event(), threading.Event()
    answer = systems.uis.answer

    def slowly(request: Any) -> Any:
        arrived.set()
        go_on.wait(10)
        return answer(request)

    systems.uis.answer = slowly  # type: ignore[method-assign]  # the other side of a socket
    event(portal, clock, registered(systems))
    assert arrived.wait(10)
    threading.Timer(0.2, go_on.set).start()
    portal.dialer.stop(10)
    assert [state for state, _ in stored(portal)] == ["started"]


@pytest.mark.parametrize(
    ("change", "mnemonic"),
    [
        ({"contact": None}, "required_parameter_missed"),
        ({"colour": "red"}, "unexpected_parameters"),
        ({"switch_at_once": False}, "invalid_parameters_combination"),
        ({"contact": "+79005550123"}, "invalid_parameter_value"),
        ({"contact": "74955550199"}, "own_virtual_phone_number_not_allowed"),
        ({"virtual_phone_number": "74950000000"}, "virtual_phone_number_not_found"),
        ({"employee": {"id": 1}}, "employee_not_found"),
        ({"access_token": "another"}, "access_token_invalid"),
    ],
)
def test_the_simulated_call_api_refuses_what_the_real_one_would(
    change: dict[str, Any], mnemonic: str, uis: Sandbox
) -> None:
    params = {
        "access_token": "sandbox-key",
        "first_call": "employee",
        "switch_at_once": True,
        "early_switching": True,
        "virtual_phone_number": "74955550100",
        "contact": "79005550123",
        "employee": {"id": 323409},
        **change,
    }
    params = {name: value for name, value in params.items() if value is not None}
    body = {"jsonrpc": "2.0", "id": "1", "method": "start.employee_call", "params": params}
    answer = requests.post(uis.call_api_url, json=body, timeout=10).json()
    assert answer["error"]["data"]["mnemonic"] == mnemonic
    assert placed(uis) == []


def test_an_answer_that_was_lost_takes_nothing_back(clicking: Callable[..., Relay], clock: FakeClock) -> None:
    """The notification of the call was quicker than the end of the wait for UIS's answer."""
    clicks = clicking().store.clicks
    one = Click(source=TRADE, external_id="7", at=clock(), phone="7", employee="101")
    kept, _ = clicks.begin(one, most=5, since=clock() - timedelta(minutes=1))
    assert kept is not None
    clicks.notified(TRADE, "7", "237859081")
    clicks.finish(replace(kept, state="unclear", error="unclear"))
    assert [(each.state, each.session) for each in clicks.recent(9)] == [("started", "237859081")]
