"""amoCRM's errors: what each means for the delivery and for the target. Bodies are recorded or documented ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import responses
from msgspec.structs import replace

from relay.config import AmoCrmTarget, Secret
from relay.delivery.runner import send_once
from relay.models import Outcome
from relay.targets.amocrm.adapter import AmoCrm
from tests.factories import NOW, jwt, shipment, understood
from tests.fakes import Drawer, Memory
from tests.replies import parsed, text
from tests.stories import LINK, OUT, finished, incoming, lost, not_taken, recorded

URL = "https://example.amocrm.test"
SETTINGS = AmoCrmTarget(
    name="amo", url=URL, token=Secret("s3cret-access"), default_user=504141, users={"101": 504142, "102": 504143}
)


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def send(*said: Any, done: dict[str, Any] | None = None, settings: AmoCrmTarget = SETTINGS) -> tuple[Outcome, Memory]:
    calls = understood(list(said))
    memory = Memory(*calls)
    memory.facts = dict(done or {})
    return send_once(AmoCrm(settings, lambda: NOW, Drawer()), shipment(calls[-1]), memory), memory


def taken(kind: str = "calls", request_id: str = "7", **more: Any) -> dict[str, Any]:
    thing = {"id": 1, "entity_id": 5, "entity_type": "contact", "request_id": request_id, **more}
    return {"_total_items": 1, "errors": [], "_embedded": {kind: [thing]}}


# status, body, outcome, seconds to wait, words that must be in the reason
ERRORS = [
    (400, text("amocrm_error_400_validation.json"), "refused", None, "not a valid choice"),
    (400, text("amocrm_error_400_code244.json"), "misconfigured", None, "not paid for"),
    (401, text("amocrm_error_401.json"), "misconfigured", None, "make a new long-lived token"),
    (402, text("amocrm_error_402.json"), "misconfigured", None, "not paid for"),
    (403, text("amocrm_error_403_scope.json"), "misconfigured", None, "required scope"),
    (403, text("amocrm_error_403_blocked.html"), "misconfigured", None, "blocked the API"),
    (404, text("amocrm_error_404.json"), "misconfigured", None, "Pipeline not found"),
    (422, b'{"title":"Unprocessable","status":422}', "refused", None, "Unprocessable"),
    (426, b'{"title":"Functional disabled by administrator","status":426}', "misconfigured", None, "switched this off"),
    (429, text("amocrm_error_429.txt"), "later", 1, "Too Many Requests"),
    (500, text("amocrm_error_500.json"), "failed", None, "unknown error"),
    (502, b"<html><h1>502 Bad Gateway</h1></html>", "later", None, "502 Bad Gateway"),
    (503, b"", "later", None, "503"),
    (504, b"", "later", None, "504"),
    (409, b'{"title":"Conflict"}', "refused", None, "Conflict"),
    (302, b"", "misconfigured", None, "address"),
    (200, b"<html>Sign in</html>", "failed", None, "no answer of amoCRM"),
    (200, b'{"_total_items":0,"errors":[{"title":"Odd","status":1}]}', "refused", None, "Odd"),
    (200, b'{"_total_items":0,"errors":[],"_embedded":{"calls":[]}}', "unclear", None, "without naming"),
    (204, b"", "unclear", None, "without naming"),
    (200, json.dumps(taken(request_id="another")).encode(), "unclear", None, "without naming"),
]


@pytest.mark.parametrize(("status", "body", "outcome", "wait", "words"), ERRORS)
def test_errors(
    web: responses.RequestsMock, status: int, body: bytes, outcome: str, wait: int | None, words: str
) -> None:
    web.post(f"{URL}/api/v4/calls", status=status, body=body)

    found, memory = send(finished())

    assert (found.name, found.status) == (outcome, status)
    assert found.wait == (None if wait is None else timedelta(seconds=wait))
    assert words in found.reason
    assert bool(memory.facts["posting"]) == (outcome == "unclear")  # only what may have been taken is looked for
    assert "s3cret" not in found.reason


UNKNOWN = [(400, "amocrm_calls_entity_not_found.json"), (200, "amocrm_calls_entity_not_found_200_variant.json")]


@pytest.mark.parametrize(("status", "body"), UNKNOWN)
@pytest.mark.parametrize(
    ("how", "direction", "paths", "remark"),
    [
        ("unsorted", "in", ["calls", "leads/unsorted/sip"], "into «Неразобранное»"),
        ("unsorted", "out", ["calls", "contacts", "calls"], "which is for calls that came in"),
        ("contact", "in", ["calls", "contacts", "calls"], "somebody is made, and then the call"),
        ("skip", "in", ["calls"], "nothing"),
    ],
)
def test_a_phone_that_nobody_has(
    web: responses.RequestsMock, status: int, body: str, how: Any, direction: str, paths: list[str], remark: str
) -> None:
    web.post(f"{URL}/api/v4/calls", status=status, body=text(body))
    web.post(f"{URL}/api/v4/calls", json=taken())
    web.post(f"{URL}/api/v4/contacts", json=taken("contacts"))
    web.post(f"{URL}/api/v4/leads/unsorted/sip", json=taken("unsorted", uid="u-1"))

    found, _ = send(finished(**(OUT if direction == "out" else {})), settings=replace(SETTINGS, unknown_phone=how))

    assert found.name == "delivered"
    assert [str(call.request.url).removeprefix(f"{URL}/api/v4/") for call in web.calls] == paths, remark


def test_a_contact_that_amocrm_does_not_find_yet_is_not_made_twice(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/api/v4/calls", status=400, body=text(UNKNOWN[0][1]))
    web.post(f"{URL}/api/v4/contacts", json=taken("contacts"))
    settings = replace(SETTINGS, unknown_phone="contact")

    first, memory = send(finished(), settings=settings)
    second, _ = send(finished(), settings=settings, done=memory.facts)

    assert [(one.name, one.health_hint) for one in (first, second)] == [("failed", "well")] * 2
    assert len([call for call in web.calls if "contacts" in str(call.request.url)]) == 1


def test_switched_off_unsorted_is_said_in_amocrms_words(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/api/v4/calls", status=400, body=text(UNKNOWN[0][1]))
    web.post(f"{URL}/api/v4/leads/unsorted/sip", status=400, body=text("amocrm_error_400_validation.json"))

    found, _ = send(finished())

    assert (found.name, "not a valid choice" in found.reason) == ("refused", True)


# --- the pop-up


@pytest.mark.parametrize(
    ("status", "body", "outcome", "remark"),
    [
        (200, b"{}", "delivered", "shown"),
        (204, b"", "delivered", "its answer is not documented"),
        (403, b"{}", "delivered", "the call goes on without it"),
        (500, b"", "delivered", "likewise"),
        (429, b"Too Many Requests", "later", "tried again while it is of use"),
    ],
)
def test_what_the_pop_up_comes_to(
    web: responses.RequestsMock, status: int, body: bytes, outcome: str, remark: str
) -> None:
    web.post(f"{URL}/api/v2/events", status=status, body=body)

    assert send(incoming())[0].name == outcome, remark


def test_the_pop_up_is_shown_to_all_until_it_is_known_who_has_the_call(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/api/v2/events", json={})

    send(incoming())
    send(incoming(extension_phone_number="101"), finished())  # the end needs none

    assert json.loads(web.calls[0].request.body) == {
        "add": [{"type": "phone_call", "phone_number": "79005550123", "users": [504142, 504143]}]
    }
    assert "api/v4/calls" in str(web.calls[-1].request.url)


def test_a_late_pop_up_is_never_shown(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/api/v2/events", json={})
    call = understood([incoming()])[0]
    adapter = AmoCrm(SETTINGS, lambda: NOW, Drawer())

    in_time = send_once(adapter, shipment(call, received_at=NOW - timedelta(seconds=30)), Memory(call))
    late = send_once(adapter, shipment(call, received_at=NOW - timedelta(seconds=31)), Memory(call))

    assert (in_time.name, in_time.health_hint, late.name, late.health_hint) == (
        "delivered",
        None,
        "delivered",
        "not_asked",
    )
    assert "late" in late.reason
    assert len(web.calls) == 1


# --- what it was that was sent


def test_a_call_is_sent_as_the_documentation_has_it(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/api/v4/calls", json=taken())

    send(finished(start_time="2026-03-10 11:19:38.000"))

    [sent] = json.loads(web.calls[0].request.body)
    assert sent == {
        "direction": "inbound",
        "uniq": "7",
        "duration": 51,
        "source": "UIS",
        "phone": "79005550123",
        "link": LINK,
        "call_result": "Разговор состоялся",
        "call_status": 4,
        "call_responsible": 504142,
        "responsible_user_id": 504142,
        "created_by": 504142,
        "created_at": 1773130778,
        "request_id": "7",
    }
    assert set(parsed("amocrm_request_calls.json")[0]) <= set(sent)
    assert web.calls[0].request.headers["Authorization"] == "Bearer s3cret-access"


@pytest.mark.parametrize(
    "said", [[finished()], [not_taken()], [incoming(), lost()], [finished(**OUT)], [finished(start_time=None)]]
)
@pytest.mark.parametrize("how", ["unsorted", "contact"])
def test_nothing_is_ever_null(web: responses.RequestsMock, said: list[Any], how: Any) -> None:
    web.post(f"{URL}/api/v4/calls", status=400, body=text(UNKNOWN[0][1]))
    web.post(f"{URL}/api/v4/calls", json=taken())
    web.post(f"{URL}/api/v4/contacts", json=taken("contacts"))
    web.post(f"{URL}/api/v4/leads/unsorted/sip", json=taken("unsorted", uid="u-1"))

    send(*said, settings=replace(SETTINGS, unknown_phone=how))

    assert len(web.calls) > 1
    for call in web.calls:
        assert "null" not in call.request.body.decode()


def test_the_link_that_comes_later_is_noted_at_the_place_of_the_call(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/api/v4/leads/5/notes", json=taken("notes"))
    done = {"call": 1, "entity": ["lead", 5], "linked": False}

    found, memory = send(incoming(), finished(full_record_file_link=None), recorded(), done=done)
    again, _ = send(finished(full_record_file_link=None), recorded(), done=memory.facts)

    assert (found.name, again.health_hint, len(web.calls)) == ("delivered", "not_asked", 1)
    assert LINK in json.loads(web.calls[0].request.body)[0]["params"]["text"]


# --- the token's end


@pytest.mark.parametrize(
    ("given", "warned", "remark"),
    [
        (jwt((NOW + timedelta(days=31)).timestamp()), 0, "a month to go"),
        (jwt((NOW + timedelta(days=29)).timestamp()), 1, "soon"),
        (jwt((NOW - timedelta(days=1)).timestamp()), 1, "over"),
        (Secret("no-jwt"), 0, "does not say"),
        (jwt("soon"), 0, "says nonsense"),
        (jwt(10**20), 0, "says nonsense"),
    ],
)
def test_a_long_lived_token_is_warned_of_thirty_days_before_its_end(given: Secret, warned: int, remark: str) -> None:
    adapter = AmoCrm(replace(SETTINGS, token=given), lambda: NOW, Drawer())

    assert len(adapter.warnings(NOW)) == warned, remark
