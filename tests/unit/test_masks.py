"""A target's own secrets: hidden in what it answers, in whatever form its pages repeat them."""

from __future__ import annotations

import html
import json
import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from relay.config import AmoCrmTarget, Bitrix24Target, HttpTarget, OneCTarget, Secret, Target
from relay.config.schema import TARGET_KINDS
from relay.delivery.runner import send_once
from relay.targets import build
from relay.targets.error_text import Mask, secrets_of
from relay.targets.http_client import Client
from tests.factories import NOW, shipment, understood
from tests.fakes import Drawer, Memory
from tests.stories import finished

HOOK = "https://portal.example.test/rest/1/hook0code1/"
KEY = "whsec_" + b64encode(b"k" * 24).decode()
TARGETS: list[Target] = [
    OneCTarget(
        name="onec",
        url="https://1c.example.test/trade/hs/UIScom",
        username="Обмен",
        password=Secret("п@роль/ <1>"),
        proxy="http://uis:proxy-pass@proxy.example.test:3128",
    ),
    Bitrix24Target(name="b24", webhook=Secret(HOOK), default_user=1),
    Bitrix24Target(
        name="app",
        portal="https://portal.example.test",
        client_id="local.app",
        client_secret=Secret("app-secret-1"),
        refresh_token=Secret("refresh-token-1"),
        default_user=1,
    ),
    AmoCrmTarget(name="amo", url="https://example.amocrm.test", token=Secret("long.lived.token"), default_user=1),
    HttpTarget(
        name="crm",
        url="https://crm.example.test/hooks?key=in-the-url-1",
        query={"code": Secret("in the query&1")},
        headers={"Authorization": Secret("Bearer in-a-header-1")},
        secrets=(Secret(KEY),),
    ),
]
SECRETS: dict[str, list[str]] = {
    "onec": ["п@роль/ <1>", "proxy-pass"],
    "b24": ["hook0code1"],
    "app": ["app-secret-1", "refresh-token-1"],
    "amo": ["long.lived.token"],
    "crm": ["in-the-url-1", "in the query&1", "in-a-header-1", KEY],
}
EVERYTHING = re.compile(".*")
LOGINS = {"onec": ["Обмен:п@роль/ <1>", "uis:proxy-pass"]}

# how a page repeats a secret
FORMS = {
    "as it is": lambda secret: secret,
    "percent-encoded": lambda secret: quote(secret, safe=""),
    "percent-encoded, small": lambda secret: re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")),
    "of a path": quote,
    "of a form": quote_plus,
    "escaped": html.escape,
    "escaped by PHP": lambda secret: html.escape(secret).replace("&#x27;", "&#039;"),
    "escaped in the text only": lambda secret: html.escape(secret, quote=False),
    "of JSON": lambda secret: json.dumps(secret)[1:-1],
    "of PHP's JSON": lambda secret: json.dumps(secret)[1:-1].replace("/", "\\/"),
}
CASES = [(target, secret, form) for target in TARGETS for secret in SECRETS[target.name] for form in FORMS] + [
    (target, b64encode(login.encode()).decode(), form)
    for target in TARGETS
    for login in LOGINS.get(target.name, [])
    for form in FORMS
]


@pytest.mark.parametrize(("target", "secret", "form"), CASES, ids=lambda value: str(getattr(value, "name", value)))
def test_a_secret_is_hidden_in_every_form(target: Target, secret: str, form: str) -> None:
    shown = FORMS[form](secret)
    page = f"<p>The requested URL /a/{shown} was not found</p> {shown}".encode()

    found = Mask(secrets_of(target))(page)

    assert shown.encode() not in found
    assert b"The requested URL /a/*** was not found" in found


def test_a_page_of_an_old_web_server_repeats_it_in_its_own_encoding() -> None:
    assert "пароль1".encode("cp1251") not in Mask(["пароль1"])("вход: пароль1".encode("cp1251"))


