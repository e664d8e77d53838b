"""Alerts over a real channel: a local HTTP server that apprise posts to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner

from relay.alerts import channels as channels_room
from relay.alerts.channels import Channels
from relay.alerts.watch import Watch
from relay.cli import main
from relay.events import Health
from relay.store import Store
from relay.wiring import Relay
from tests.conftest import FakeClock
from tests.lanes import eventually, post
from tests.stories import incoming


class Channel:
    """Takes what it is told; may refuse, or hang."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.status, self.hangs = 200, threading.Event()
        self.hangs.set()
        channel = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                channel.hangs.wait(20)
                if channel.status == 200:
                    channel.said.append(body["message"])
                self.send_response(channel.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def config(self) -> str:
        return f'[alerts]\nurls = ["json://127.0.0.1:{self.server.server_port}/S3CRETMARK"]\nlanguage = "en"\n'


@pytest.fixture
def channel() -> Iterator[Channel]:
    channel = Channel()
    yield channel
    channel.hangs.set()
    channel.server.shutdown()
    channel.server.server_close()


class Here:
    """The lanes are this process's, or they are not."""

    def __init__(self, *targets: str) -> None:
        self.targets = list(targets)

    def owned(self) -> list[str]:
        return self.targets


def watch_of(relay: Relay, *targets: str, warnings: Any = None) -> Watch:
    settings = relay.settings
    return Watch(
        settings, relay.store, relay.clock, Here(*(targets or ("onec",))), Channels(settings.alerts.urls),
        warnings or (lambda now: []),
    )  # fmt: skip


@pytest.fixture
def relay(make_relay: Callable[..., Relay], channel: Channel) -> Relay:
    found = make_relay(more=channel.config)
    epoch = found.store.take_over("onec", "me")
    assert epoch == 1
    return found


def make_down(relay: Relay, state: Any = "down") -> None:
    health = Health(state=state, reason="502 for +79005550987", since=relay.clock())
    with relay.store.database.write() as connection:
        from relay.store import health as rows

        rows.save(connection, "onec", 1, health)


def make_well(relay: Relay) -> None:
    with relay.store.database.write() as connection:
        from relay.store import health as rows

        rows.save(connection, "onec", 1, Health())


def test_a_target_that_goes_down_and_comes_back_is_told_twice(relay: Relay, channel: Channel, clock: FakeClock) -> None:
    watch = watch_of(relay)
    make_down(relay)
    post(relay, incoming(1)[1])
    clock.forward(minutes=9)
    assert watch.look() is None
    clock.forward(minutes=1)

    assert watch.look() is not None
    assert [watch.look() for _ in range(3)] == [None] * 3
    make_well(relay)
    clock.forward(minutes=2)
    watch.look()

    [first, second] = channel.said
    assert "onec has not answered since 02.03 12:45; 1 wait. 502" in first
    assert "0987" in first
    assert "900555" not in first  # only the last four digits
    assert second == "✔ onec answers again"


def test_a_restart_does_not_tell_it_again(relay: Relay, channel: Channel, clock: FakeClock) -> None:
    make_down(relay)
    clock.forward(minutes=11)
    watch_of(relay).look()
    clock.forward(minutes=5)

    assert watch_of(relay).look() is None
    assert len(channel.said) == 1


def test_of_several_processes_one_tells(relay: Relay, channel: Channel, clock: FakeClock) -> None:
    make_down(relay)
    clock.forward(minutes=11)

    assert watch_of(relay, "another").look() is None
    assert watch_of(relay, "onec").look() is not None
    assert len(channel.said) == 1


def test_dead_letters_and_bodies_in_quarantine_are_told(relay: Relay, channel: Channel) -> None:
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)

    watch_of(relay).look()

    assert "dead letters: 1" in channel.said[0]


def test_what_a_channel_does_not_take_is_told_with_the_next_look(
    relay: Relay, channel: Channel, clock: FakeClock
) -> None:
    watch = watch_of(relay)
    make_down(relay)
    clock.forward(minutes=11)
    channel.status = 500
    assert watch.look() is None
    channel.status = 200

    assert watch.look() is not None
    assert len(channel.said) == 1


