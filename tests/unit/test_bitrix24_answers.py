"""Bitrix24's errors: what each means for the delivery and for the target. Bodies are recorded or documented ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import responses

from relay.config import Bitrix24Target, Secret
from relay.delivery.runner import send_once
from relay.models import Outcome
from relay.targets.bitrix24.adapter import Bitrix24
from tests.factories import NOW, shipment, understood
from tests.fakes import Drawer, Memory
from tests.replies import text
from tests.stories import finished, incoming

HOOK = "https://portal.example.test/rest/1/hook-code/"
SETTINGS = Bitrix24Target(name="b24", webhook=Secret(HOOK), default_user=1, users={"101": 12}, learn_users=False)
REGISTERED = {"result": {"CALL_ID": "externalCall.1"}}
DONE = {"call_id": "externalCall.1"}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def answers(web: responses.RequestsMock, method: str, status: int, body: Any, **more: Any) -> None:
    content = body if isinstance(body, bytes | str) else json.dumps(body)
    web.post(f"{HOOK}telephony.externalcall.{method}.json", status=status, body=content, **more)


def send(*said: Any, done: dict[str, Any] | None = None, settings: Bitrix24Target = SETTINGS) -> tuple[Outcome, Memory]:
    calls = understood(list(said))
    memory = Memory(*calls)
    memory.facts = dict(done or {})
    return send_once(Bitrix24(settings, lambda: NOW, Drawer()), shipment(calls[-1]), memory), memory


def error(code: str, text: str = "") -> dict[str, str]:
    return {"error": code, "error_description": text}


NGINX = b"<html><head><title>503</title></head><body><center><h1>503 Service Temporarily Unavailable</h1></body></html>"
# status, body, outcome, seconds to wait, words that must be in the reason
GENERAL = [
    (503, text("bitrix24_error_query_limit_exceeded.json"), "later", 2, "Too many requests"),
    (429, text("bitrix24_error_operation_time_limit.json"), "later", 600, "operation time limit"),
    (503, text("bitrix24_error_overload_limit.json"), "later", 3600, "support"),
    (401, text("bitrix24_error_overload_limit.json"), "later", 3600, "support"),
    (500, text("bitrix24_error_internal_server_error.json"), "failed", None, "INTERNAL_SERVER_ERROR"),
    (500, text("bitrix24_error_unexpected_answer.json"), "failed", None, "ERROR_UNEXPECTED_ANSWER"),
    (500, error("", "SQL query error!"), "failed", None, "SQL query error"),
    (500, error("ERROR_CORE", "SQL query error!"), "failed", None, "SQL query error"),
    (401, text("bitrix24_error_no_auth_found.json"), "misconfigured", None, "webhook"),
    (401, text("bitrix24_error_invalid_credentials.json"), "misconfigured", None, "expired"),
    (403, text("bitrix24_error_invalid_credentials.json"), "misconfigured", None, "expired"),
    (401, text("bitrix24_error_insufficient_scope_webhook.json"), "misconfigured", None, "telephony, crm"),
    (403, text("bitrix24_error_insufficient_scope_webhook.json"), "misconfigured", None, "telephony, crm"),
    (403, text("bitrix24_error_wrong_auth_type.json"), "misconfigured", None, "create a local application"),
    (403, text("bitrix24_error_wrong_auth_type.json"), "misconfigured", None, "local application"),
    (403, text("bitrix24_error_access_denied.json"), "misconfigured", None, "tariff"),
    (403, text("bitrix24_error_access_denied_commercial.json"), "misconfigured", None, "commercial plans"),
    (401, text("bitrix24_error_access_denied_webhook_subscription.json"), "misconfigured", None, "tariff"),
    (401, text("bitrix24_error_authorization_error.json"), "misconfigured", None, "dismissed"),
    (401, error("user_access_error", "The user does not have access"), "misconfigured", None, "access"),
    (401, text("bitrix24_error_expired_token.json"), "misconfigured", None, "authorise"),
    (401, text("bitrix24_error_payment_required.json"), "misconfigured", None, "subscription"),
    (410, text("bitrix24_error_portal_deleted.json"), "misconfigured", None, "does not exist"),
    (500, text("bitrix24_error_portal_deleted.json"), "misconfigured", None, "does not exist"),
    (400, text("bitrix24_error_https_required.json"), "misconfigured", None, "https://"),
    (404, text("bitrix24_error_method_not_found.json"), "misconfigured", None, "whole"),
    (503, NGINX, "later", None, "503 Service Temporarily Unavailable"),
    (500, NGINX, "failed", None, "503 Service Temporarily Unavailable"),
    (403, NGINX, "misconfigured", None, "503 Service Temporarily Unavailable"),
    (502, b"", "later", None, "502"),
    (200, b"<html>Sign in</html>", "failed", None, "no answer of Bitrix24"),
    (200, b"[]", "failed", None, "no answer of Bitrix24"),
    (400, error("A_NEW_CODE", "words"), "refused", None, "A_NEW_CODE words"),
    (418, error("A_NEW_CODE", "words"), "refused", None, "A_NEW_CODE words"),
]


@pytest.mark.parametrize(("status", "body", "outcome", "wait", "words"), GENERAL)
@pytest.mark.parametrize("method", ["register", "finish", "attachrecord"])
def test_errors_that_any_method_gives(
    web: responses.RequestsMock, method: str, status: int, body: Any, outcome: str, wait: int | None, words: str
) -> None:
    done = {"register": {}, "finish": DONE, "attachrecord": {**DONE, "finished": True}}[method]
    answers(web, method, status, body)

    found, _ = send(finished(), done=done)

    assert (found.name, found.status) == (outcome, status)
    assert found.wait == (None if wait is None else timedelta(seconds=wait))
    assert words in found.reason
    assert "hook-code" not in found.reason


# method, body, outcome, is the target well all the same?
BUSINESS = [
    ("register", "bitrix24_error_register_bad_date.json", "refused", None),
    ("register", "bitrix24_error_register_bad_phone.json", "refused", None),
    ("register", "bitrix24_error_register_unknown_type.json", "refused", None),
    ("register", "bitrix24_error_register_unknown_type_real.json", "refused", None),
    ("finish", "bitrix24_error_finish_invalid_argument.json", "refused", None),
    ("attachrecord", "bitrix24_error_attachrecord_params.json", "refused", None),
    ("attachrecord", "bitrix24_error_attachrecord_not_finished.json", "failed", "well"),
    ("attachrecord", "bitrix24_error_attachrecord_not_finished_real.json", "failed", "well"),
    ("attachrecord", "bitrix24_error_attachrecord_download_failed.json", "failed", "well"),
]


@pytest.mark.parametrize(("method", "body", "outcome", "health_hint"), BUSINESS)
def test_errors_that_are_the_events_own(
    web: responses.RequestsMock, method: str, body: str, outcome: str, health_hint: Any
) -> None:
    done = {"register": {}, "finish": DONE, "attachrecord": {**DONE, "finished": True}}[method]
    answers(web, method, 400, text(body))

    found, _ = send(finished(), done=done)

    assert (found.name, found.health_hint) == (outcome, health_hint)
    assert json.loads(text(body))["error_description"] in found.reason


@pytest.mark.parametrize("code", ["", "ERROR_CORE"])
@pytest.mark.parametrize("text", ["Unexpected database error", "unexpected database error."])
def test_a_database_error_of_finish_is_tried_again(web: responses.RequestsMock, code: str, text: str) -> None:
    answers(web, "finish", 400, error(code, text))

    assert send(finished(), done=DONE)[0].name == "failed"


UNKNOWN_USER = [
    "bitrix24_error_register_user_not_set.json",
    "bitrix24_error_register_user_not_set_real.json",
    "bitrix24_error_register_user_inactive.json",
    "bitrix24_error_register_user_inactive_real.json",
]


@pytest.mark.parametrize("body", UNKNOWN_USER)
@pytest.mark.parametrize("method", ["register", "finish"])
def test_a_user_who_is_not_there_is_replaced_by_the_default_one(
    web: responses.RequestsMock, method: str, body: str
) -> None:
    answers(web, method, 400, text(body))
    answers(web, "register", 200, REGISTERED)
    answers(web, "finish", 200, text("bitrix24_finish_ok.json"))
    answers(web, "attachrecord", 200, text("bitrix24_attachrecord_ok.json"))

    found, memory = send(finished(), done=DONE if method == "finish" else {})

    users = [json.loads(call.request.body)["USER_ID"] for call in web.calls if method in str(call.request.url)]
    assert (found.name, users, memory.facts["finished"]) == ("delivered", [12, 1], True)


def test_a_default_user_who_is_not_there_is_a_matter_of_the_configuration(web: responses.RequestsMock) -> None:
    answers(web, "register", 400, text(UNKNOWN_USER[0]))

    found, _ = send(incoming())

    assert found.name == "misconfigured"
    assert "default_user = 1" in found.reason


@pytest.mark.parametrize(
    "body", ["bitrix24_error_finish_call_not_found.json", "bitrix24_error_finish_call_not_found_recorded.json"]
)
def test_a_call_that_bitrix24_has_forgotten_is_registered_anew_unless_it_was_finished(
    web: responses.RequestsMock, body: str
) -> None:
    answers(web, "finish", 400, text(body))
    answers(web, "register", 200, {"result": {"CALL_ID": "externalCall.2"}})
    answers(web, "finish", 200, text("bitrix24_finish_ok.json"))
    answers(web, "attachrecord", 200, text("bitrix24_attachrecord_ok.json"))

    found, memory = send(finished(), done=DONE)

    assert (found.name, memory.facts["call_id"], memory.facts["finished"]) == ("delivered", "externalCall.2", True)


def test_a_call_whose_end_may_have_arrived_and_that_is_not_found_is_finished(web: responses.RequestsMock) -> None:
    web.post(f"{HOOK}voximplant.statistic.get.json", status=403, json=error("ACCESS_DENIED"))
    answers(web, "finish", 400, text("bitrix24_error_finish_call_not_found_recorded.json"))
    answers(web, "attachrecord", 200, text("bitrix24_attachrecord_ok.json"))

    found, memory = send(finished(), done={**DONE, "finishing": True})

    assert (found.name, memory.facts["finished"]) == ("delivered", True)
    assert not [call for call in web.calls if "register" in str(call.request.url)]


def test_the_operating_time_is_waited_for_as_long_as_bitrix24_says(web: responses.RequestsMock) -> None:
    at = NOW + timedelta(minutes=7)
    limit = {
        **json.loads(text("bitrix24_error_operation_time_limit.json")),
        "time": {"operating_reset_at": at.timestamp()},
    }
    answers(web, "register", 429, limit)

    adapter, memory = Bitrix24(SETTINGS, lambda: NOW, Drawer()), Memory(*understood([incoming()]))
    first, second = (send_once(adapter, shipment(understood([incoming()])[0]), memory) for _ in range(2))

    assert (first.name, first.wait, second.wait) == ("later", timedelta(minutes=7), timedelta(minutes=7))
    assert len(web.calls) == 1  # it is not even asked before


def test_recordings_that_have_to_wait_do_not_hold_up_the_calls(web: responses.RequestsMock) -> None:
    answers(web, "attachrecord", 429, text("bitrix24_error_operation_time_limit.json"))

    found, _ = send(finished(), done={**DONE, "finished": True})

    assert (found.name, found.health_hint) == ("later", "well")


@pytest.mark.parametrize("wait", ["7", "Mon, 02 Mar 2026 09:45:07 GMT"])
def test_retry_after_lengthens_the_wait(web: responses.RequestsMock, wait: str) -> None:
    answers(web, "register", 503, text("bitrix24_error_query_limit_exceeded.json"), headers={"Retry-After": wait})

    assert send(incoming())[0].wait == timedelta(seconds=7)


# --- a portal that was renamed


def test_a_renamed_portal_is_followed_by_hand_and_reported(web: responses.RequestsMock) -> None:
    hook = HOOK.replace("portal.example.test", "old.bitrix24.ru")
    new = hook.replace("old.", "new.")
    path = "telephony.externalcall.register.json"
    web.post(f"{hook}{path}", status=302, headers={"Location": f"{new}{path}"})
    web.post(f"{new}{path}", json=REGISTERED)

    found, _ = send(incoming(), settings=Bitrix24Target(name="b24", webhook=Secret(hook), default_user=1))

    assert found.name == "delivered"
    assert "new.bitrix24.ru" in found.reason
    first, second = (call.request.body for call in web.calls)
    assert first == second


@pytest.mark.parametrize(
    ("location", "remark"),
    [
        ("https://elsewhere.example.test/rest/1/hook-code/telephony.externalcall.register.json", "not the cloud"),
        ("http://new.bitrix24.ru/rest/1/hook-code/telephony.externalcall.register.json", "in the clear"),
        ("https://new.bitrix24.ru/sign-in", "not the same method"),
        ("https://bitrix24.ru.example.test/rest/1/hook-code/telephony.externalcall.register.json", "looks like it"),
        ("", "nowhere"),
    ],
)
def test_the_secret_does_not_follow_to_strangers(web: responses.RequestsMock, location: str, remark: str) -> None:
    answers(web, "register", 302, b"", headers={"Location": location})

    found, _ = send(incoming())

    assert (found.name, len(web.calls)) == ("misconfigured", 1), remark
    assert "configuration" in found.reason


# --- what it was that was sent


def test_a_call_is_registered_with_the_offset_of_its_zone_and_without_its_plus_in_the_line(
    web: responses.RequestsMock,
) -> None:
    answers(web, "register", 200, REGISTERED)

    send(incoming(start_time="2026-03-10 11:19:38.123"))

    assert json.loads(web.calls[0].request.body) == {
        "USER_ID": 1,
        "PHONE_NUMBER": "+79005550123",
        "TYPE": 2,
        "CALL_START_DATE": "2026-03-10T11:19:38+03:00",
        "CRM_CREATE": 1,
        "SHOW": 0,
        "ADD_TO_CHAT": 0,
        "EXTERNAL_CALL_ID": "7",
        "LINE_NUMBER": "74955550100",
    }
    assert web.calls[0].request.headers["X-Relay-Delivery"] == "01a2-delivery"


def test_a_call_without_a_number_is_refused_at_its_end_and_shown_nowhere_before(web: responses.RequestsMock) -> None:
    before, _ = send(incoming(calling_phone_number=None))
    end, _ = send(finished(calling_phone_number=None))

    assert (before.name, before.health_hint, end.name, end.health_hint) == (
        "delivered",
        "not_asked",
        "refused",
        "not_asked",
    )
    assert "number" in end.reason