@pytest.mark.parametrize("kind", TARGET_KINDS.values(), ids=TARGET_KINDS.keys())
def test_every_setting_that_is_a_secret_is_hidden(kind: type[Target]) -> None:
    """Also one that is added later: it is found by its type."""
    given = {"name": "x", "url": "https://example.test", "default_user": 1}
    fields = {name: given[name] for name in kind.__struct_fields__ if name in given}
    secret = {
        name: Secret(f"secret-{name}") for name, of in kind.__annotations__.items() if "Secret" in of and "[" not in of
    }

    hidden = set(secrets_of(kind(**{**fields, **secret})))

    assert set(secret.values()) <= hidden


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"login 1234 failed, see 12345 and x1234", b"login *** failed, see 12345 and x1234"),
        (b"?pwd=1234&a=1", b"?pwd=***&a=1"),
        (b'{"ID":1234,"phone":"1234"}', b'{"ID":1234,"phone":"1234"}'),
        (b'\xef\xbb\xbf [{"ID":1234}]', b'\xef\xbb\xbf [{"ID":1234}]'),
    ],
)
def test_a_short_password_is_hidden_as_a_word_and_spoils_no_number_of_a_document(content: bytes, shown: bytes) -> None:
    assert Mask(["1234"])(content) == shown


@pytest.mark.parametrize("secret", ["", "1", "42", "abc"])
def test_what_is_too_short_to_be_one_garbles_nothing(secret: str) -> None:
    assert Mask([secret])(b"abc 42 1") == b"abc 42 1"


@given(st.text(min_size=8, max_size=40), st.binary(max_size=60), st.sampled_from(sorted(FORMS)))
def test_nothing_of_a_long_secret_is_left_wherever_it_stands(secret: str, around: bytes, form: str) -> None:
    shown = FORMS[form](secret).encode("utf-8", "surrogatepass")

    assert shown not in Mask([secret])(around + shown + around).replace(b"***", b"\x00")


# --- in what adapters say of an answer


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def repeats(status: int) -> Any:
    """A server whose page repeats all that it was sent."""

    def answer(request: Any) -> tuple[int, dict[str, str], str]:
        body = request.body.decode() if isinstance(request.body, bytes) else request.body or ""
        return (
            status,
            {"Content-Type": "text/html"},
            f"<html><p>{request.url} {dict(request.headers)} {body}</p></html>",
        )

    return answer


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 500, 503])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_page_that_repeats_the_request_gives_no_secret_away(
    web: responses.RequestsMock, target: Target, status: int
) -> None:
    for method in ("GET", "POST", "HEAD"):
        web.add_callback(method, EVERYTHING, callback=repeats(status))
    token_store = Drawer()
    adapter = build(target, lambda: NOW, token_store)
    [call] = understood([finished()])

    reasons = [send_once(adapter, shipment(call), Memory(call)).reason, adapter.check().reason]

    whole = " ".join(reasons)
    assert "***" in whole or status < 400  # the page was read: it is hidden there
    for secret in (
        *SECRETS[target.name],
        *(b64encode(login.encode()).decode() for login in LOGINS.get(target.name, [])),
    ):
        assert not [name for name, form in FORMS.items() if form(secret) in whole], whole


GIVEN = "https://oauth.bitrix24.tech/oauth/token/"


def test_an_access_token_is_hidden_too(web: responses.RequestsMock) -> None:
    """It stands in no setting: it goes out with the request."""
    web.get(GIVEN, json={"access_token": "access-token-1", "refresh_token": "refresh-token-2"})
    web.add_callback("POST", EVERYTHING, callback=repeats(500))
    [call] = understood([finished()])

    reason = send_once(build(TARGETS[2], lambda: NOW, Drawer()), shipment(call), Memory(call)).reason

    assert "auth" in reason
    assert "access-token-1" not in reason


def test_a_target_that_gives_the_same_refresh_token_again_is_understood(web: responses.RequestsMock) -> None:
    web.get(GIVEN, json={"access_token": "access-token-1", "refresh_token": "refresh-token-1"})
    web.post(EVERYTHING, json={})
    token_store = Drawer()

    build(TARGETS[2], lambda: NOW, token_store).check()

    assert token_store.pair is not None
    assert (token_store.pair.access, token_store.pair.refresh) == ("access-token-1", "refresh-token-1")


@pytest.mark.parametrize("secret", ["half a letter \udc98", "日本のパスワード"])
def test_secrets_of_strange_letters_do_no_harm(secret: str) -> None:
    assert Mask([secret])(b"half a letter, and a word") in (b"half a letter, and a word", b"***, and a word")


def test_an_address_that_cannot_be_used_is_not_repeated() -> None:
    client = Client(TARGETS[1])
    try:
        client.request("POST", "https://[hook0code1/", {})
    except Exception as exc:
        assert "hook0code1" not in str(exc)
    else:
        raise AssertionError("it was used")
