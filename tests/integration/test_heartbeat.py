"""The heartbeat: somebody else hears that the relay is well, and hears nothing when it is not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from relay.alerts.heartbeat import Heartbeat
from relay.cli import main
from relay.errors import ConfigError
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.waiting import eventually

MARK = "S3CRETMARK"


class Listener:
    """Hears heartbeats, as healthchecks.io does."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.status = 200
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.heard.append(self.path)
                self.send_response(listener.status)
                self.send_header("Location", "http://127.0.0.1:9/elsewhere")
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"OK")

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/{MARK}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.close()


@pytest.fixture
def relay(make_relay: Callable[..., Relay], listener: Listener) -> Relay:
    return make_relay(more=f'[alerts]\nheartbeat = "{listener.url}"\n')


def heartbeat(relay: Relay, *, is_on_duty: bool = True, ticked_ago: float | None = 0.2) -> Heartbeat:
    return Heartbeat(relay.settings.alerts, relay.store, relay.clock, lambda: is_on_duty, lambda: ticked_ago)


def test_a_relay_that_is_well_is_heard(relay: Relay, listener: Listener, logged: list[Any]) -> None:
    heartbeat(relay).step()

    assert listener.heard == [f"/{MARK}"]
    assert relay.store.alert_state.last_heartbeat() == relay.clock()
    assert logged == []


@pytest.mark.parametrize("ticked_ago", [None, 11.0])
def test_one_that_does_not_deliver_is_not(
    relay: Relay, listener: Listener, ticked_ago: float | None, logged: list[Any]
) -> None:
    heartbeat(relay, ticked_ago=ticked_ago).step()

    assert listener.heard == []
    assert [line["event"] for line in logged] == ["alert.heartbeat_not_taken"]


def test_one_that_cannot_store_is_not(relay: Relay, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(relay.store.database, "_closed", True)  # every use raises StoreError
        heartbeat(relay).step()

    assert listener.heard == []


def test_of_several_processes_only_the_one_on_duty_is_heard(relay: Relay, listener: Listener) -> None:
    heartbeat(relay, is_on_duty=False).step()

    assert listener.heard == []


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_taken_is_told_once_without_the_address(
    relay: Relay, listener: Listener, status: int, logged: list[Any]
) -> None:
    sender = heartbeat(relay)
    for listener.status in (status, status, 200, status, status):
        sender.step()

    errors = [line for line in logged if line["log_level"] == "error"]
    assert [(line["event"], line["reason"]) for line in errors] == [
        ("alert.heartbeat_not_taken", f"the answer was {status}")
    ] * 2
    assert len(listener.heard) == 5, "a redirect is not followed: the secret is not for others"
    assert MARK not in str(logged)


def test_nobody_there_is_told_without_the_address(
    make_relay: Callable[..., Relay], unused_port: int, logged: list[Any]
) -> None:
    relay = make_relay(more=f'[alerts]\nheartbeat = "http://127.0.0.1:{unused_port}/{MARK}"\n')
    heartbeat(relay).step()

    assert [line["reason"] for line in logged] == ["ConnectionError"]
    assert MARK not in f"{logged}{relay.settings!r}"


def status(relay: Relay) -> str:
    result = CliRunner().invoke(main, ["status"], env={"RELAY_CONFIG": str(relay.settings.file)})
    assert result.exit_code == 0, result.output
    return result.output


def test_status_says_when_one_was_taken(running: Callable[..., Relay], listener: Listener, clock: FakeClock) -> None:
    relay = running(more=f'[alerts]\nheartbeat = "{listener.url}"\n')
    assert "nobody has taken one yet" in status(relay)

    relay.store.alert_state.heartbeat_taken(relay.clock() - timedelta(minutes=40))
    assert "not taken for 40 min" in status(relay)

    eventually(lambda: "onec" in relay.dispatcher.owned(), "the lane is this process's")
    eventually(lambda: relay.dispatcher.ticked_ago() is not None, "it has begun")
    relay.heartbeat.step()
    assert "Heartbeat: taken" in status(relay)
    assert MARK not in status(relay)


def test_without_an_address_there_is_no_heartbeat(make_relay: Callable[..., Relay]) -> None:
    relay = make_relay()
    relay.heartbeat.start()

    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
    assert "eartbeat" not in status(relay)


@pytest.mark.parametrize("address", [MARK, "ftp://x", "https://", 5])
def test_what_is_no_address_is_refused_and_stays_unsaid(make_settings: Callable[..., Any], address: object) -> None:
    written = address if isinstance(address, int) else f'"{address}"'
    with pytest.raises(ConfigError, match=r"alerts\.heartbeat: must be the address") as refused:
        make_settings(more=f"[alerts]\nheartbeat = {written}\n")

    assert MARK not in str(refused.value)
