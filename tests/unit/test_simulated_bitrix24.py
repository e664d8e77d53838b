"""The simulated Bitrix24: its answers are those that are recorded, and its rules those that are documented."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from relay.sandbox.bitrix24.failures import MODES
from relay.sandbox.bitrix24.portal import Bitrix24
from relay.sandbox.http import Reply, Request
from relay.sandbox.server import Sandbox
from tests import replies
from tests.fakes import FakeClock

CONTACT, STRANGER = "+79005550001", "+79005550002"
REGISTER, FINISH = "telephony.externalcall.register", "telephony.externalcall.finish"
SHOW, HIDE = "telephony.externalcall.show", "telephony.externalcall.hide"
ATTACH = "telephony.externalcall.attachrecord"
CALL = {
    "USER_ID": 12,
    "PHONE_NUMBER": CONTACT,
    "TYPE": 2,
    "CALL_START_DATE": "2026-03-02T12:44:50+03:00",
    "CRM_CREATE": 0,
    "SHOW": 0,
    "LINE_NUMBER": "74955550100",
    "EXTERNAL_CALL_ID": "3000000001",
}


class Portal:
    """A simulated portal and what it is asked."""

    def __init__(self, clock: FakeClock, **options: Any) -> None:
        self.clock, self.seconds = clock, 0.0
        self.sim = Bitrix24(contacts=[CONTACT], clock=clock, monotonic=lambda: self.seconds, **options)

    def ask(
        self, method: str, fields: dict[str, Any], way: str = "/rest/1/sandbox/", host: str = "127.0.0.1:8100"
    ) -> Reply:
        return self.sim.answer(Request("POST", f"{way}{method}", body=json.dumps(fields).encode(), host=host))

    def said(self, method: str, fields: dict[str, Any] | None = None, **more: Any) -> Any:
        return json.loads(self.ask(method, fields or {}, **more).body)

    def result(self, method: str, fields: dict[str, Any] | None = None) -> Any:
        return self.said(method, fields)["result"]

    def refusal(self, method: str, fields: dict[str, Any] | None = None, **more: Any) -> tuple[int, str, str]:
        reply = self.ask(method, fields or {}, **more)
        said = json.loads(reply.body)
        return reply.status, said.get("error"), said.get("error_description")

    def register(self, **fields: Any) -> str:
        return str(self.result(REGISTER, {**CALL, **fields})["CALL_ID"])

    def finished(self, **fields: Any) -> str:
        call_id = self.register(**fields)
        self.result(FINISH, {"CALL_ID": call_id, "USER_ID": 12, "DURATION": 95})
        return call_id

    def oauth(self, refresh_token: str = "refresh-1", secret: str = "app-secret") -> Reply:  # noqa: S107
        query = {"grant_type": "refresh_token", "client_id": "local.app"}
        given = {**query, "client_secret": secret, "refresh_token": refresh_token}
        return self.sim.oauth(Request("GET", "/oauth/token/", {name: [value] for name, value in given.items()}))

    def state(self, key: str) -> Any:
        return self.sim.state()[key]


@pytest.fixture
def portal(clock: FakeClock) -> Portal:
    return Portal(clock)


def attach_by_url(portal: Portal) -> Reply:
    return portal.ask(ATTACH, {"CALL_ID": portal.finished(), "RECORD_URL": "https://media.example.test/1.mp3"})


def finish(portal: Portal) -> Reply:
    return portal.ask(FINISH, {"CALL_ID": portal.register(), "USER_ID": 12, "DURATION": 95, "VOTE": 5})


def statistics(portal: Portal) -> Reply:
    attach_by_url(portal)
    return portal.ask("voximplant.statistic.get", {"FILTER": {"EXTERNAL_CALL_ID": "3000000001"}})


def lines(portal: Portal) -> Reply:
    portal.register()
    return portal.ask("telephony.externalline.get", {})


def no_leads(portal: Portal) -> Reply:
    portal.sim.fail("lead_creation_error", 1)
    return portal.ask(REGISTER, {**CALL, "PHONE_NUMBER": STRANGER, "CRM_CREATE": 1})


USER_GET = {
    "SECOND_NAME",
    "LAST_LOGIN",
    "DATE_REGISTER",
    "TIME_ZONE",
    "TIMESTAMP_X",
    "LAST_ACTIVITY_DATE",
    "PERSONAL_GENDER",
    "PERSONAL_WWW",
    "PERSONAL_BIRTHDAY",
    "PERSONAL_MOBILE",
    "PERSONAL_CITY",
    "WORK_PHONE",
    "WORK_POSITION",
    "UF_EMPLOYMENT_DATE",
}


@pytest.mark.parametrize(
    ("file", "ask", "remark"),
    [
        ("register_ok.json", lambda portal: portal.ask(REGISTER, CALL), "no lead, the contact is known"),
        ("register_lead_creation_error.json", no_leads, "recorded without `time`"),
        ("finish_ok.json", finish, "CALL_START_DATE is an empty object"),
        ("show_ok.json", lambda portal: portal.ask(SHOW, {"CALL_ID": portal.register()}), ""),
        ("hide_ok.json", lambda portal: portal.ask(HIDE, {"CALL_ID": portal.register()}), ""),
        ("attachrecord_ok.json", attach_by_url, ""),
        ("externalline_get_ok.json", lines, ""),
        ("user_get_ok.json", lambda portal: portal.ask("user.get", {"FILTER": {"ID": 1}}), "1 has no inner number"),
        ("voximplant_statistic_get_ok.json", statistics, "numbers are text there"),
        ("oauth_refresh_ok.json", lambda portal: portal.oauth(), ""),
    ],
)
def test_an_answer_has_the_shape_of_the_recorded_one(
    portal: Portal, file: str, ask: Callable[[Portal], Reply], remark: str
) -> None:
    recorded, reply = replies.parsed(f"bitrix24_{file}"), ask(portal)
    answered = json.loads(reply.body)
    for said in (recorded, answered):
        if "lead_creation" in file or "user_get" in file:  # older examples have less of it, or none
            said.pop("time", None)

    assert reply.status == 200
    assert list(replies.differences(recorded, answered, USER_GET if "user_get" in file else ())) == []


@pytest.mark.parametrize(
    ("file", "status", "mode"),
    [
        ("error_query_limit_exceeded", 503, "query_limit"),
        ("error_operation_time_limit", 429, "operation_time_limit"),
        ("error_overload_limit", 503, "overload"),
        ("error_internal_server_error", 500, "internal_server_error"),
        ("error_unexpected_answer", 500, "unexpected_answer"),
        ("error_no_auth_found", 401, "no_auth_found"),
        ("error_invalid_credentials", 401, "invalid_credentials"),
        ("error_insufficient_scope_webhook", 401, "insufficient_scope"),
        ("error_wrong_auth_type", 403, "wrong_auth_type"),
        ("error_access_denied_commercial", 403, "access_denied"),
        ("error_authorization_error", 401, "authorization_error"),
        ("error_expired_token", 401, "expired_token"),
        ("error_payment_required", 401, "payment_required"),
        ("error_portal_deleted", 410, "portal_deleted"),
        ("error_https_required", 400, "https_required"),
        ("error_method_not_found", 404, "method_not_found"),
        ("error_finish_call_not_found_recorded", 400, "call_not_found"),
        ("error_register_user_inactive_real", 400, "user_inactive"),
        ("error_attachrecord_not_finished_real", 400, "not_finished"),
    ],
)
def test_a_failure_that_is_asked_for_is_the_recorded_one_and_writes_nothing(
    portal: Portal, file: str, status: int, mode: str
) -> None:
    portal.sim.fail(mode, 1)

    reply = portal.ask(REGISTER, CALL)

    said = json.loads(reply.body)
    said.pop("time", None)
    assert (reply.status, said) == (status, replies.parsed(f"bitrix24_{file}.json"))
    assert portal.state("registered") == 0
    assert portal.ask(REGISTER, CALL).status == 200


DOCUMENTED_CALL_ID = {"CALL_ID": "externalCall.none.1", "USER_ID": 12}


@pytest.mark.parametrize(
    ("file", "method", "fields"),
    [
        ("register_unknown_type", REGISTER, {**CALL, "TYPE": 6}),
        ("register_bad_date", REGISTER, {**CALL, "CALL_START_DATE": "yesterday"}),
        ("register_bad_date", REGISTER, {**CALL, "CALL_START_DATE": "2026-03-02T12:44:50"}),  # no offset
        ("register_bad_phone", REGISTER, {**CALL, "PHONE_NUMBER": "anonymous"}),
        ("register_user_not_set", REGISTER, {**CALL, "USER_ID": None}),
        ("register_user_inactive", REGISTER, {**CALL, "USER_ID": 77}),
        ("finish_call_not_found", FINISH, DOCUMENTED_CALL_ID),
        ("attachrecord_not_finished", ATTACH, {**DOCUMENTED_CALL_ID, "RECORD_URL": "https://media.example.test/1"}),
    ],
)
def test_a_refusal_has_no_code_unless_the_documented_form_is_wanted(
    portal: Portal, file: str, method: str, fields: dict[str, Any]
) -> None:
    documented = replies.parsed(f"bitrix24_error_{file}.json")

    assert portal.refusal(method, fields) == (400, "", documented["error_description"])

    portal.sim.fail("documented", 1)
    assert portal.refusal(method, fields) == (400, "ERROR_CORE", documented["error_description"])
    assert Portal(portal.clock, documented=True).said(method, fields) == documented
    assert portal.state("registered") == 0


@pytest.mark.parametrize(
    "file", ["register_unknown_type_real", "register_user_inactive_real", "register_user_not_set_real"]
)
def test_the_form_without_a_code_is_the_one_of_the_source(portal: Portal, file: str) -> None:
    fields = {"register_unknown_type_real": {"TYPE": 9}, "register_user_inactive_real": {"USER_ID": 77}}
    wrong = fields.get(file, {"USER_ID": 0})

    assert portal.said(REGISTER, {**CALL, **wrong}) == replies.parsed(f"bitrix24_error_{file}.json")


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("attachrecord_params", {}),
        (None, {"FILENAME": ""}),
        (None, {"FILENAME": "1.ogg"}),
        (None, {"FILENAME": "1.mp3", "FILE_CONTENT": ""}),
        (None, {"FILENAME": "1.mp3", "FILE_CONTENT": "*"}),
    ],
)
def test_a_recording_must_be_there_and_be_one(portal: Portal, file: str | None, fields: dict[str, Any]) -> None:
    status, code, words = portal.refusal(ATTACH, {"CALL_ID": portal.finished(), **fields})

    assert (status, code) == (400, "")
    assert words.startswith(("Required parameters", "File name", "Wrong file", "File content"))
    if file is not None:
        assert words == replies.parsed(f"bitrix24_error_{file}.json")["error_description"]
    assert portal.state("statistics")[0]["records"] == []


def test_a_recording_that_cannot_be_downloaded_is_refused_in_the_portals_words(portal: Portal) -> None:
    call_id = portal.finished()
    portal.sim.fail("download_failed", 1, ATTACH)

    status, code, words = portal.refusal(ATTACH, {"CALL_ID": call_id, "RECORD_URL": "https://media.example.test/1.mp3"})

    recorded = replies.parsed("bitrix24_error_attachrecord_download_failed.json")
    assert (status, code, words) == (400, "", recorded["error_description"])


def test_an_operating_limit_says_when_the_method_is_free_again(portal: Portal) -> None:
    portal.sim.fail("operation_time_limit", 1)

    assert portal.said(REGISTER, CALL)["time"]["operating_reset_at"] == int(portal.clock.now.timestamp()) + 600


def test_what_is_no_json_is_so_here_too(portal: Portal) -> None:
    portal.sim.fail("html_503", 1)

    reply = portal.ask(REGISTER, CALL)

    assert (reply.status, reply.body.decode()) == (503, replies.text("bitrix24_503_nginx.html"))
    assert reply.content_type.startswith("text/html")


def test_a_renamed_portal_redirects_the_old_name_only(portal: Portal) -> None:
    portal.sim.fail("moved", -1)

    reply = portal.ask(REGISTER, CALL)

    assert reply.status == 302
    assert replies.text("bitrix24_portal_renamed_302.txt").startswith("HTTP/1.1 302 Found\nLocation: https://")
    assert reply.headers["Location"] == f"http://localhost:8100/rest/1/sandbox/{REGISTER}"
    assert portal.ask(REGISTER, CALL, host="localhost:8100").status == 200


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_gives_an_answer(portal: Portal, mode: str) -> None:
    portal.sim.fail(mode, 1)

    assert portal.ask(REGISTER, CALL).status >= 200
    assert portal.ask(REGISTER, CALL).status == 200


def test_a_failure_can_be_of_one_method(portal: Portal) -> None:
    portal.sim.fail("sql_error", -1, "telephony.externalCall.finish")

    call_id = portal.register()

    assert portal.refusal(FINISH, {"CALL_ID": call_id, "USER_ID": 12}) == (500, "", "SQL query error!")
    portal.sim.fail("ok", 0)
    assert portal.result(FINISH, {"CALL_ID": call_id, "USER_ID": 12})["CALL_DURATION"] == 0


def test_a_mode_that_is_not_there_is_named(portal: Portal) -> None:
    with pytest.raises(ValueError, match="there is no mode nonsense; there are: ok, documented"):
        portal.sim.fail("nonsense", 1)


@pytest.mark.parametrize("mode", ["hang_after_writing", "reset_after_writing"])
def test_after_writing_means_that_it_was_done(portal: Portal, mode: str) -> None:
    portal.sim.fail(mode, 1)

    assert portal.ask(REGISTER, CALL).fault == mode.split("_")[0]
    assert portal.state("registered") == 1


@pytest.mark.parametrize(
    ("changed", "same", "remark"),
    [
        ({}, True, "a repeat"),
        ({"PHONE_NUMBER": "+7 (900) 555-00-01"}, True, "only the signs of a number count"),
        ({"EXTERNAL_CALL_ID": None}, True, "it counts only if given"),
        ({"LINE_NUMBER": None}, True, "it counts only if given"),
        ({"EXTERNAL_CALL_ID": "3000000002"}, False, "another call"),
        ({"LINE_NUMBER": "74955550199"}, False, "another line"),
        ({"USER_ID": 13}, False, "another employee"),
        ({"TYPE": 1}, False, "another direction"),
        ({"PHONE_NUMBER": STRANGER}, False, "another number"),
    ],
)
def test_a_call_is_registered_once(portal: Portal, changed: dict[str, Any], same: bool, remark: str) -> None:
    call_id = portal.register()

    assert (portal.register(**changed) == call_id) is same
    assert portal.state("registered") == (1 if same else 2)


@pytest.mark.parametrize(("minutes", "same"), [(29, True), (30, False)])
def test_a_call_that_began_half_an_hour_ago_is_not_found_again(portal: Portal, minutes: int, same: bool) -> None:
    call_id = portal.register(CALL_START_DATE="2026-03-02T12:45:00+03:00")
    portal.clock.forward(minutes=minutes)

    assert (portal.register() == call_id) is same


def test_after_its_end_a_call_is_registered_anew(portal: Portal) -> None:
    assert portal.finished() != portal.register()


def test_a_repeat_shows_no_card_again(portal: Portal) -> None:
    portal.register(SHOW=1)
    portal.register(SHOW=1)

    assert portal.state("cards") == [["show", "3000000001", 12]]
    assert portal.state("calls")[0]["shown_to"] == [12]


def test_an_unknown_number_becomes_one_lead(portal: Portal) -> None:
    first = portal.result(REGISTER, {**CALL, "PHONE_NUMBER": STRANGER, "CRM_CREATE": 1})
    second = portal.result(
        REGISTER, {**CALL, "PHONE_NUMBER": STRANGER, "CRM_CREATE": 1, "EXTERNAL_CALL_ID": "3000000002"}
    )

    assert first["CRM_CREATED_ENTITIES"] == [{"ENTITY_TYPE": "LEAD", "ENTITY_ID": first["CRM_CREATED_LEAD"]}]
    assert (second["CRM_CREATED_LEAD"], second["CRM_CREATED_ENTITIES"]) == (None, [])
    assert (second["CRM_ENTITY_TYPE"], second["CRM_ENTITY_ID"]) == ("LEAD", first["CRM_CREATED_LEAD"])
    assert portal.state("leads") == [STRANGER]


@pytest.mark.parametrize(
    ("phone", "creates", "remark"),
    [(CONTACT, 1, "is known"), (STRANGER, 0, "is not wanted"), ("102", 1, "is a colleague")],
)
def test_no_lead_where_none_belongs(portal: Portal, phone: str, creates: int, remark: str) -> None:
    result = portal.result(REGISTER, {**CALL, "PHONE_NUMBER": phone, "CRM_CREATE": creates})

    assert result["CRM_CREATED_LEAD"] is None
    assert result["CRM_ENTITY_TYPE"] == ("CONTACT" if phone == CONTACT else "")
    assert portal.state("leads") == []


def test_a_second_finish_does_not_find_the_call(portal: Portal) -> None:
    call_id = portal.finished()

    said = portal.said(FINISH, {"CALL_ID": call_id, "USER_ID": 12})

    assert said == replies.parsed("bitrix24_error_finish_call_not_found_recorded.json")
    assert len(portal.state("statistics")) == 1
    assert portal.state("calls") == []


def test_a_finish_that_is_refused_leaves_the_call(portal: Portal) -> None:
    call_id = portal.register()
    portal.sim.deactivate(12)

    assert portal.refusal(FINISH, {"CALL_ID": call_id, "USER_ID": 12})[2] == "User is not found or is not active"
    assert portal.said(FINISH, {"CALL_ID": 7}) == replies.parsed("bitrix24_error_finish_invalid_argument.json")
    assert portal.result(FINISH, {"CALL_ID": call_id, "USER_ID": 13})["PORTAL_USER_ID"] == 13


@pytest.mark.parametrize(
    ("fields", "direction", "status", "missed"),
    [
        ({"DURATION": 95}, 2, "200", []),
        ({}, 2, "304", ["3000000001"]),
        ({"DURATION": 0, "STATUS_CODE": "304"}, 3, "304", ["3000000001"]),
        ({"STATUS_CODE": "486"}, 2, "486", []),
        ({}, 1, "304", []),
    ],
)
def test_the_status_of_a_call_and_whether_it_was_missed(
    portal: Portal, fields: dict[str, Any], direction: int, status: str, missed: list[str]
) -> None:
    call_id = portal.register(TYPE=direction)

    portal.result(FINISH, {"CALL_ID": call_id, "USER_ID": 12, **fields})

    assert portal.state("statistics")[0]["STATUS_CODE"] == status
    assert portal.state("missed") == missed


def test_a_record_needs_a_finished_call_and_a_repeat_replaces_it(portal: Portal) -> None:
    call_id = portal.register()
    wav = {"CALL_ID": call_id, "FILENAME": "1.wav", "FILE_CONTENT": base64.b64encode(b"RIFF").decode()}
    link = {"CALL_ID": call_id, "RECORD_URL": "https://media.example.test/1.mp3"}
    assert portal.said(ATTACH, link) == replies.parsed("bitrix24_error_attachrecord_not_finished_real.json")
    portal.result(FINISH, {"CALL_ID": call_id, "USER_ID": 12, "DURATION": 5})

    assert portal.result(ATTACH, link)["FILE_ID"] != portal.result(ATTACH, wav)["FILE_ID"]

    row = portal.state("statistics")[0]
    assert (row["records"], row["record_writes"]) == ([{"filename": "1.wav", "bytes": 4}], 2)


def test_cards_are_shown_and_hidden_while_the_call_is_open(portal: Portal) -> None:
    call_id = portal.register()

    assert portal.result(SHOW, {"CALL_ID": call_id, "USER_ID": [12, 13]}) is True
    assert portal.result(HIDE, {"CALL_ID": call_id, "USER_ID": 12}) is True

    assert portal.state("calls")[0]["shown_to"] == [13]
    assert portal.state("cards")[-1] == ["hide", "3000000001", 12]
    portal.result(FINISH, {"CALL_ID": call_id, "USER_ID": 12})
    assert portal.result(SHOW, {"CALL_ID": call_id}) is False


def test_more_than_fifty_quick_requests_are_refused_and_two_a_second_are_not(portal: Portal) -> None:
    assert {portal.ask("scope", {}).status for _ in range(50)} == {200}

    assert portal.said("scope") == replies.parsed("bitrix24_error_query_limit_exceeded.json")
    portal.seconds += 1

    assert [portal.ask("scope", {}).status for _ in range(3)] == [200, 200, 503]
    assert portal.state("limited") == 2
    assert Portal(portal.clock, limited=False).ask("scope", {}).status == 200


def test_without_a_limit_there_is_none(clock: FakeClock) -> None:
    portal = Portal(clock, limited=False)

    assert {portal.ask("scope", {}).status for _ in range(60)} == {200}


def test_a_refresh_token_serves_once(portal: Portal) -> None:
    first = json.loads(portal.oauth().body)
    again = portal.oauth()

    assert (again.status, json.loads(again.body)) == (400, replies.parsed("bitrix24_error_oauth_invalid_grant.json"))
    assert portal.oauth(first["refresh_token"]).status == 200
    assert json.loads(portal.oauth(secret="another").body)["error"] == "invalid_client"


def test_an_access_token_lives_for_an_hour(portal: Portal) -> None:
    token = json.loads(portal.oauth().body)["access_token"]
    assert portal.said("scope", {"auth": token}, way="/rest/")["result"] == ["crm", "telephony", "user_basic"]
    portal.clock.forward(seconds=3600)

    assert portal.said("scope", {"auth": token}, way="/rest/") == replies.parsed("bitrix24_error_expired_token.json")


def test_a_token_can_be_made_to_expire(portal: Portal) -> None:
    token = json.loads(portal.oauth().body)["access_token"]
    portal.sim.expire_token()

    assert portal.refusal("scope", {"auth": token}, way="/rest/")[:2] == (401, "expired_token")
    assert portal.refusal("scope", {"auth": "invented"}, way="/rest/")[:2] == (401, "invalid_token")


@pytest.mark.parametrize(
    ("way", "file", "remark"),
    [
        ("/rest/1/another/", "invalid_credentials", "the code was changed"),
        ("/rest/77/sandbox/", "invalid_credentials", "nobody's"),
        ("/rest/13/sandbox/", "authorization_error", "the owner was dismissed"),
        ("/rest/sandbox/", "method_not_found", "the user is missing"),
        ("/rest/", "no_auth_found", "an application without its token"),
    ],
)
def test_who_may_not_enter(portal: Portal, way: str, file: str, remark: str) -> None:
    portal.sim.deactivate(13)

    assert portal.said("scope", way=way) == replies.parsed(f"bitrix24_error_{file}.json")


def test_methods_have_any_case_and_may_end_in_json(portal: Portal) -> None:
    assert "CALL_ID" in portal.result("telephony.externalCall.register.json", CALL)
    assert portal.said("crm.lead.list") == replies.parsed("bitrix24_error_method_not_found.json")
    assert portal.state("methods") == [REGISTER, "crm.lead.list"]


def test_a_call_adds_its_line_once(portal: Portal) -> None:
    portal.register()
    portal.register(EXTERNAL_CALL_ID="3000000002")

    assert [line["NUMBER"] for line in portal.result("telephony.externalline.get")] == ["74955550100"]


def test_users_and_duplicates_are_found(portal: Portal) -> None:
    assert [user["ID"] for user in portal.result("user.get", {"filter": {"UF_PHONE_INNER": "102"}})] == ["13"]
    portal.sim.deactivate(13)
    assert [user["ID"] for user in portal.result("user.get", {"FILTER": {"ACTIVE": True}})] == ["1", "12"]
    assert portal.result("crm.duplicate.findbycomm", {"type": "PHONE", "values": [CONTACT]}) == {"CONTACT": [797]}
    assert portal.result("crm.duplicate.findbycomm", {"type": "PHONE", "values": [STRANGER]}) == []


TASK = {"ownerTypeId": 3, "ownerId": 797, "deadline": "2026-03-02T13:00:00+03:00", "title": "Перезвонить"}


def test_a_task_stands_at_a_card_and_is_completed(portal: Portal) -> None:
    of_contact = {"filter": {"OWNER_TYPE_ID": 3, "OWNER_ID": 797}}
    number = portal.result("crm.activity.todo.add", TASK)["id"]

    [task] = portal.result("crm.activity.list", of_contact)
    assert (task["ID"], task["SUBJECT"], task["COMPLETED"]) == (str(number), "Перезвонить", "N")
    assert portal.result("crm.activity.update", {"id": number, "fields": {"COMPLETED": "Y"}}) is True
    assert [task["COMPLETED"] for task in portal.result("crm.activity.list", of_contact)] == ["Y"]
    assert portal.result("crm.activity.list", {"filter": {"OWNER_ID": 798}}) == []


@pytest.mark.parametrize(
    ("method", "fields", "refusal"),
    [
        ("todo.add", {**TASK, "ownerId": 798}, (400, "NOT_FOUND", "Not found.")),
        ("todo.add", {**TASK, "deadline": ""}, (400, "100", "Could not find value for parameter {deadline}")),
        ("todo.add", {**TASK, "deadline": "soon"}, (400, "WRONG_DATETIME_FORMAT", "Wrong datetime format.")),
        ("update", {"id": 1, "fields": {"COMPLETED": "Y"}}, (400, "", "Activity is not found")),
    ],
)
def test_a_task_that_is_refused(
    portal: Portal, method: str, fields: dict[str, Any], refusal: tuple[int, str, str]
) -> None:
    assert portal.refusal(f"crm.activity.{method}", fields) == refusal
    assert portal.state("tasks") == []


def test_lists_come_by_fifty(clock: FakeClock) -> None:
    portal = Portal(clock, users=dict.fromkeys(range(1, 61)))

    first, second = portal.said("user.get"), portal.said("user.get", {"start": 50})

    assert (len(first["result"]), first["next"], first["total"]) == (50, 50, 60)
    assert (len(second["result"]), "next" in second) == (10, False)


def test_reset_empties_it_and_leaves_tokens(portal: Portal) -> None:
    token = json.loads(portal.oauth().body)["access_token"]
    portal.finished(PHONE_NUMBER=STRANGER, CRM_CREATE=1)
    portal.sim.fail("sql_error", -1)
    portal.sim.reset()

    assert not any(portal.sim.state().values())
    assert portal.ask("scope", {"auth": token}, way="/rest/").status == 200


@pytest.fixture
def sandbox(clock: FakeClock) -> Iterator[Sandbox]:
    seen: list[tuple[str, str, str]] = []
    running = Sandbox(bitrix24=Bitrix24(clock=clock), observe=lambda *what: seen.append(what)).start()
    running.seen = seen
    yield running
    running.close()


def test_it_is_served_over_sockets_and_observed(sandbox: Sandbox) -> None:
    answer = requests.post(f"{sandbox.bitrix24_webhook}{REGISTER}.json", json=CALL, timeout=5)

    assert "CALL_ID" in answer.json()["result"]
    assert sandbox.seen[:2] == [("bitrix24", REGISTER, "arrived"), ("bitrix24", REGISTER, "answered")]
    state = requests.get(f"{sandbox.url}/_state", timeout=5).json()
    assert state.keys() == {"onec", "bitrix24", "amocrm", "uis"}
    assert state["bitrix24"] == json.loads(json.dumps(sandbox.bitrix24.state()))


def test_failures_are_told_over_the_socket(sandbox: Sandbox) -> None:
    asked = {"target": "bitrix24", "mode": "reset", "count": "1", "method": REGISTER}
    assert requests.post(f"{sandbox.url}/_fail", params=asked, timeout=5).ok

    with pytest.raises(requests.ConnectionError):
        requests.post(f"{sandbox.bitrix24_webhook}{REGISTER}", json=CALL, timeout=5)
    requests.post(f"{sandbox.url}/_fail", params={**asked, "mode": "moved"}, timeout=5)
    moved = requests.post(f"{sandbox.bitrix24_webhook}{REGISTER}", json=CALL, timeout=5, allow_redirects=False)
    assert requests.post(moved.headers["Location"], json=CALL, timeout=5).status_code == 200

    there = requests.get(f"{sandbox.url}/_fail", timeout=5).json()
    assert there["targets"] == ["onec", "bitrix24", "amocrm", "uis"]
    assert [there["modes"][name][0] for name in there["targets"]] == ["ok"] * 4
    for wrong in ({"target": "bitrix", "mode": "ok"}, {"target": "bitrix24", "mode": "nonsense"}):
        assert requests.post(f"{sandbox.url}/_fail", params=wrong, timeout=5).status_code == 400
    assert requests.post(f"{sandbox.url}/_reset", timeout=5).ok
    assert sandbox.bitrix24.state()["requests"] == 0
