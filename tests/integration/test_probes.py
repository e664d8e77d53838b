"""What monitors ask: whether the process serves, and whether it is of any use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from relay.sandbox.server import Sandbox
from relay.web import create_app, monitoring
from relay.web.monitoring import Probes
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.waiting import eventually


class Stuck:
    """The dispatcher's look at the store does not come back until it is let go."""

    def __init__(self) -> None:
        self.hangs, self.go_on = threading.Event(), threading.Event()

    def __call__(self, *_: object) -> None:
        self.hangs.set()
        assert self.go_on.wait(60)


@pytest.fixture
def stuck() -> Iterator[Stuck]:
    found = Stuck()
    yield found
    found.go_on.set()


def test_a_dispatcher_that_hangs_makes_the_relay_unready_and_one_that_goes_on_ready_again(
    running: Callable[..., Relay], onec: Sandbox, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It really hangs: in the middle of a sweep, as on a disk that does not answer."""
    monkeypatch.setattr(monitoring, "_HANGS_AFTER_S", 0.5)
    relay = running(onec.onec_url)
    client = create_app(relay).test_client()
    eventually(lambda: client.get("/readyz").status_code == 200, "it is ready")

    poll = relay.store.queue.poll
    monkeypatch.setattr(relay.store.queue, "poll", lambda owner: (stuck(), poll(owner))[1])
    assert stuck.hangs.wait(20)
    eventually(lambda: client.get("/readyz").status_code == 503, "it is no longer ready")
    answer = client.get("/readyz")
    assert "the dispatcher has not moved for" in answer.get_json()["error"]
    assert client.get("/healthz").status_code == 200  # it serves, and notifications are taken

    stuck.go_on.set()
    eventually(lambda: client.get("/readyz").status_code == 200, "it goes on")


def test_a_target_that_is_down_does_not_make_the_relay_unready(running: Callable[..., Relay], unused_port: int) -> None:
    relay = running(f"http://127.0.0.1:{unused_port}/trade/hs/UIScom")
    client: FlaskClient = create_app(relay).test_client()

    eventually(lambda: client.get("/readyz").status_code == 200, "it is ready")


def commits(relay: Relay) -> int:
    """How many pages the journal has: a commit that changes something adds to it."""
    return Path(f"{relay.store.database.path}-wal").stat().st_size


def test_a_thousand_questions_of_readiness_are_one_commit(relay: Relay, clock: FakeClock) -> None:
    now = [0.0]
    client = client_of(Probes(relay, delivers=False, monotonic=lambda: now[0]))
    assert client.get("/readyz").status_code == 200
    before = commits(relay)

    for _ in range(100):
        now[0] += 0.05
        clock.forward(seconds=0.05)
        assert client.get("/readyz").status_code == 200
    assert commits(relay) == before

    now[0] += 10
    clock.forward(seconds=10)
    client.get("/readyz")
    assert commits(relay) > before


def test_a_store_that_fails_is_known_after_a_second_and_one_that_works_again_too(
    relay: Relay, clock: FakeClock
) -> None:
    now = [0.0]
    client = client_of(Probes(relay, delivers=False, monotonic=lambda: now[0]))
    assert client.get("/readyz").status_code == 200
    place = relay.store.database.path
    place.rename(place.with_suffix(".away"))
    assert client.get("/readyz").status_code == 200  # for a second

    now[0] += 1
    answer = client.get("/readyz")
    assert (answer.status_code, answer.get_json()) == (
        503,
        {"error": "the store takes no writes; the log says why"},
    )
    place.with_suffix(".away").rename(place)
    now[0] += 1
    assert client.get("/readyz").status_code == 200


def test_readiness_tells_the_log_what_it_does_not_tell_strangers(relay: Relay, logged: list[Any]) -> None:
    relay.store.close()
    answer = client_of(Probes(relay, delivers=False)).get("/readyz")

    assert "relay.db" not in answer.text
    assert [line["event"] for line in logged] == ["readyz.store_unusable"]
    assert "relay.db" in logged[0]["reason"]


def test_who_asks_while_the_store_hangs_waits_for_the_one_look_and_not_for_ever(
    relay: Relay, stuck: Stuck, monkeypatch: pytest.MonkeyPatch
) -> None:
    prove = relay.store.database.prove_writable
    monkeypatch.setattr(relay.store.database, "prove_writable", lambda now: (stuck(), prove(now))[1])
    now = [0.0]
    probes = Probes(relay, delivers=False, monotonic=lambda: now[0])
    first = threading.Thread(target=probes.store_problem)
    first.start()
    assert stuck.hangs.wait(20)
    now[0] += 60

    assert [probes.store_problem() for _ in range(20)] == ["the store does not answer"] * 20

    stuck.go_on.set()
    first.join()
    assert probes.store_problem() is None


def client_of(probes: Probes) -> FlaskClient:
    app = Flask("tests")
    probes.register(app)
    return app.test_client()


def test_the_limit_is_the_contracts_ten_seconds() -> None:
    assert monitoring._HANGS_AFTER_S == 10
