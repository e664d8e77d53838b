"""The simulated amoCRM: its answers are those that are recorded, and its rules those that are documented."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

import pytest
import requests

from relay.sandbox.amocrm.api import AmoCrm
from relay.sandbox.amocrm.failures import MODES
from relay.sandbox.http import Reply, Request
from relay.sandbox.server import Sandbox
from tests import replies
from tests.fakes import FakeClock

CONTACT, STRANGER = "+79005550001", "+79005550002"
CALLS, CONTACTS, SIP = "/api/v4/calls", "/api/v4/contacts", "/api/v4/leads/unsorted/sip"
TASKS = "/api/v4/tasks"
CALL = {
    "direction": "inbound",
    "uniq": "3000000001",
    "duration": 95,
    "source": "UIS",
    "phone": "79005550001",
    "link": "https://media.example.test/1",
    "call_result": "Разговор состоялся",
    "call_status": 4,
    "call_responsible": 504142,
    "responsible_user_id": 504142,
    "created_at": 1772444690,
    "request_id": "3000000001",
}
PHONE = [{"field_code": "PHONE", "values": [{"value": STRANGER, "enum_code": "WORK"}]}]
UNSORTED = {
    "request_id": "3000000001",
    "source_name": "UIS",
    "source_uid": "uis-relay",
    "pipeline_id": 3166396,
    "created_at": 1772444690,
    "metadata": {
        "is_call_event_needed": True,
        "uniq": "3000000001",
        "duration": 0,
        "service_code": "uis_relay",
        "link": "",
        "phone": "79005550002",
        "called_at": 1772444690,
        "from": "UIS",
    },
    "_embedded": {
        "contacts": [{"name": STRANGER, "custom_fields_values": PHONE}],
        "leads": [{"name": f"Звонок {STRANGER}"}],
    },
}
CLIENT = {"client_id": "amo-client", "client_secret": "amo-secret", "redirect_uri": "https://example.test/amo"}


class Crm:
    """A simulated account and what it is asked."""

    def __init__(self, clock: FakeClock, **options: Any) -> None:
        self.clock, self.seconds = clock, 0.0
        self.sim = AmoCrm(contacts=[CONTACT], clock=clock, monotonic=lambda: self.seconds, **options)

    def ask(self, verb: str, address: str, said: Any = None, token: str = "sandbox") -> Reply:  # noqa: S107
        path, _, query = address.partition("?")
        body = b"" if said is None else json.dumps(said).encode()
        self.seconds += 1  # nobody is in a hurry but where it is the test
        return self.sim.answer(Request(verb, path, parse_qs(query), body, f"Bearer {token}", "127.0.0.1:8100"))

    def post(self, address: str, *items: Any) -> Reply:
        return self.ask("POST", address, list(items))

    def found(self, address: str, kind: str) -> list[Any]:
        reply = self.ask("GET", address)
        return json.loads(reply.body)["_embedded"][kind] if reply.status == 200 else []

    def refreshed(self, refresh_token: str = "amo-refresh-1", **changed: str) -> Reply:  # noqa: S107
        said = {**CLIENT, "grant_type": "refresh_token", "refresh_token": refresh_token, **changed}
        return self.ask("POST", "/oauth2/access_token", said)

    def state(self, key: str) -> Any:
        return self.sim.state()[key]


@pytest.fixture
def crm(clock: FakeClock) -> Crm:
    return Crm(clock)


def errors_of(reply: Reply) -> list[tuple[str, str]]:
    said = json.loads(reply.body)
    return [(each["code"], each["path"]) for found in said["validation-errors"] for each in found["errors"]]


def listed(crm: Crm) -> Reply:
    crm.post(SIP, UNSORTED)
    return crm.ask("GET", "/api/v4/leads/unsorted?filter[category][]=sip")


def not_found_200(crm: Crm) -> Reply:
    crm.sim.fail("not_found_200", 1)
    return crm.post(CALLS, {**CALL, "phone": STRANGER})


@pytest.mark.parametrize(
    ("file", "ask", "more"),
    [
        ("calls_ok", lambda crm: crm.post(CALLS, CALL), set()),
        ("calls_entity_not_found_200_variant", not_found_200, set()),
        ("unsorted_sip_ok", lambda crm: crm.post(SIP, UNSORTED), set()),
        # the example was made before these two could be sent
        ("unsorted_list_uis", listed, {"uniq", "is_call_event_needed"}),
        ("users_ok", lambda crm: crm.ask("GET", "/api/v4/users?limit=250&page=1"), set()),
        ("oauth_token_ok", lambda crm: crm.refreshed(), set()),
    ],
)
def test_an_answer_has_the_shape_of_the_recorded_one(
    crm: Crm, file: str, ask: Callable[[Crm], Reply], more: set[str]
) -> None:
    recorded, reply = replies.parsed(f"amocrm_{file}.json"), ask(crm)
    if file == "users_ok":
        del recorded["_embedded"]["users"][0]  # the other one has no roles either
    found = list(replies.differences(recorded, json.loads(reply.body)))

    assert reply.status == 200
    assert [each for each in found if not any(f".{name} " in each for name in more)] == []
    assert "X-Request-Id" in reply.headers


@pytest.mark.parametrize(
    ("file", "status", "mode"),
    [
        ("calls_entity_not_found.json", 400, "entity_not_found"),
        ("error_400_validation.json", 400, "validation"),
        ("error_400_code244.json", 400, "code_244"),
        ("error_401.json", 401, "unauthorized"),
        ("error_402.json", 402, "payment_required"),
        ("error_403_blocked.html", 403, "blocked"),
        ("error_403_scope.json", 403, "scope"),
        ("error_404.json", 404, "not_found"),
        ("error_429.txt", 429, "too_many"),
        ("error_500.json", 500, "server_error"),
    ],
)
def test_a_failure_that_is_asked_for_is_the_recorded_one_and_writes_nothing(
    crm: Crm, file: str, status: int, mode: str
) -> None:
    crm.sim.fail(mode, 1)

    reply = crm.post(CALLS, CALL)

    assert reply.status == status
    if file.endswith(".json"):
        assert json.loads(reply.body) == replies.parsed(f"amocrm_{file}")
    else:
        assert reply.body.decode() == replies.text(f"amocrm_{file}")
    assert crm.state("calls") == []
    assert crm.post(CALLS, CALL).status == 200


@pytest.mark.parametrize("mode", sorted(MODES))
def test_every_mode_gives_an_answer(crm: Crm, mode: str) -> None:
    crm.sim.fail(mode, 1)

    assert crm.post(CALLS, CALL).status >= 200
    assert crm.post(CALLS, CALL).status == 200


@pytest.mark.parametrize("method", [CALLS, f"POST {CALLS}", "add_calls"])
def test_a_failure_can_be_of_one_address(crm: Crm, method: str) -> None:
    crm.sim.fail("bad_gateway", -1, method)

    assert crm.post(CALLS, CALL).status == 502
    assert crm.ask("GET", CONTACTS).status == 200
    crm.sim.fail("ok", 0, method)
    assert crm.post(CALLS, CALL).status == 200


@pytest.mark.parametrize("mode", ["hang_after_writing", "reset_after_writing"])
def test_after_writing_means_that_it_was_done(crm: Crm, mode: str) -> None:
    crm.sim.fail(mode, 1)

    assert crm.post(CALLS, CALL).fault == mode.split("_")[0]
    assert len(crm.state("calls")) == 1


@pytest.mark.parametrize(
    ("phone", "leads", "kind", "remark"),
    [
        ("89005550003", 0, "contact", "the last ten digits decide"),
        ("79005550003", 1, "lead", "exactly one active lead"),
        ("+7 900 555-00-03", 2, "contact", "which of the two it belongs to is not known"),
    ],
)
def test_a_call_finds_its_entity_and_becomes_a_note_of_it(
    crm: Crm, phone: str, leads: int, kind: str, remark: str
) -> None:
    contact = crm.sim.add_contact("+79005550003", leads=leads)

    answered = json.loads(crm.post(CALLS, {**CALL, "phone": phone}).body)["_embedded"]["calls"][0]

    assert (answered["entity_type"], answered["request_id"]) == (kind, "3000000001")
    assert (answered["entity_id"] == contact) is (kind == "contact")
    note = crm.found(f"/api/v4/{kind}s/{answered['entity_id']}/notes?filter[note_type][]=call_in", "notes")[0]
    assert note["params"].keys() == CALL.keys() & {
        "uniq",
        "duration",
        "source",
        "link",
        "phone",
        "call_result",
        "call_status",
        "call_responsible",
    }
    assert crm.state("calls")[0]["entity_id"] == answered["entity_id"]


def test_no_entity_is_400_with_its_own_status(crm: Crm) -> None:
    reply = crm.post(CALLS, {**CALL, "phone": STRANGER})

    assert (reply.status, json.loads(reply.body)) == (400, replies.parsed("amocrm_calls_entity_not_found.json"))
    assert (crm.state("calls"), crm.state("notes")) == ([], [])


def test_a_batch_may_be_taken_in_part(crm: Crm) -> None:
    reply = crm.post(CALLS, {**CALL, "phone": STRANGER, "request_id": "a"}, {**CALL, "request_id": "b"})

    said = json.loads(reply.body)
    assert (reply.status, said["_total_items"]) == (200, 1)
    assert [error["request_id"] for error in said["errors"]] == ["a"]
    assert [call["request_id"] for call in said["_embedded"]["calls"]] == ["b"]


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"direction": "in"}, ("NotSupportedChoice", "direction")),
        ({"duration": "95"}, ("InvalidType", "duration")),
        ({"duration": None}, ("NotNullable", "duration")),
        ({"link": None}, ("NotNullable", "link")),
        ({"source": ""}, ("NotBlank", "source")),
        ({"phone": ""}, ("NotBlank", "phone")),
        ({"call_status": 9}, ("NotSupportedChoice", "call_status")),
        ({"call_responsible": 1.5}, ("InvalidType", "call_responsible")),
        ({"duration": True}, ("InvalidType", "duration")),
    ],
)
def test_what_a_call_must_not_be(crm: Crm, changed: dict[str, Any], error: tuple[str, str]) -> None:
    reply = crm.post(CALLS, {**CALL, **changed})

    assert (reply.status, errors_of(reply)) == (400, [error])
    assert list(replies.differences(replies.parsed("amocrm_error_400_validation.json"), json.loads(reply.body))) == []
    assert crm.state("calls") == []


@pytest.mark.parametrize("name", ["direction", "duration", "source", "phone"])
def test_what_a_call_must_have(crm: Crm, name: str) -> None:
    without = {key: value for key, value in CALL.items() if key != name}

    assert errors_of(crm.post(CALLS, without)) == [("FieldMissing", name)]
    assert errors_of(crm.ask("POST", CALLS, CALL)) == [("InvalidType", "")]  # no array


def test_contacts_are_made_and_found_by_a_part_of_the_number(crm: Crm) -> None:
    assert crm.ask("GET", f"{CONTACTS}?query=9005550002").status == 204

    made = json.loads(crm.post(CONTACTS, {"name": STRANGER, "custom_fields_values": PHONE}).body)["_embedded"]

    found = crm.found(f"{CONTACTS}?query=9005550002&with=leads", "contacts")
    assert [contact["id"] for contact in found] == [made["contacts"][0]["id"]]
    assert found[0]["_embedded"] == {"leads": []}
    assert crm.post(CALLS, {**CALL, "phone": STRANGER}).status == 200
    assert crm.state("contacts")[-1]["phones"] == [STRANGER]


def test_tasks_are_added_filtered_and_completed(crm: Crm) -> None:
    contact = crm.state("contacts")[0]["id"]
    task = {"text": "Перезвонить", "complete_till": 1772446490, "entity_type": "contacts", "entity_id": contact}
    of_contact = f"{TASKS}?filter[entity_type]=contacts&filter[entity_id]={contact}"
    assert crm.ask("GET", of_contact).status == 204

    [added] = json.loads(crm.post(TASKS, {**task, "request_id": "7"}).body)["_embedded"]["tasks"]

    assert (added["request_id"], [each["id"] for each in crm.found(of_contact, "tasks")]) == ("7", [added["id"]])
    done = {"is_completed": True, "result": {"text": "Поговорили"}}
    assert crm.ask("PATCH", f"{TASKS}/{added['id']}", done).status == 200
    assert [each["is_completed"] for each in crm.found(of_contact, "tasks")] == [True]
    assert crm.ask("PATCH", f"{TASKS}/1", done).status == 404
    assert crm.post(TASKS, {**task, "entity_id": 1}).status == 400
    assert crm.post(TASKS, {"text": "Перезвонить"}).status == 400


def test_notes_are_added_and_filtered(crm: Crm) -> None:
    contact = crm.state("contacts")[0]["id"]
    notes = f"{CONTACTS}/{contact}/notes"
    assert crm.ask("GET", notes).status == 204

    crm.post(notes, {"note_type": "common", "params": {"text": "Запись: https://media.example.test/1"}})
    crm.post(CALLS, CALL)

    assert [note["note_type"] for note in crm.found(notes, "notes")] == ["common", "call_in"]
    assert [note["note_type"] for note in crm.found(f"{notes}?filter[note_type]=common", "notes")] == ["common"]
    assert crm.ask("GET", f"{CONTACTS}/1/notes").status == 404
    assert crm.post(f"{CONTACTS}/1/notes", {"note_type": "common", "params": {}}).status == 404


def test_lists_come_by_pages(crm: Crm) -> None:
    notes = f"{CONTACTS}/{crm.state('contacts')[0]['id']}/notes"
    crm.post(notes, *({"note_type": "common", "params": {"text": str(number)}} for number in range(51)))

    first = json.loads(crm.ask("GET", notes).body)

    assert len(first["_embedded"]["notes"]) == 50
    assert first["_links"]["next"]["href"].endswith(f"{notes}?page=2")
    assert [note["params"]["text"] for note in crm.found(f"{notes}?page=2", "notes")] == ["50"]


def test_what_is_unsorted_is_not_found_until_it_is_accepted(crm: Crm) -> None:
    crm.post(SIP, UNSORTED)

    assert crm.post(CALLS, {**CALL, "phone": STRANGER}).status == 400
    assert crm.ask("GET", f"{CONTACTS}?query=9005550002").status == 204
    assert [contact["phones"] for contact in crm.state("contacts")] == [[CONTACT]]
    kept = crm.state("unsorted")[0]
    assert (kept["lead_name"], kept["contact_phone"]) == (f"Звонок {STRANGER}", STRANGER)
    assert kept["metadata"] == UNSORTED["metadata"]

    crm.sim.accept(kept["uid"])

    call = json.loads(crm.post(CALLS, {**CALL, "phone": STRANGER}).body)["_embedded"]["calls"][0]
    assert (call["entity_type"], call["entity_id"]) == ("lead", kept["lead_id"])
    assert crm.state("notes")[0]["params"]["uniq"] == "3000000001"
    assert crm.ask("GET", "/api/v4/leads/unsorted").status == 204


def test_an_accepted_call_without_an_event_is_no_note(crm: Crm) -> None:
    crm.post(SIP, {**UNSORTED, "metadata": {**UNSORTED["metadata"], "is_call_event_needed": False}})

    crm.sim.accept(crm.state("unsorted")[0]["uid"])

    assert crm.state("notes") == []


def test_the_unsorted_of_another_category_are_none(crm: Crm) -> None:
    crm.post(SIP, UNSORTED)

    assert crm.ask("GET", "/api/v4/leads/unsorted?filter[category][]=mail").status == 204


def test_where_the_unsorted_are_switched_off_they_are_refused(clock: FakeClock) -> None:
    crm = Crm(clock, unsorted_is_on=False)

    assert errors_of(crm.post(SIP, UNSORTED)) == [("NotSupportedChoice", "pipeline_id")]
    assert crm.state("unsorted") == []


@pytest.mark.parametrize("name", ["source_name", "source_uid", "metadata"])
def test_what_the_unsorted_must_have(crm: Crm, name: str) -> None:
    assert errors_of(crm.post(SIP, {key: value for key, value in UNSORTED.items() if key != name})) == [
        ("FieldMissing", name)
    ]


def test_a_pop_up_is_shown(crm: Crm) -> None:
    event = {"type": "phone_call", "phone_number": "79005550001", "users": [504142]}

    reply = crm.ask("POST", "/api/v2/events", {"add": [event]})

    assert (reply.status, reply.body) == (200, b"{}")
    assert crm.state("popups") == [{"phone_number": "79005550001", "users": [504142]}]
    assert crm.ask("POST", "/api/v2/events", [event]).status == 400


def test_account_and_users_are_told(crm: Crm) -> None:
    assert json.loads(crm.ask("GET", "/api/v4/account").body)["subdomain"] == "sandbox"
    assert [user["id"] for user in crm.found("/api/v4/users", "users")] == [504141, 504142, 504143]
    assert crm.ask("GET", "/api/v4/users?page=2").status == 204
    assert crm.ask("GET", "/api/v4/nothing").status == 404


@pytest.mark.parametrize("token", ["", "another"])
def test_without_the_token_nobody_enters(crm: Crm, token: str) -> None:
    reply = crm.ask("GET", "/api/v4/account", token=token)

    assert (reply.status, json.loads(reply.body)) == (401, replies.parsed("amocrm_error_401.json"))


def test_a_refresh_token_serves_once(crm: Crm) -> None:
    pair = json.loads(crm.refreshed().body)
    again = crm.refreshed()

    assert (again.status, json.loads(again.body)) == (401, replies.parsed("amocrm_oauth_refresh_revoked.json"))
    assert crm.refreshed(pair["refresh_token"]).status == 200


@pytest.mark.parametrize("name", sorted(CLIENT))
def test_another_client_gets_no_token_and_uses_none_up(crm: Crm, name: str) -> None:
    reply = crm.refreshed(**{name: "another"})

    assert (reply.status, json.loads(reply.body)) == (401, replies.parsed("amocrm_oauth_invalid_client.json"))
    assert crm.refreshed().status == 200


def test_an_access_token_lives_for_a_day_or_until_it_is_told_to_end(crm: Crm) -> None:
    pair = json.loads(crm.refreshed().body)
    assert crm.ask("GET", "/api/v4/account", token=pair["access_token"]).status == 200
    crm.clock.forward(hours=24)
    assert crm.ask("GET", "/api/v4/account", token=pair["access_token"]).status == 401

    pair = json.loads(crm.refreshed(pair["refresh_token"]).body)
    crm.sim.expire_token()
    assert crm.ask("GET", "/api/v4/account", token=pair["access_token"]).status == 401
    assert crm.ask("GET", "/api/v4/account").status == 200  # the long-lived one


def hurried(crm: Crm, times: int) -> list[int]:
    """The statuses of requests within one moment."""
    request = Request("GET", "/api/v4/account", authorization="Bearer sandbox")
    return [crm.sim.answer(request).status for _ in range(times)]


def test_the_eighth_request_of_a_second_is_too_many(crm: Crm) -> None:
    assert hurried(crm, 8) == [200] * 7 + [429]
    crm.seconds += 0.999
    assert hurried(crm, 1) == [429]
    crm.seconds += 1
    assert hurried(crm, 1) == [200]
    assert crm.state("limited") == 2


def test_who_goes_on_asking_too_often_is_blocked_until_reset(crm: Crm) -> None:
    assert hurried(crm, 13) == [200] * 7 + [429] * 5 + [403]
    crm.seconds += 3600
    reply = crm.ask("GET", "/api/v4/account")

    assert (reply.status, reply.body.decode()) == (403, replies.text("amocrm_error_403_blocked.html"))
    assert crm.state("limited") == 7
    crm.sim.reset()
    assert crm.ask("GET", "/api/v4/account").status == 200


def test_without_a_limit_there_is_none(clock: FakeClock) -> None:
    assert set(hurried(Crm(clock, limited=False), 20)) == {200}


def test_reset_leaves_the_contacts_it_began_with(crm: Crm) -> None:
    crm.sim.add_contact(STRANGER)
    crm.post(CALLS, CALL)
    crm.post(SIP, UNSORTED)
    crm.sim.fail("server_error", -1)
    crm.sim.reset()

    state = crm.sim.state()
    assert [contact["phones"] for contact in state.pop("contacts")] == [[CONTACT]]
    assert not any(state.values())
    assert crm.post(CALLS, CALL).status == 200


def test_it_is_served_over_sockets_and_observed(clock: FakeClock) -> None:
    seen: list[tuple[str, ...]] = []
    sandbox = Sandbox(amocrm=AmoCrm(contacts=[CONTACT], clock=clock), observe=lambda *what: seen.append(what)).start()
    try:
        web = requests.Session()
        web.headers["Authorization"] = "Bearer sandbox"
        assert web.post(f"{sandbox.url}{CALLS}", json=[CALL], timeout=5).status_code == 200
        found = web.get(f"{sandbox.url}{CONTACTS}", params={"query": "9005550001", "with": "leads"}, timeout=5)
        assert found.json()["_embedded"]["contacts"][0]["name"] == CONTACT
        assert web.get(f"{sandbox.url}{CONTACTS}", params={"query": "none"}, timeout=5).status_code == 204
        token = web.post(f"{sandbox.url}/oauth2/access_token", json=CLIENT, timeout=5)
        assert token.json() == replies.parsed("amocrm_oauth_refresh_revoked.json")
        requests.post(f"{sandbox.url}/_fail?target=amocrm&mode=reset&method={CALLS}", timeout=5)
        with pytest.raises(requests.ConnectionError):
            web.post(f"{sandbox.url}{CALLS}", json=[CALL], timeout=5)
    finally:
        sandbox.close()

    assert seen[:2] == [("amocrm", CALLS, "arrived"), ("amocrm", CALLS, "answered")]
    assert sandbox.amocrm.state()["paths"][:2] == [f"POST {CALLS}", f"GET {CONTACTS}"]
