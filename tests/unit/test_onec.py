"""The 1C adapter's own requests: address, credentials, body, cookies and sessions."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import responses
from msgspec.structs import replace

from relay.config import OneCTarget, Secret
from relay.delivery.runner import send_once
from relay.errors import Interrupted
from relay.targets.onec import OneC
from tests.calls import call_of, rendered
from tests.factories import NOW, job
from tests.fakes import Drawer, Memory

URL = "https://1c.example.test/trade/hs/UIScom"
SETTINGS = OneCTarget(name="onec", url=URL, username="Обмен", password=Secret("пароль"))


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def send(settings: OneCTarget = SETTINGS, shipment: Any = None, *, at: datetime = NOW, steps: Any = None) -> Any:
    return send_once(OneC(settings, lambda: at, Drawer()), shipment or job(), steps or Memory())


def test_the_request_is_the_one_that_uis_makes_with_credentials_in_utf_8(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200)

    assert send().name == "delivered"

    request = web.calls[0].request
    assert (
        request.body == json.dumps(json.loads(rendered("incoming")), ensure_ascii=False, separators=(",", ":")).encode()
    )
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert request.headers["X-Relay-Delivery"] == "01a2-delivery"
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode() == "Обмен:пароль"


@pytest.mark.parametrize(
    ("endpoint", "body", "goes_to"),
    [
        ("in", rendered("incoming"), "in"),
        ("out", rendered("outgoing"), "out"),
        ("rec", rendered("finished"), "rec"),
        ("rec", rendered("incoming"), "rec"),
        ("any", rendered("incoming"), "in"),
        ("any", rendered("answered"), "in"),
        ("any", rendered("outgoing"), "out"),
        ("any", rendered("finished"), "rec"),
        ("any", b'{"call_session_id":1,"lost_reason":"x"}', "in"),
        ("any", b'{"call_session_id":1,"file_link":"https://a.test/1"}', "rec"),
        ("any", b'{"call_session_id":1,"leg_id":5}', "in"),
    ],
)
def test_the_endpoint_is_the_one_it_came_to_and_for_any_follows_the_kind(
    web: responses.RequestsMock, endpoint: str, body: bytes, goes_to: str
) -> None:
    web.post(f"{URL}/{goes_to}", status=200)
    shipment = job(body, endpoint)
    known = (call_of(rendered("incoming")), shipment.event.call)

    assert send(shipment=shipment, steps=Memory(*known)).name == "delivered"


@pytest.mark.parametrize(("hours", "age"), [(0, "0"), (9, "32400"), (-1, "0")])
def test_a_handler_is_told_how_old_a_notification_is(web: responses.RequestsMock, hours: int, age: str) -> None:
    """So that it need not push a card for a call of the night, and yet writes it."""
    web.post(f"{URL}/in", status=200)
    send(at=NOW + timedelta(hours=hours))

    assert web.calls[0].request.headers["X-Relay-Age"] == age


def test_raw_sends_the_bytes_as_they_came(web: responses.RequestsMock) -> None:
    body = '{"scenario_name":"ООО "А"","call_session_id":7,}'.encode("cp1251")
    web.post(f"{URL}/in", status=200)
    send(replace(SETTINGS, body="raw"), job(body))

    assert web.calls[0].request.body == body


@pytest.mark.parametrize(
    ("body", "is_query", "content_type"),
    [
        ('{"call_session_id":7,"scenario_name":"Опт"}'.encode(), False, "application/json; charset=utf-8"),
        (b'\xef\xbb\xbf{"call_session_id":7}', False, "application/json; charset=utf-8"),
        (
            '{"call_session_id":7,"scenario_name":"Опт"}'.encode("cp1251"),
            False,
            "application/json; charset=windows-1251",
        ),
        (b"call_session_id=7&scenario_name=%CE%EF%F2", True, "application/x-www-form-urlencoded; charset=windows-1251"),
        (
            "call_session_id=7&scenario_name=Опт".encode("cp1251"),
            False,
            "application/x-www-form-urlencoded; charset=windows-1251",
        ),
        (b"call_session_id=7&scenario_name=%D0%9E%D0%BF%D1%82", True, "application/x-www-form-urlencoded"),
    ],
)
def test_raw_says_the_charset_that_the_bytes_are_in(
    web: responses.RequestsMock, body: bytes, is_query: bool, content_type: str
) -> None:
    web.post(f"{URL}/in", status=200)
    send(replace(SETTINGS, body="raw"), job(body, is_query=is_query))

    assert web.calls[0].request.headers["Content-Type"] == content_type


@pytest.mark.parametrize(
    ("fields", "named", "remark"),
    [
        ('"utm-source":"x","2x":1', "utm-source, 2x", "a dash, a digit at the beginning"),
        ('"contact_info":{"дата рождения":1}', "дата рождения", "a space, within a group"),
        ('"":1', "", "no name at all"),
        ('"Отдел_2":1,"_x":2,"Start_time":3', None, "these are fine"),
    ],
)
def test_names_that_1c_cannot_take_are_named_in_the_reason(
    web: responses.RequestsMock, fields: str, named: str | None, remark: str
) -> None:
    web.post(f"{URL}/in", status=400, body="нет")
    outcome = send(shipment=job(f'{{"call_session_id":7,{fields}}}'.encode()))

    assert outcome.name == "refused"
    assert ("names" in outcome.reason) == (named is not None), remark
    assert f"names: {named};" in outcome.reason or named is None


def test_names_are_not_blamed_for_what_1c_takes(web: responses.RequestsMock) -> None:
    """Another handler may read the body into a map, which takes every name."""
    web.post(f"{URL}/in", status=200)

    assert send(shipment=job(b'{"call_session_id":7,"utm-source":"x"}')).reason == ""


def test_normalised_sends_the_call_event(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200)
    send(replace(SETTINGS, body="normalised"))

    sent = json.loads(web.calls[0].request.body)
    assert sent["started_at"] == "2026-03-02T09:45:59.863+00:00"
    assert sent["caller"] == "+79005550123"
    assert sent["kind"] == "incoming"


def test_empty_values_can_be_texts(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200)
    send(replace(SETTINGS, empty="string"), job(rendered("incoming", scenario_name=None)))

    assert json.loads(web.calls[0].request.body)["scenario_name"] == ""


def test_a_mended_body_is_what_is_sent(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200)
    send(shipment=job(b"{broken", edited=b'{"call_session_id":7}'))

    assert json.loads(web.calls[0].request.body) == {"call_session_id": 7}


def test_without_a_user_no_credentials_are_sent(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200)
    send(replace(SETTINGS, username=None))

    assert "Authorization" not in web.calls[0].request.headers


# --- manual sessions


MANUAL = replace(SETTINGS, session="manual")


def sessions_of(web: responses.RequestsMock) -> list[tuple[str | None, str | None]]:
    return [(call.request.headers.get("IBSession"), call.request.headers.get("Cookie")) for call in web.calls]


def test_a_manual_session_is_started_and_kept(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200, headers={"Set-Cookie": "ibsession=one"})
    adapter = OneC(MANUAL, lambda: NOW, Drawer())
    send_once(adapter, job(), Memory())
    send_once(adapter, job(), Memory())

    assert sessions_of(web) == [("start", None), (None, "ibsession=one")]


@pytest.mark.parametrize("status", [400, 404, 500])
def test_a_lost_session_is_started_anew_once(web: responses.RequestsMock, status: int) -> None:
    web.post(f"{URL}/in", status=200, headers={"Set-Cookie": "ibsession=one"})
    web.post(f"{URL}/in", status=status)
    web.post(f"{URL}/in", status=200, headers={"Set-Cookie": "ibsession=two"})
    adapter = OneC(MANUAL, lambda: NOW, Drawer())

    assert [send_once(adapter, job(), Memory()).name for _ in range(2)] == ["delivered", "delivered"]
    assert sessions_of(web) == [("start", None), (None, "ibsession=one"), ("start", None)]


def test_an_error_in_a_fresh_session_is_the_targets_answer(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=400, body="нет")

    assert send_once(OneC(MANUAL, lambda: NOW, Drawer()), job(), Memory()).name == "refused"
    assert len(web.calls) == 1


def test_a_session_is_finished_at_the_end(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200, headers={"Set-Cookie": "ibsession=one"})
    web.get(f"{URL}/ping", status=200)
    adapter = OneC(MANUAL, lambda: NOW, Drawer())
    send_once(adapter, job(), Memory())
    adapter.close()

    assert sessions_of(web)[-1] == ("finish", "ibsession=one")


# --- check


@pytest.mark.parametrize(("status", "outcome"), [(200, "delivered"), (401, "misconfigured"), (404, "misconfigured")])
def test_check_asks_for_ping(web: responses.RequestsMock, status: int, outcome: str) -> None:
    web.get(f"{URL}/ping", status=status)

    assert OneC(SETTINGS, lambda: NOW, Drawer()).check().name == outcome


def test_a_request_of_a_delivery_waits_for_its_permit_and_that_of_a_check_does_not(web: responses.RequestsMock) -> None:
    web.post(f"{URL}/in", status=200)
    web.get(f"{URL}/ping", status=200)
    adapter, asked = OneC(SETTINGS, lambda: NOW, Drawer()), []

    send_once(adapter, job(), Memory(before=asked.append))
    adapter.check()

    assert (asked, len(web.calls)) == (["request"], 2)


def test_without_a_permit_no_request_is_made(web: responses.RequestsMock) -> None:
    def interrupt(_what: str) -> None:
        raise Interrupted("the relay stops")

    web.get(f"{URL}/ping", status=200)
    adapter = OneC(SETTINGS, lambda: NOW, Drawer())

    with pytest.raises(Interrupted):
        send_once(adapter, job(), Memory(before=interrupt))
    assert adapter.check().name == "delivered"

    assert [call.request.method for call in web.calls] == ["GET"]
