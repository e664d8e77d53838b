"""The HTTP contract: what is taken, what is refused, and what is answered. A real database, Flask's test client."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relay.store import Selection
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock

IN = "/trade/hs/UIScom/in"
TOKEN = "?token=correct-horse"
BODY = rendered("incoming")
Make = Callable[..., FlaskClient]


@pytest.fixture
def make_client(make_relay: Callable[..., Relay]) -> Make:
    def make(**more: str) -> FlaskClient:
        relay = make_relay(**more)
        client = create_app(relay).test_client()
        client.relay = relay
        return client

    return make


@pytest.fixture
def client(make_client: Make) -> Any:
    return make_client()


def stored(client: Any) -> list[Any]:
    return list(client.relay.store.queries.events(Selection()))


def test_a_notification_is_stored_with_its_delivery_before_the_answer(client: Any) -> None:
    answer = client.post(IN + TOKEN, data=BODY)

    [event] = stored(client)
    [delivery] = client.relay.store.queries.deliveries(Selection())
    assert answer.status_code == 200
    assert answer.json == {"status": "accepted", "event": event.id, "kind": "incoming"}
    assert event.raw == BODY
    assert (delivery.target, delivery.state, delivery.event) == ("onec", "due", event.id)


@pytest.mark.parametrize(("threads", "status"), [(2, 503), (3, 200)])
def test_while_the_store_hangs_two_threads_of_a_worker_wait_for_nobody(
    client: Any, monkeypatch: pytest.MonkeyPatch, threads: int, status: int
) -> None:
    monkeypatch.setattr(client.relay.store.inbox, "stalled_s", lambda: 1.0)
    answer = client.post(IN + TOKEN, data=BODY, environ_overrides={"relay.threads": threads})
    assert answer.status_code == status


@pytest.mark.parametrize("path", [IN, "/TRADE/hs/uiscom/IN", "/trade/hs/UIScom/in/"])
def test_the_path_is_the_one_that_1c_has(client: Any, path: str) -> None:
    assert client.post(path + TOKEN, data=BODY).json["status"] == "accepted"


def test_the_path_of_a_source_can_be_nested_and_cyrillic(make_client: Make) -> None:
    client = make_client(source='path = "Фирма/Торговля"')

    assert client.post("/фирма/торговля/hs/UIScom/in" + TOKEN, data=BODY).status_code == 200
    assert client.post(IN + TOKEN, data=BODY).status_code == 404


def test_a_get_is_taken_with_its_variables_in_the_query(client: Any) -> None:
    answer = client.get(IN + TOKEN + "&direction=in&call_session_id=7&calling_phone_number=79005550123")

    [event] = stored(client)
    assert answer.json["status"] == "accepted"
    assert event.raw == b"direction=in&call_session_id=7&calling_phone_number=79005550123"
    assert event.call.caller == "+79005550123"
    again = client.get(IN + "?direction=in&token=correct-horse&call_session_id=7&calling_phone_number=79005550123")
    assert again.json == {"status": "duplicate", "event": event.id}


def test_a_post_without_a_body_is_read_from_its_query(client: Any) -> None:
    assert client.post(IN + TOKEN + "&direction=in&call_session_id=7").json["kind"] == "incoming"


@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""]
)
def test_the_content_type_does_not_matter(client: Any, kind: str) -> None:
    assert client.post(IN + TOKEN, data=BODY, content_type=kind).json["status"] == "accepted"


def test_a_repeat_is_recognised_within_the_window(client: Any, clock: FakeClock) -> None:
    first = client.post(IN + TOKEN, data=BODY).json
    clock.forward(minutes=9)

    assert client.post(IN + TOKEN, data=BODY).json == {"status": "duplicate", "event": first["event"]}
    assert client.post("/trade/hs/UIScom/any" + TOKEN, data=BODY).json["status"] == "accepted"
    clock.forward(minutes=2)
    assert client.post(IN + TOKEN, data=BODY).json["status"] == "accepted"


def test_the_window_can_be_off(make_client: Make) -> None:
    client = make_client(source="duplicate_window = 0")

    assert [client.post(IN + TOKEN, data=BODY).json["status"] for _ in range(2)] == ["accepted"] * 2


def test_what_cannot_be_read_is_quarantined_with_200_and_recognised_when_it_comes_again(client: Any) -> None:
    first = client.post(IN + TOKEN, data=b"{broken")
    again = client.post(IN + TOKEN, data=b"{broken")

    [event] = stored(client)
    assert first.status_code == 200
    assert first.json == {"status": "quarantined", "event": event.id, "problem": event.problem}
    assert (event.state, event.raw, event.call) == ("quarantined", b"{broken", None)
    assert again.json == {"status": "duplicate", "event": event.id}
    assert list(client.relay.store.queries.deliveries(Selection())) == []


def test_an_event_that_no_target_takes_is_stored_and_noted(make_client: Make) -> None:
    client = make_client(target='events = ["finished"]')

    assert client.post(IN + TOKEN, data=BODY).json["status"] == "accepted"
    assert any("no target" in note for note in stored(client)[0].notes)
    assert list(client.relay.store.queries.deliveries(Selection())) == []


# --- secrets


def _basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{password}".encode()).decode()}


@pytest.mark.parametrize("token", ["correct-horse", "battery-staple"])
@pytest.mark.parametrize(
    "way",
    [
        lambda token: {"path": f"?token={token}"},
        lambda token: {"headers": {"Authorization": f"Bearer {token}"}},
        lambda token: {"headers": _basic(token)},
        lambda token: {"headers": {"X-Relay-Token": token}},
        lambda token: {"data": b'{"token":"' + token.encode() + b'",' + BODY[1:]},
        lambda token: {"data": b'{"token":"' + token.encode() + b'","scenario_name":""x"","call_session_id":7}'},
    ],
)
def test_any_secret_in_any_way_opens(client: Any, way: Any, token: str) -> None:
    given = {"data": BODY, "path": "", **way(token)}

    assert client.post(IN + given.pop("path"), **given).json["status"] == "accepted"
    [event] = stored(client)
    assert token.encode() not in event.raw


@pytest.mark.parametrize(
    "offered",
    ["", "?token=", "?token=wrong", "?token=correct-hors", "?token=%FF", "?token=%D0%AF", "?integration_key=wrong"],
)
def test_a_wrong_or_missing_secret_is_refused_and_nothing_is_stored(client: Any, offered: str) -> None:
    answer = client.post(IN + offered, data=BODY)

    assert answer.status_code == 401
    assert "secret" in answer.json["error"]
    assert "correct-horse" not in answer.text
    assert stored(client) == []
    client.relay.rejections.flush()
    assert client.relay.store.inbox.rejected_since(["trade"], client.relay.clock())["trade"] == {"401": 1}


NOVOFON = '{"integration_key":"ключ-5","call_session_id":7,"direction":"in","call_info":{"call_status":"answered"}}'


@pytest.mark.parametrize(
    "given",
    [
        {"data": NOVOFON.encode()},
        {"data": NOVOFON.replace('"in"', '""in""').encode()},
        {"data": NOVOFON.replace("ключ-5", "former").encode()},
        {"data": "integration_key=ключ-5&call_session_id=7".encode()},
        {"data": BODY, "query_string": "integration_key=%D0%BA%D0%BB%D1%8E%D1%87-5"},
    ],
    ids=["strict", "damaged", "the former one", "form", "query"],
)
def test_an_integration_key_opens_like_a_token_and_is_nowhere_kept(make_client: Make, given: Any) -> None:
    client = make_client(source='integration_key = ["ключ-5", "former"]')

    assert client.post(IN, **given).json["status"] == "accepted"
    [event] = stored(client)
    for secret in ("ключ-5", "former"):
        assert secret.encode() not in event.raw
        assert secret not in str((event.call, event.notes))
    assert "integration_key" not in event.call.extra


def test_an_integration_key_that_is_not_the_sources_is_refused_and_masked_all_the_same(client: Any) -> None:
    assert client.post(IN, data=NOVOFON.encode()).status_code == 401
    assert client.post(IN + TOKEN, data=NOVOFON.encode()).json["status"] == "accepted"
    assert "ключ".encode() not in stored(client)[0].raw


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer \xd0\xaf"},
        {"X-Relay-Token": "\xd0\xaf"},
        {"Authorization": "Basic \xd0\xaf"},
        {"Authorization": "Basic " + base64.b64encode("я:Я".encode()).decode()},
        {"Authorization": "Basic " + base64.b64encode(b"\xff:\xff").decode()},
    ],
)
def test_a_secret_of_other_letters_is_a_wrong_one(client: Any, headers: dict[str, str]) -> None:
    assert client.post(IN, data=BODY, headers=headers).status_code == 401
    assert client.post(IN, data='{"token":"Я"}'.encode()).status_code == 401
    assert client.post(IN, data="token=Я".encode("cp1251")).status_code == 401


# --- constants in the address


def test_the_parameters_beside_a_body_are_kept(client: Any) -> None:
    answer = client.post(IN + TOKEN + "&shop=north&region=%D0%AE%D0%B3", data=BODY)

    [event] = stored(client)
    assert answer.json["status"] == "accepted"
    assert (event.raw, event.call.extra) == (BODY, {"shop": "north", "region": "Юг"})
    assert client.post(IN + "?shop=south&token=correct-horse", data=BODY).json["status"] == "duplicate"


def test_the_parameters_beside_a_body_that_had_to_be_mended_are_kept(client: Any) -> None:
    client.post(IN + TOKEN + "&shop=north&region=%D0%AE%D0%B3", data=b"{broken")
    [event] = stored(client)
    assert any("shop=north" in note for note in event.notes)

    client.relay.intake.reprocess(event, BODY)

    assert stored(client)[0].call.extra == {"shop": "north", "region": "Юг"}


def test_refusals_that_come_at_once_are_all_counted(client: Any) -> None:
    for _ in range(3):
        client.post(IN, data=BODY)
    assert client.relay.rejections._later is not None  # what came too soon is written a little later
    client.relay.rejections._later.join()

    assert client.relay.store.inbox.rejected_since(["trade"], client.relay.clock())["trade"] == {"401": 3}


def test_an_open_source_needs_no_secret(make_client: Make) -> None:
    assert make_client(source="open = true").post(IN, data=BODY).json["status"] == "accepted"


def test_ping_needs_no_secret(client: Any) -> None:
    assert client.get("/trade/hs/UIScom/ping").status_code == 200
    assert client.get("/nobody/hs/UIScom/ping").status_code == 404


# --- refusals, and their order


@pytest.mark.parametrize(
    "path", ["/", "/trade", "/trade/hs/UIScom", "/trade/hs/UIScom/else", "/nobody/hs/UIScom/in", "/hs/UIScom/in"]
)
def test_no_such_address(client: Any, path: str) -> None:
    answer = client.post(path + TOKEN, data=BODY)

    assert answer.status_code == 404
    assert set(answer.json) == {"error"}


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_no_such_method(client: Any, method: str) -> None:
    answer = client.open(IN + TOKEN, method=method, data=BODY)

    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "POST"}
    assert stored(client) == []


def test_the_order_of_the_checks(make_client: Make) -> None:
    """404, 405, 403, 413, 401."""
    client = make_client(source='allow_from = ["10.0.0.0/8"]')
    large = b"x" * 70000
    inside, outside = {"REMOTE_ADDR": "10.1.2.3"}, {"REMOTE_ADDR": "192.0.2.1"}

    assert client.put("/trade/hs/UIScom/else", data=large, environ_base=outside).status_code == 404
    assert client.put(IN, data=large, environ_base=outside).status_code == 405
    assert client.post(IN, data=large, environ_base=outside).status_code == 403
    assert client.post(IN, data=large, environ_base=inside).status_code == 413
    assert client.post(IN, data=BODY, environ_base=inside).status_code == 401
    assert client.post(IN + TOKEN, data=BODY, environ_base=inside).status_code == 200
    mapped = {"REMOTE_ADDR": "::ffff:10.1.2.3"}  # how a socket for both kinds of addresses writes it
    assert client.post(IN + TOKEN, data=BODY, environ_base=mapped).status_code == 200


@pytest.mark.parametrize(("proxies", "status"), [(0, 403), (1, 200)])
def test_the_address_behind_a_proxy(make_client: Make, proxies: int, status: int) -> None:
    client = make_client(top=f"trusted_proxies = {proxies}", source='allow_from = ["195.211.122.249"]')
    headers = {"X-Forwarded-For": "203.0.113.9, 195.211.122.249"}

    assert client.post(IN + TOKEN, data=BODY, headers=headers).status_code == status


def test_a_body_over_the_limit_is_refused(client: Any) -> None:
    assert client.post(IN + TOKEN, data=b"x" * 65537).status_code == 413
    assert client.post(IN + TOKEN, data=b"x" * 65536).json["status"] == "quarantined"


@pytest.mark.sqlite
def test_a_store_that_cannot_confirm_is_503_with_retry_after(client: Any) -> None:
    other = sqlite3.connect(client.relay.store.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = client.post(IN + TOKEN, data=BODY)
    other.execute("ROLLBACK")
    other.close()

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert set(answer.json) == {"error"}
    assert client.post(IN + TOKEN, data=BODY).json["status"] == "accepted"


# --- probes


def test_healthz(client: Any) -> None:
    assert client.get("/healthz").status_code == 200


def test_readyz_says_why_not(client: Any) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "dispatcher" in answer.json["error"]

    assert create_app(client.relay, delivers=False).test_client().get("/readyz").status_code == 200


@pytest.mark.sqlite
def test_readyz_when_the_store_takes_no_writes(client: Any) -> None:
    other = sqlite3.connect(client.relay.store.database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = client.get("/readyz")
    other.execute("ROLLBACK")
    other.close()

    assert answer.status_code == 503
    assert "store" in answer.json["error"]


# --- anything at all


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=300),
        st.text(max_size=200).map(
            lambda text: ('{"call_session_id":7,"scenario_name":"' + text).encode("utf-8", "surrogatepass")
        ),
    ),
    endpoint=st.sampled_from(["in", "out", "rec", "any"]),
)
def test_any_bytes_at_all_are_answered_with_200_and_kept(client: Any, body: bytes, endpoint: str) -> None:
    answer = client.post(f"/trade/hs/UIScom/{endpoint}", data=body, headers={"X-Relay-Token": "correct-horse"})

    assert answer.status_code == 200
    event = client.relay.store.queries.event(answer.json["event"])
    assert event.state == ("quarantined" if answer.json["status"] == "quarantined" else event.state)
    if b"token" not in body.lower():
        assert event.raw == body
