"""Statuses and pages of what stands in front of a receiver: the target is set up wrongly, whatever kind it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from relay.config import HttpTarget
from relay.models import Outcome
from relay.sandbox.http import IN_FRONT
from relay.targets.amocrm import responses as amocrm_responses
from relay.targets.bitrix24 import responses as bitrix24_responses
from relay.targets.http_client import Response, TargetError
from relay.targets.onec import responses as onec_responses
from relay.targets.webhook.adapter import Http
from tests.steps import NOW, Drawer

Read = Callable[[Response], Outcome]


def of_1c(answer: Response) -> Outcome:
    return onec_responses.read(answer, delivered_statuses=(417,), suspicious_ok="fail", now=NOW)


def of_http(answer: Response) -> Outcome:
    return Http(HttpTarget(name="crm", url="https://crm.example.test/"), lambda: NOW, Drawer())._outcome(answer)


def of_a_crm(read: Callable[[Response, Any], Any]) -> Read:
    def outcome(answer: Response) -> Outcome:
        try:
            read(answer, NOW)
        except TargetError as exc:
            return exc.outcome
        return Outcome(name="delivered", status=answer.status)

    return outcome


KINDS: dict[str, Read] = {
    "1c": of_1c,
    "http": of_http,
    "bitrix24": of_a_crm(bitrix24_responses.read),
    "amocrm": of_a_crm(amocrm_responses.read),
}
JSON_400 = b'{"error":"phone is required"}'
FLASK_400 = (
    b"<!doctype html>\n<html lang=en>\n<title>400 Bad Request</title>\n<h1>Bad Request</h1>\n<p>The browser (or proxy) "
    b"sent a request that this server could not understand.</p>\n"
)


# with its page; and without one, but for 400, which without it may be the receiver's own
ANSWERS = [Response(reply.status, {}, reply.body) for reply in IN_FRONT.values()]
ANSWERS += [Response(answer.status, {}, b"") for answer in ANSWERS if answer.status != 400]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: f"{answer.status}, {len(answer.body)} bytes")
def test_what_stands_in_front_says_nothing_of_the_event(kind: str, answer: Response) -> None:
    found = KINDS[kind](answer)

    assert (found.name, found.status) == ("misconfigured", answer.status)
    assert len(found.reason) > len(f"{answer.status} ")  # what is to be mended


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("body", [JSON_400, FLASK_400, b"", "недопустимое имя свойства".encode()])
def test_a_400_of_the_receiver_itself_is_about_the_event(kind: str, body: bytes) -> None:
    assert KINDS[kind](Response(400, {}, body)).name == "refused"


@pytest.mark.parametrize("body", ["Ошибка HTTP 400.0 - Bad Request</h2>", "<h1>Server Error</h1>", "<i>IIS 10.0</i>"])
def test_the_pages_of_iis_in_their_other_forms(body: str) -> None:
    assert (
        of_1c(Response(400, {}, f"<!DOCTYPE html>\n<html><body>{body}</body></html>".encode())).name == "misconfigured"
    )


def test_a_status_that_the_operator_names_is_a_delivery_all_the_same() -> None:
    found = onec_responses.read(Response(423, {}, b""), delivered_statuses=(423,), suspicious_ok="fail", now=NOW)

    assert found.name == "delivered"
