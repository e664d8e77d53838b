"""Any HTTP address: the request, its signatures, and what the answers mean."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import responses
import time_machine
from msgspec.structs import replace
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from relay.config import HttpTarget, Secret
from relay.delivery.runner import send_once
from relay.models import Outcome
from relay.targets.webhook import Http
from relay.uis.rendering import as_record
from tests.calls import rendered
from tests.factories import NOW, job
from tests.fakes import Drawer, Memory

URL = "https://crm.example.test/hooks/calls"
SETTINGS = HttpTarget(name="crm", url=URL)
OLD, NEW = (Secret("whsec_" + b64encode(bytes([sign] * 24)).decode()) for sign in (1, 2))


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def send(settings: HttpTarget = SETTINGS, shipment: Any = None) -> Outcome:
    return send_once(Http(settings, lambda: NOW, Drawer()), shipment or job(), Memory())


def test_the_normalised_body_is_the_record_of_the_call(web: responses.RequestsMock) -> None:
    web.post(URL, status=202)
    shipment = job(rendered("finished"), "rec")

    assert send(shipment=shipment).name == "delivered"

    request = web.calls[0].request
    assert json.loads(request.body) == as_record(shipment.event.call)
    assert request.headers["Content-Type"] == "application/json; charset=utf-8"
    assert request.headers["X-Relay-Delivery"] == "01a2-delivery"
    assert not [name for name in request.headers if name.lower().startswith("webhook-")]


@pytest.mark.parametrize(("form", "is_as_it_came"), [("raw", True), ("template", False)])
def test_the_other_forms_are_those_of_1c(web: responses.RequestsMock, form: Any, is_as_it_came: bool) -> None:
    web.post(URL)
    body = rendered("incoming").replace(b"{", b"{ ", 1)

    send(replace(SETTINGS, body=form), job(body))

    sent = web.calls[0].request.body
    assert (sent == body) is is_as_it_came
    assert json.loads(sent) == json.loads(body)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_method_query_and_headers_are_those_of_the_settings(web: responses.RequestsMock, method: Any) -> None:
    web.add(method, URL)
    settings = replace(
        SETTINGS, url=f"{URL}?a=1", method=method, query={"компания": Secret("42")}, headers={"X-Key": Secret("s")}
    )

    send(settings)

    assert str(web.calls[0].request.url) == f"{URL}?a=1&%D0%BA%D0%BE%D0%BC%D0%BF%D0%B0%D0%BD%D0%B8%D1%8F=42"
    assert web.calls[0].request.headers["X-Key"] == "s"


def test_each_secret_signs_while_it_is_changed(web: responses.RequestsMock) -> None:
    """The receiver has the old one, the new one, or both: it believes us all the time."""
    web.post(URL)

    send(replace(SETTINGS, secrets=(OLD, NEW)))

    request = web.calls[0].request
    assert request.headers["webhook-id"] == "01a2-delivery"
    assert request.headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    for secret in (OLD, NEW):
        expected = Webhook(secret).sign("01a2-delivery", NOW, request.body.decode())
        assert expected in request.headers["webhook-signature"].split()


def test_the_library_of_standard_webhooks_verifies_what_is_sent(web: responses.RequestsMock) -> None:
    web.post(URL)
    send(replace(SETTINGS, secrets=(NEW,)), job(rendered("incoming", scenario_name='ООО "Ромашка"')))
    request = web.calls[0].request
    headers = {name: str(value) for name, value in request.headers.items()}

    with time_machine.travel(NOW, tick=False):
        assert Webhook(NEW).verify(request.body, headers)["scenario"] == 'ООО "Ромашка"'
        with pytest.raises(WebhookVerificationError):
            Webhook(OLD).verify(request.body, headers)


def test_bytes_that_are_no_text_are_signed_too(web: responses.RequestsMock) -> None:
    web.post(URL)
    body = rendered("incoming").decode().encode("cp1251")

    outcome = send(replace(SETTINGS, body="raw", secrets=(NEW,)), job(body))

    assert (outcome.name, web.calls[0].request.body) == ("delivered", body)
    assert web.calls[0].request.headers["webhook-signature"].startswith("v1,")


# status, outcome, remark
STATUSES = [
    *[(status, "delivered", "taken") for status in (200, 201, 202, 204, 299)],
    *[(status, "misconfigured", "a redirect: another address is the receiver's own") for status in (301, 302, 308)],
    *[(status, "misconfigured", "nothing can be taken") for status in (401, 402, 403, 404, 405, 407, 410, 426)],
    *[(status, "later", "it asks for time") for status in (408, 425, 429, 502, 503, 504, 520, 599)],
    *[(status, "failed", "this event made it stumble") for status in (409, 500)],
    *[(status, "refused", "never taken as it is") for status in (400, 406, 413, 418, 422)],
]


@pytest.mark.parametrize(("status", "outcome", "remark"), STATUSES)
def test_what_an_answer_means(web: responses.RequestsMock, status: int, outcome: str, remark: str) -> None:
    web.post(URL, status=status, body="why it is so")

    found = send()

    assert (found.name, found.status) == (outcome, status), remark
    assert ("why it is so" in found.reason) is (outcome != "delivered")
    assert (found.health_hint == "perhaps_restarting") is (status in (403, 404))


@pytest.mark.parametrize("status", [409, 404, 302])
def test_a_status_that_the_settings_name_is_a_delivery(web: responses.RequestsMock, status: int) -> None:
    web.post(URL, status=status)

    assert send(replace(SETTINGS, delivered_statuses=(409, 404, 302))).name == "delivered"


def test_retry_after_is_waited_for(web: responses.RequestsMock) -> None:
    web.post(URL, status=503, headers={"Retry-After": "90"})

    assert send().wait == timedelta(seconds=90)


@pytest.mark.parametrize(("status", "outcome"), [(200, "delivered"), (405, "delivered"), (401, "misconfigured")])
def test_the_check_asks_whether_somebody_is_there(web: responses.RequestsMock, status: int, outcome: str) -> None:
    web.head(URL, status=status)

    assert Http(SETTINGS, lambda: NOW, Drawer()).check().name == outcome