def test_several_troubles_are_one_message_and_there_is_one_a_minute(
    relay: Relay, channel: Channel, clock: FakeClock
) -> None:
    watch = watch_of(relay, warnings=lambda now: [("amo", "access ends on 01.04.2026: make a new long-lived token")])
    make_down(relay)
    clock.forward(minutes=11)
    watch.look()
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    clock.forward(seconds=30)
    assert watch.look() is None
    clock.forward(seconds=30)
    watch.look()

    assert [said.count("\n") + 1 for said in channel.said] == [2, 1]
    assert "amo: access ends on 01.04.2026: make a new long-lived token" in channel.said[0]


def test_a_store_that_cannot_be_used_is_told_from_memory(relay: Relay, channel: Channel, clock: FakeClock) -> None:
    watch = watch_of(relay)
    relay.store.close()

    assert watch.look() is not None
    clock.forward(minutes=5)
    assert watch.look() is None
    assert "notifications are not taken" in channel.said[0]


def test_a_channel_that_hangs_disturbs_neither_taking_nor_delivering(
    make_relay: Callable[..., Relay], running: Callable[..., Relay], channel: Channel, onec: Any
) -> None:
    relay = running(onec.onec_url, more=channel.config)
    relay.intake.accept(relay.settings.sources["trade"], "in", b"not readable", is_query=False)
    channel.hangs.clear()
    eventually(lambda: "onec" in relay.dispatcher.owned(), "the lane is this process's")
    teller = threading.Thread(target=relay.watch.look)
    teller.start()

    post(relay, incoming(1)[1])
    eventually(lambda: onec.onec.recorded() == 1, "it is delivered meanwhile")

    assert teller.is_alive()
    channel.hangs.set()
    teller.join(20)
    assert len(channel.said) == 1


# --- the configuration


def check(file: Any, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *args], env={"RELAY_CONFIG": str(file)})
    return result.exit_code, result.output


def test_check_online_sends_a_test(channel: Channel, write_config: Any, onec: Any) -> None:
    file = write_config(onec.onec_url, more=channel.config)
    assert check(file)[0] == 0
    assert channel.said == []

    code, said = check(file, "--online")
    assert (code, channel.said) == (0, ["a test: this is where troubles will be told"])
    assert "alerts json#0: the test was sent" in said
    channel.status = 500
    code, said = check(file, "--online")

    assert (code, "did not take the test" in said) == (1, True)
    assert "S3CRETMARK" not in said


def test_check_says_that_the_library_is_missing_and_how_to_get_it(
    channel: Channel, write_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)  # as where it is not installed

    code, said = check(write_config(more=channel.config))

    assert code == 2
    assert channels_room.PINNED in said
    assert "requirements.txt" in said


@pytest.mark.parametrize(
    ("lines", "key", "remedy"),
    [
        ('urls = ["nonsense://S3CRETMARK"]', "alerts.urls[0]", "apprise does not know"),
        ('urls = ["env:ALERT_URL"]', "alerts.urls[0]", "ALERT_URL is not set"),
        ("down_for = 10", "alerts.down_for", '"30s"'),
        ('working_hours = "always"', "alerts.working_hours", "Mon-Fri 09:00-18:00"),
        ('language = "de"', "alerts.language", "ru, en"),
        ("dead = 0", "alerts.dead", "at least 1"),
        ('disk_free = "much"', "alerts.disk_free", '"64KB"'),
        ('url = "json://x"', "alerts.url", "did you mean urls"),
    ],
)
def test_every_mistake_is_named_and_no_secret_with_it(lines: str, key: str, remedy: str, write_config: Any) -> None:
    code, said = check(write_config(more=f"[alerts]\n{lines}\n"))

    assert code == 2
    assert key in said
    assert remedy in said
    assert "S3CRETMARK" not in said


def test_the_relay_starts_without_the_library_and_says_that_nobody_is_told(
    make_relay: Callable[..., Relay], channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    relay = make_relay(more=channel.config)

    relay.watch.start()

    assert not [thread for thread in threading.enumerate() if thread.name == "alerts"]


def test_what_was_told_is_kept_whole(relay: Relay, clock: FakeClock) -> None:
    told = {"down onec": {"at": clock.now, "over_at": None, "count": 3, "is_quiet": True}}
    relay.store.told.save(told)

    assert Store(relay.settings.storage.url).told.load() == told
    relay.store.told.save({})
    assert relay.store.told.load() == {}
