"""Statuses and pages of what stands in front of a receiver: the target is set up wrongly, whatever kind it is."""

from __future__ import annotations

import pytest

from relay.sandbox.faults import IN_FRONT
from relay.targets import onec
from relay.targets.http_client import Response
from tests.factories import NOW
from tests.readers import KINDS, of_1c

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
    found = onec.read(Response(423, {}, b""), delivered_statuses=(423,), suspicious_ok="fail", now=NOW)

    assert found.name == "delivered"
