"""What monitors ask: whether the process serves, and whether it is of any use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient

from relay.sandbox.server import Sandbox
from relay.web import create_app
from relay.web import probes as probes_room
from relay.wiring import Relay
from tests.lanes import eventually


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
    monkeypatch.setattr(probes_room, "_HANGS_AFTER_S", 0.5)
    relay = running(onec.onec_url)
    client = create_app(relay).test_client()
    eventually(lambda: client.get("/readyz").status_code == 200, "it is ready")

    look = relay.store.look
    monkeypatch.setattr(relay.store, "look", lambda target: (stuck(), look(target))[1])
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


def test_the_limit_is_the_contracts_ten_seconds() -> None:
    assert probes_room._HANGS_AFTER_S == 10
