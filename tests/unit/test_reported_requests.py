"""What is written down of a request and its answer: no secret, and not too much."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import responses
from msgspec.structs import replace

from relay.config import Bitrix24Target, HttpTarget, OneCTarget, Secret
from relay.models import Exchange
from relay.targets import http_client
from relay.targets.http_client import Client, NoAnswer

URL = "https://crm.example.test/hooks/calls"
SETTINGS = HttpTarget(name="crm", url=URL, headers={"X-Key": Secret("a-header-that-is-secret")})


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def exchanged(
    settings: Any = SETTINGS, url: str = URL, headers: dict[str, str] | None = None, body: bytes = b"{}", **more: Any
) -> Exchange:
    """Make one request, and return what was reported of it."""
    reported: list[Exchange] = []
    client = Client(settings)
    client.report = reported.append
    client.request("POST", url, headers or {}, body, **more)
    [exchange] = reported
    return exchange


def test_request_and_answer_are_there_in_their_own_words(web: responses.RequestsMock) -> None:
    web.post(URL, status=422, body="Не заполнен номер", content_type="text/plain; charset=utf-8", headers={"X-A": "b"})

    exchange = exchanged(headers={"X-Relay-Delivery": "01a2"}, body='{"имя": "Пётр"}'.encode())

    assert (exchange.method, exchange.url, exchange.body) == ("POST", URL, '{"имя": "Пётр"}')
    assert exchange.headers == {"X-Relay-Delivery": "01a2", "Content-Length": "22"}
    assert (exchange.status, exchange.answer, exchange.is_cut) == (422, "Не заполнен номер", False)
    assert exchange.answer_headers == {"content-type": "text/plain; charset=utf-8"}, "what says nothing is left out"


@pytest.mark.parametrize(
    ("login", "shown"),
    [
        ("Basic dWlzOnBhc3N3b3Jk", "Basic ***"),
        ("Bearer an-access-token", "Bearer ***"),
        ("a-token-without-a-scheme", "***"),
        ("session=abc; other=d", "***"),
    ],
)
@pytest.mark.parametrize("header", ["Authorization", "Cookie", "proxy-authorization"])
def test_a_login_is_hidden_whatever_the_settings_know(
    web: responses.RequestsMock, header: str, login: str, shown: str
) -> None:
    web.post(URL)

    assert exchanged(headers={header: login}).headers[header] == shown


def test_a_secret_is_hidden_wherever_it_stands(web: responses.RequestsMock) -> None:
    secret = "a-header-that-is-secret"
    web.post(f"{URL}/{secret}", body=f"I do not like {secret}", headers={"Location": f"/{secret}"})

    exchange = exchanged(url=f"{URL}/{secret}", headers={"X-Key": secret}, body=json.dumps({"a": secret}).encode())

    assert secret not in repr(exchange)
    assert (exchange.url, exchange.headers["X-Key"], exchange.body) == (f"{URL}/***", "***", '{"a": "***"}')
    assert exchange.answer_headers["location"] == "/***"


def test_of_a_webhook_s_address_the_host_stays(web: responses.RequestsMock) -> None:
    webhook = Secret("https://portal.example.test/rest/1/abcdefgh12345/")
    web.post(f"{webhook}telephony.externalcall.register.json")

    exchange = exchanged(
        Bitrix24Target(name="b24", webhook=webhook, default_user=1), f"{webhook}telephony.externalcall.register.json"
    )

    assert exchange.url == "https://portal.example.test/***/telephony.externalcall.register.json"


def test_a_login_in_an_address_is_left_out(web: responses.RequestsMock) -> None:
    url = URL.replace("//", "//uis:some-password@")
    web.post(url)

    assert exchanged(url=url).url == URL


def test_the_secrets_of_one_request_are_hidden_too(web: responses.RequestsMock) -> None:
    web.post(URL, body="an-access-token")

    exchange = exchanged(body=b'{"auth": "an-access-token"}', secrets=("an-access-token",))

    assert "an-access-token" not in repr(exchange)


def test_of_an_exchange_of_tokens_only_its_address_stays(web: responses.RequestsMock) -> None:
    web.post(URL, body='{"access_token": "brand-new"}')

    exchange = exchanged(url=f"{URL}?client_id=1", body=b'{"refresh_token": "old"}', is_of_tokens=True)

    assert (exchange.url, exchange.status) == (URL, 200)
    assert (exchange.headers, exchange.body, exchange.answer, exchange.answer_headers) == ({}, "", "", {})


def test_a_long_body_is_cut_and_no_secret_is_halved(web: responses.RequestsMock) -> None:
    secret = "a-header-that-is-secret"
    web.post(URL, body="ж" * 20_000)
    edge = http_client._SHOWN_MAX - len(secret) // 2

    exchange = exchanged(body=b"x" * edge + secret.encode() + b"y" * 100_000)

    assert exchange.is_cut
    assert exchange.body == f"{'x' * edge}***{'y' * (http_client._SHOWN_MAX - edge - 3)}…"
    assert exchange.answer == "ж" * http_client._SHOWN_MAX + "…"


def test_a_request_without_an_answer_is_reported(web: responses.RequestsMock) -> None:
    reported: list[Exchange] = []
    client = Client(replace(SETTINGS, proxy=None))
    client.report = reported.append

    with pytest.raises(NoAnswer):
        client.request("POST", URL, {}, b"{}")

    assert [(exchange.status, exchange.answer) for exchange in reported] == [(None, "")]


def test_an_old_1c_s_words_in_cp1251_are_read(web: responses.RequestsMock) -> None:
    web.post("http://127.0.0.1/in", status=500, body="Ошибка".encode("cp1251"))

    assert exchanged(OneCTarget(name="onec", url="http://127.0.0.1/"), url="http://127.0.0.1/in").answer == "Ошибка"
