"""What Prometheus is told, over HTTP."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from msgspec.structs import replace

from relay.config import ROOT
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import all_are, post
from tests.stories import finished, incoming
from tests.waiting import eventually

EXAMPLES = ROOT / "config" / "examples"


@pytest.fixture
def client(relay: Relay) -> FlaskClient:
    return create_app(relay).test_client()


def values(client: FlaskClient) -> dict[str, float]:
    """Each sample, by its name with labels."""
    text = client.get("/metrics").text
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] not in "#"
    }


def send(client: FlaskClient, body: bytes, endpoint: str = "in", source: str = "trade", **more: str) -> int:
    token = more.get("token", "correct-horse")
    return client.post(f"/{source}/hs/UIScom/{endpoint}?token={token}", data=body).status_code


HERE, LISTED, ELSEWHERE = "127.0.0.1", "10.1.2.3", "192.0.2.7"
TOKEN, LIST = 'token = "scrape-me"', 'allow_from = ["10.0.0.0/8"]'
RIGHT, WRONG = {"Authorization": "Bearer scrape-me"}, {"Authorization": "Bearer guessed-ñ"}
ACCESS: list[tuple[list[str], str, dict[str, str], int]] = [
    ([], HERE, {}, 200),
    ([], "::1", {}, 200),
    ([], ELSEWHERE, {}, 403),
    ([], "", {}, 403),
    ([], HERE, {"X-Forwarded-For": ELSEWHERE}, 403),  # a proxy on this machine
    ([], HERE, {"X-Forwarded-For": HERE}, 403),
    ([], ELSEWHERE, RIGHT, 403),
    ([LIST], LISTED, {}, 200),
    ([LIST], f"::ffff:{LISTED}", {}, 200),
    ([LIST], HERE, {}, 200),
    ([LIST], ELSEWHERE, {}, 403),
    ([TOKEN], ELSEWHERE, RIGHT, 200),
    ([TOKEN], ELSEWHERE, {"Authorization": "Basic dTpzY3JhcGUtbWU="}, 200),
    ([TOKEN], HERE, RIGHT, 200),
    ([TOKEN], HERE, {}, 401),  # what a proxy on this machine passes on may look so
    ([TOKEN], ELSEWHERE, WRONG, 401),
    ([TOKEN], ELSEWHERE, {}, 401),
    ([TOKEN, LIST], LISTED, RIGHT, 200),
    ([TOKEN, LIST], LISTED, WRONG, 401),
    ([TOKEN, LIST], ELSEWHERE, RIGHT, 403),
    ([TOKEN, LIST], HERE, RIGHT, 200),
]


@pytest.mark.parametrize(("lines", "address", "headers", "status"), ACCESS)
def test_the_metrics_are_for_whom_the_configuration_names(
    make_relay: Callable[..., Relay], lines: list[str], address: str, headers: dict[str, str], status: int
) -> None:
    client = create_app(make_relay(more="\n".join(["[metrics]", *lines, ""]))).test_client()
    answer = client.get("/metrics", headers=headers, environ_base={"REMOTE_ADDR": address})

    assert answer.status_code == status
    assert ("relay_backlog" in answer.text) == (status == 200)
    assert (answer.headers.get("WWW-Authenticate") == "Bearer") == (status == 401)


@pytest.mark.parametrize(("sender", "status"), [(ELSEWHERE, 403), (HERE, 403), (LISTED, 200)])
def test_behind_a_trusted_proxy_the_sender_counts_and_not_the_proxy(
    make_relay: Callable[..., Relay], sender: str, status: int
) -> None:
    relay = make_relay(more=f"[metrics]\n{LIST}\n")
    relay.settings = replace(relay.settings, trusted_proxies=1)
    client = create_app(relay).test_client()

    assert client.get("/metrics", headers={"X-Forwarded-For": sender}).status_code == status
    assert client.get("/metrics").status_code == 200  # straight from this machine


def test_notifications_are_counted_by_what_they_were_answered(client: FlaskClient) -> None:
    body = rendered("incoming")
    send(client, body)
    send(client, body)
    send(client, b"not readable")
    send(client, body, token="wrong")
    send(client, b"x" * 70_000)
    send(client, body, source="nobody-17")
    found = values(client)

    def count(answer: str, kind: str = "none", source: str = "trade") -> float:
        return found[f'relay_notifications_total{{answer="{answer}",kind="{kind}",source="{source}"}}']

    assert [count("accepted", "incoming"), count("duplicate"), count("quarantined")] == [1, 1, 1]
    assert [count("401"), count("413"), count("404", source="unknown")] == [1, 1, 1]
    assert found["relay_ingest_seconds_count"] == 6
    assert "nobody-17" not in client.get("/metrics").text  # a stranger makes no labels


def test_what_the_store_says_is_asked_at_the_scrape(client: FlaskClient, relay: Relay, clock: FakeClock) -> None:
    for session in (1, 2):
        post(relay, incoming(session)[1])
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    relay.store.targets.pause("onec", clock.now)
    clock.forward(minutes=5)
    found = values(client)

    assert found['relay_backlog{target="onec"}'] == 2
    assert found['relay_oldest_due_seconds{target="onec"}'] == 300
    assert found['relay_dead{target="onec"}'] == 0
    assert found["relay_quarantined"] == 1
    assert found["relay_store_up"] == 1
    assert found["relay_database_bytes"] > 0
    states = {name: found[f'relay_target_state{{state="{name}",target="onec"}}'] for name in ("open", "paused", "down")}
    assert states == {"open": 0, "paused": 1, "down": 0}
    last = found['relay_last_notification_timestamp_seconds{source="trade"}']
    assert last == pytest.approx(clock.now.timestamp() - 300)


def test_attempts_and_their_delays_are_counted(running: Callable[..., Relay], onec: Any) -> None:
    relay = running(onec.onec_url)
    onec.onec.fail("bad_request", 1)
    post(relay, incoming(1)[1])
    eventually(all_are(relay, "dead"), "the first is refused")
    post(relay, incoming(2)[1])
    eventually(lambda: onec.onec.recorded() == 1, "the second is delivered")
    client = create_app(relay).test_client()

    def counted() -> bool:
        found = values(client)
        return (
            found.get('relay_attempts_total{outcome="refused",target="onec"}') == 1
            and found.get('relay_attempts_total{outcome="delivered",target="onec"}') == 1
            and found.get('relay_delivery_delay_seconds_count{target="onec"}') == 1
        )

    eventually(counted, "both attempts are counted, and the delay of the one that was delivered")


def test_a_store_that_cannot_be_read_is_said_and_the_rest_is_there(client: FlaskClient, relay: Relay) -> None:
    send(client, rendered("incoming"))
    relay.store.close()
    found = values(client)

    assert found["relay_store_up"] == 0
    assert found["relay_ingest_seconds_count"] == 1


def test_no_label_holds_a_phone_a_session_or_a_secret(client: FlaskClient) -> None:
    send(client, finished(3360109114, calling_phone_number="79005550987")[1], "rec")
    send(client, rendered("incoming"), token="S3CRETMARK")
    send(client, rendered("incoming"), source="79005550987")
    text = client.get("/metrics").text

    for secret in ("9005550987", "3360109114", "S3CRETMARK", "correct-horse", "media.example.test"):
        assert secret not in text


@pytest.mark.parametrize("file", ["prometheus-alerts.yml", "grafana-dashboard.json"])
def test_the_examples_name_only_what_is_exported(file: str, client: FlaskClient) -> None:
    text = (EXAMPLES / file).read_text(encoding="utf-8")
    known = {re.split(r"[{ ]", line)[0] for line in client.get("/metrics").text.splitlines() if line[:1] != "#"}
    known |= {line.split()[2] for line in client.get("/metrics").text.splitlines() if line.startswith("# TYPE")}
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in known}
    named = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in re.findall(r"\brelay_[a-z_]+", text)}

    assert named
    assert named <= families | {"relay"}


def test_the_dashboard_is_json_and_the_alerts_are_of_this_form() -> None:
    dashboard = json.loads((EXAMPLES / "grafana-dashboard.json").read_text(encoding="utf-8"))
    alerts = Path(EXAMPLES / "prometheus-alerts.yml").read_text(encoding="utf-8")

    assert len(dashboard["panels"]) >= 6
    assert alerts.count("- alert:") == alerts.count("expr:") == alerts.count("summary:") >= 6
