"""Alerts to MAX: its bot's HTTP address, played by a local server.

The request is that of dev.max.ru/docs-api/methods/POST/messages.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from relay.alerts import channels as channels_room
from relay.alerts.channels import Channel, MaxChannel
from relay.config import Alerts
from relay.config.alerting import channel_url
from relay.errors import ConfigError
from tests.waiting import eventually

TOKEN = "S3CRETMARK_f9LHod-D0cOL"


class MaxApi:
    """Takes messages whose token it knows."""

    def __init__(self, certificate: tuple[Path, Path] | None = None) -> None:
        self.requests: list[tuple[str, dict[str, Any]]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                is_known = self.headers["Authorization"] == TOKEN
                if is_known:
                    api.requests.append((self.path, body))
                self.send_response(200 if is_known else 401)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'http' if certificate is None else 'https'}://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api() -> Iterator[MaxApi]:
    api = MaxApi()
    yield api
    api.close()


def channel(url: str, ca_file: Path | None = None) -> Channel:
    alerts = Alerts(urls=(channel_url(url),), ca_file=None if ca_file is None else str(ca_file))
    [channel] = channels_room.channels(alerts)
    assert isinstance(channel, MaxChannel)
    return channel


@pytest.mark.parametrize("receiver", ["chat_id=-7123456", "user_id=42"])
def test_a_message_goes_to_a_chat_or_to_a_person(api: MaxApi, receiver: str) -> None:
    assert channel(f"max://{TOKEN}?{receiver}&api={api.url}").send("UIS relay, shop", "✖ onec: down")

    assert api.requests == [(f"/messages?{receiver}", {"text": "UIS relay, shop\n✖ onec: down"})]


def test_without_another_address_it_is_maxs_own() -> None:
    assert urlsplit(channels_room._MAX_API).hostname == "platform-api2.max.ru"


def test_a_message_is_no_longer_than_max_takes(api: MaxApi) -> None:
    assert channel(f"max://{TOKEN}?user_id=42&api={api.url}").send("title", "x" * 5000)

    assert len(api.requests[0][1]["text"]) == 4000


def test_a_wrong_token_is_told_once_and_without_it(api: MaxApi, logged: list[Any]) -> None:
    sender = channel(f"max://{TOKEN}wrong?chat_id=1&api={api.url}")

    assert [sender.send("title", "body") for _ in range(3)] == [False] * 3
    assert [(line["event"], line["reason"]) for line in logged] == [("alert.channel_broke", "MAX answered 401")]
    assert sender.name == "alerts.urls[0] (max)"
    assert TOKEN not in f"{logged}{sender.name}"


def test_nobody_there_is_no_error_of_ours(unused_port: int, logged: list[Any]) -> None:
    assert not channel(f"max://{TOKEN}?chat_id=1&api=http://127.0.0.1:{unused_port}").send("title", "body")
    assert TOKEN not in str(logged)


@pytest.mark.parametrize(
    "url",
    [
        "max://",
        f"max://{TOKEN}",
        f"max://{TOKEN}?chat_id=",
        f"max://{TOKEN}?chat_id=x",
        f"max://{TOKEN}?to=1",
        f"max://{TOKEN}?chat_id=1&user_id=2",
        "max://?chat_id=1",
    ],
)
def test_an_address_that_is_not_complete_is_refused_with_its_form(url: str) -> None:
    try:
        problem = channel(url).problem()
    except ValueError as exc:  # before it is a channel
        problem = str(exc)

    assert problem is not None
    assert "max://TOKEN?chat_id=" in problem
    assert TOKEN not in problem


def test_max_needs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)

    assert channel(f"max://{TOKEN}?chat_id=1").problem() is None


def test_an_authority_of_a_file_is_trusted_beside_the_public_ones(certificate: tuple[Path, Path]) -> None:
    """MAX's own certificate is signed by an authority that Python does not know."""
    api = MaxApi(certificate)
    try:
        url = f"max://{TOKEN}?chat_id=1&api={api.url}"
        assert not channel(url).send("title", "body")
        assert channel(url, certificate[0]).send("title", "body")
    finally:
        api.close()

    assert len(api.requests) == 1


def test_a_file_of_authorities_that_is_not_there_is_refused(make_settings: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"alerts\.ca_file: there is no file .*missing\.pem"):
        make_settings(more='[alerts]\nca_file = "missing.pem"\n')


def test_a_running_relay_tells_max(running: Callable[..., Any], api: MaxApi, onec: Any) -> None:
    more = f'[alerts]\nurls = "max://{TOKEN}?chat_id=-7&api={api.url}"\nname = "shop"\n'
    relay = running(onec.onec_url, more=more)
    eventually(lambda: "onec" in relay.dispatcher.owned(), "the lane is this process's")
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    relay.alerts.step()

    [(_, body)] = api.requests
    assert body["text"].startswith("Ретранслятор UIS, shop\n✖ Не читается 1 уведомление.")
