"""Alerts over a real channel: a local HTTP server that apprise posts to."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from sqlalchemy import insert, select

from relay import wiring
from relay.alerts import channels as channels_room
from relay.alerts.loop import AlertLoop, Election
from relay.alerts.snapshot import SnapshotCollector
from relay.cli import main
from relay.clock import to_us
from relay.config import ROOT
from relay.models import Shard, TargetHealth
from relay.store import tables
from relay.store import target_state as health_rows
from relay.store.alert_state import Alert
from relay.wiring import Relay
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import post
from tests.stories import incoming
from tests.waiting import eventually

MARK = "S3CRETMARK"
HOUR = timedelta(hours=1)
LATER = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)


class Place:
    """Takes what it is told; may refuse, or hang."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.titles: list[str] = []
        self.status, self.asked = 200, 0
        self.goes_on = threading.Event()
        self.goes_on.set()
        place = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                place.asked += 1
                place.goes_on.wait(20)
                if place.status == 200:
                    place.said.append(body["message"])
                    place.titles.append(body["title"])
                self.send_response(place.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://user:{MARK}@127.0.0.1:{self.server.server_port}/{MARK}?rto=30"

    def close(self) -> None:
        self.goes_on.set()
        self.server.shutdown()
        self.server.server_close()


def config(*places: Place, more: str = "") -> str:
    urls = json.dumps([place.url for place in places])
    return f'[alerts]\nurls = {urls}\nlanguage = "en"\nname = "shop"\n{more}'


@pytest.fixture
def place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


@pytest.fixture
def another_place() -> Iterator[Place]:
    place = Place()
    yield place
    place.close()


Logged = list[Any]


def watch_of(relay: Relay, *targets: str, **more: Any) -> AlertLoop:
    """As in a process that owns the lanes of these targets."""
    gathering = SnapshotCollector(relay.settings, relay.store, relay.clock, more)
    return AlertLoop(relay.settings, relay.store, lambda: list(targets or ("onec",)), gathering)


@pytest.fixture
def relay(make_relay: Callable[..., Relay], place: Place) -> Relay:
    return made_relay(make_relay, place)


def made_relay(make_relay: Callable[..., Relay], *places: Place, more: str = "") -> Relay:
    found = make_relay(more=config(*places, more=more))
    assert found.store.leases.take_over(Shard("onec"), "me") == 1
    return found


def become(relay: Relay, health: TargetHealth) -> None:
    with relay.store.database.write() as connection:
        health_rows.save_health(connection, "onec", 1, health)


def make_down(relay: Relay, state: Any = "down") -> None:
    reason = f"502 for +79005550987 at https://crm.example.test/rest/1/{MARK}/"
    become(relay, TargetHealth(state=state, reason=reason, since=relay.clock()))


def quarantine(relay: Relay, body: bytes = b"not readable") -> None:
    relay.intake.accept(relay.settings.sources["trade"], "in", body, is_query=False)


# --- told once, and when it is over


def test_a_target_that_goes_down_and_comes_back_is_told_twice(relay: Relay, place: Place, clock: FakeClock) -> None:
    watch = watch_of(relay)
    make_down(relay)
    post(relay, incoming(1)[1])
    clock.forward(minutes=9)
    watch.step()
    assert place.said == []
    clock.forward(minutes=1)
    for _ in range(4):
        watch.step()
        clock.forward(minutes=2)
    become(relay, TargetHealth())
    watch.step()

    [first, second] = place.said
    assert first.startswith("✖ onec has not answered since 02.03 12:45; 1 delivery waits")
    assert "relay status" in first
    assert "0987" in first
    assert "900555" not in first  # only the last four digits
    assert MARK not in first
    assert second == "✔ onec: answers again"
    assert set(place.titles) == {"UIS relay, shop"}


def test_a_restart_does_not_tell_it_again(relay: Relay, place: Place, clock: FakeClock) -> None:
    make_down(relay)
    clock.forward(minutes=11)
    watch_of(relay).step()
    clock.forward(minutes=5)
    watch_of(relay).step()

    assert len(place.said) == 1


def test_dead_letters_and_bodies_in_quarantine_are_told(
    make_relay: Callable[..., Relay], place: Place, clock: FakeClock
) -> None:
    relay = made_relay(make_relay, place, more="dead = 2")
    watch = watch_of(relay)
    for body in (b"not readable", b"nor this", b"nor that", b"nor the last"):
        quarantine(relay, body)
        watch.step()
        clock.forward(minutes=2)

    assert [said.partition(". ")[0] for said in place.said] == [
        "✖ 2 notifications cannot be read",
        "✖ 4 notifications cannot be read",
    ]


def test_a_silent_source_is_told_in_working_hours_only(
    make_relay: Callable[..., Relay], place: Place, clock: FakeClock
) -> None:
    relay = made_relay(make_relay, place, more='backlog_older = "30d"')
    watch = watch_of(relay)
    post(relay, incoming(1)[1])
    clock.forward(hours=6)  # 18:45 in Moscow; since 12:45 they worked for 5 h 15 min
    watch.step()
    assert "trade: nothing has come from UIS since 02.03 12:45" in place.said[0]
    post(relay, incoming(2)[1])
    watch.step()
    clock.forward(hours=14)  # 8:45 the next morning
    watch.step()
    assert place.said[1:] == ["✔ trade: notifications come again"]

    clock.forward(hours=4, minutes=15)  # 13:00
    watch.step()
    assert "since 02.03 18:45" in place.said[2]


def test_a_target_that_is_back_is_given_time_to_catch_up(relay: Relay, place: Place, clock: FakeClock) -> None:
    watch = watch_of(relay)
    make_down(relay)
    post(relay, incoming(1)[1])
    for minutes, health in ((0, None), (60, TargetHealth()), (29, None), (1, None)):
        clock.forward(minutes=minutes)
        if health is not None:
            watch.step()
            clock.forward(minutes=2)
            become(relay, health)
        watch.step()

    assert [said[:20] for said in place.said] == [
        "✖ onec has not answe",
        "✔ onec: answers agai",
        "✖ onec does not keep",
    ]


def test_several_troubles_are_one_message_and_there_is_one_a_minute(
    relay: Relay, place: Place, clock: FakeClock
) -> None:
    watch = watch_of(relay, amo=clock.now + timedelta(days=20))
    make_down(relay)
    clock.forward(minutes=11)
    watch.step()
    quarantine(relay)
    clock.forward(seconds=30)
    watch.step()
    assert len(place.said) == 1
    clock.forward(seconds=30)
    watch.step()

    assert [said.count("\n") + 1 for said in place.said] == [2, 1]
    assert "amo: the token is good until 22.03.2026" in place.said[0]


def test_a_store_that_cannot_be_used_is_told_from_memory_and_nothing_else_is_said_to_be_over(
    relay: Relay, place: Place, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watch_of(relay)
    make_down(relay)
    clock.forward(minutes=11)
    watch.step()
    with monkeypatch.context() as broken:
        broken.setattr(relay.store.database, "_closed", True)  # every use raises StoreError
        for _ in range(5):
            clock.forward(minutes=2)
            watch.step()
    clock.forward(minutes=2)
    watch.step()
    clock.forward(minutes=2)
    watch.step()

    assert [said[:27] for said in place.said[1:]] == ["✖ The database cannot be wr", "✔ the database can be writt"]
    assert "store" in relay.store.alert_state.load(channels_room.channels(relay.settings.alerts)[0].id)


def test_a_relay_that_stops_does_not_call_its_closed_store_a_trouble(
    relay: Relay, place: Place, clock: FakeClock
) -> None:
    watch = watch_of(relay)
    watch.stop_soon()
    relay.store.close()
    for _ in range(3):
        watch.step()
        clock.forward(minutes=1)

    assert place.said == []


# --- channels that do not work


def test_what_a_channel_does_not_take_is_told_with_a_later_look_and_the_log_says_so_once(
    relay: Relay, place: Place, clock: FakeClock, caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    watch = watch_of(relay)
    make_down(relay)
    clock.forward(minutes=11)
    place.status = 500
    for _ in range(3):
        watch.step()
        clock.forward(seconds=30)
    become(relay, TargetHealth())
    watch.step()
    place.status = 200
    watch_of(relay).step()  # a restart does not forget it

    assert place.said == ["✔ onec: answers again (this could not be told before; it began 02.03 12:45)"]
    [line] = [line for line in logged if line["event"] == "alert.not_taken"]
    assert line["channel"] == "alerts.urls[0] (json 127.0.0.1)"
    assert MARK not in f"{logged}{caplog.text}"


def test_each_channel_is_told_what_it_missed(
    make_relay: Callable[..., Relay], place: Place, another_place: Place, clock: FakeClock
) -> None:
    relay = made_relay(make_relay, place, another_place)
    watch = watch_of(relay)
    make_down(relay)
    clock.forward(minutes=11)
    another_place.status = 500
    watch.step()
    another_place.status = 200
    clock.forward(minutes=2)
    watch.step()

    assert [len(place.said), len(another_place.said)] == [1, 1]


def test_a_channel_that_hangs_disturbs_neither_another_nor_taking_nor_delivering(
    running: Callable[..., Relay], place: Place, another_place: Place, onec: Any
) -> None:
    relay = running(onec.onec_url, more=config(place, another_place))
    eventually(lambda: "onec" in relay.dispatcher.owned(), "the lane is this process's")
    quarantine(relay)
    place.goes_on.clear()
    relay.alerts.step(patience_s=0.0)
    eventually(lambda: place.asked == 1, "the channel hangs")
    eventually(lambda: len(another_place.said) == 1, "the other one is told meanwhile")
    for _ in range(3):
        relay.alerts.step(patience_s=0.0)  # nothing more is given to it

    post(relay, incoming(1)[1])
    eventually(lambda: onec.onec.recorded() == 1, "it is delivered meanwhile")

    assert (place.asked, place.said) == (1, [])
    place.goes_on.set()
    eventually(lambda: len(place.said) == 1, "it was not lost")
    relay.alerts.step()
    assert (place.asked, len(place.said), len(another_place.said)) == (1, 1, 1)


# --- the summary of a day


def test_a_summary_counts_the_calls_and_deliveries_of_a_day(
    make_relay: Callable[..., Relay], place: Place, clock: FakeClock
) -> None:
    relay = made_relay(make_relay, place, more='summary = "12:45"')
    for session in (1, 2):
        post(relay, incoming(session)[1])
    post(relay, rendered("lost", call_session_id=2))
    quarantine(relay)
    clock.forward(hours=24)
    watch_of(relay).step()

    [said] = place.said
    assert said.split("\n\n")[-1].splitlines() == [
        "The last 24 hours:",
        "trade: 2 calls, missed: 1; wait for a call back: 1; could not be read: 1",
        "onec: delivered: 0, waiting: 3, dead letters: 0",
    ]


def test_a_summary_is_sent_once_a_day_whoever_sends_it(
    make_relay: Callable[..., Relay], place: Place, clock: FakeClock
) -> None:
    relay = made_relay(make_relay, place, more='summary = "12:45"')
    for _ in range(3):
        watch_of(relay).step()  # after a restart
        clock.forward(minutes=10)

    assert len(place.said) == 1


def test_attempts_that_failed_are_counted_by_target(relay: Relay, clock: FakeClock) -> None:
    post(relay, incoming(1)[1])
    with relay.store.database.write() as connection:
        [seq] = connection.execute(select(tables.deliveries.c.seq)).scalars()
        rows = [(-25 * HOUR, "failed"), (-HOUR, "unreachable"), (-HOUR, "later"), (0 * HOUR, "delivered")]
        for number, (ago, outcome) in enumerate(rows):
            row = {"delivery_seq": seq, "number": number, "at": to_us(clock.now + ago), "took_ms": 1}
            connection.execute(insert(tables.attempts), {**row, "outcome": outcome, "reason": ""})

    assert relay.store.queries.failed_attempts(clock.now - 24 * HOUR) == {"onec": 2}


# --- of several processes one tells


def test_of_several_processes_the_owner_of_the_lane_tells(relay: Relay, place: Place, clock: FakeClock) -> None:
    make_down(relay)
    clock.forward(minutes=11)
    watch_of(relay, "another").step()
    assert place.said == []
    watch_of(relay, "onec").step()

    assert len(place.said) == 1


def test_where_nobody_delivers_one_of_those_who_take_tells(relay: Relay) -> None:
    """With RELAY_DISPATCH=off everywhere, or when `relay work` has ended or hangs."""
    seconds = [0.0]
    first, second = (Election(Shard("onec"), relay.store, list, lambda: seconds[0]) for _ in range(2))
    assert (first.is_won(), second.is_won()) == (False, False)  # perhaps somebody works
    seconds[0] += 30
    assert (first.is_won(), second.is_won()) == (True, False)

    assert relay.store.leases.renew("me") == {Shard("onec")}  # somebody does
    assert (first.is_won(), second.is_won()) == (False, False)
    seconds[0] += 30
    assert (second.is_won(), first.is_won()) == (True, False)


def test_two_relays_on_one_database_tell_once(running: Callable[..., Relay], place: Place, onec: Any) -> None:
    relay = running(onec.onec_url, more=config(place))
    eventually(lambda: "onec" in relay.dispatcher.owned(), "the lane is the first one's")
    beside = wiring.Relay(relay.settings)
    beside.dispatcher.start()
    try:
        quarantine(relay)
        checks = [threading.Thread(target=each.alerts.step) for each in (relay, beside)]
        for look in checks:
            look.start()
        for look in checks:
            look.join(20)
        assert len(place.said) == 1
    finally:
        beside.stop(5)
        beside.close()


# --- the configuration


def check(file: Any, *args: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["check", *args], env={"RELAY_CONFIG": str(file)})
    return result.exit_code, result.output


def test_check_online_sends_a_test(place: Place, write_config: Any, onec: Any) -> None:
    file = write_config(onec.onec_url, more=config(place))
    assert check(file)[0] == 0
    assert place.said == []

    code, said = check(file, "--online")
    assert (code, place.said) == (0, ["a test: troubles will be told here"])
    assert "alerts.urls[0] (json 127.0.0.1): took a test" in said
    place.status = 500
    code, said = check(file, "--online")

    assert (code, "did not take a test" in said) == (1, True)
    assert MARK not in said


def test_check_says_that_the_library_is_missing_and_how_to_get_it(
    place: Place, write_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)  # as where it is not installed

    code, said = check(write_config(more=config(place)))

    assert code == 2
    assert "make install EXTRAS=alerts" in said
    assert "-r extras/alerts.txt" in said


def test_the_extra_is_the_version_that_is_tested() -> None:
    [line] = (ROOT / "extras" / "alerts.in").read_text(encoding="utf-8").splitlines()
    pinned = line.split("#")[0].strip()

    for lock in ("extras/alerts.txt", "tests/requirements.txt"):
        assert f"\n{pinned} " in (ROOT / lock).read_text(encoding="utf-8"), lock


@pytest.mark.parametrize(
    ("lines", "key", "remedy"),
    [
        (f'urls = ["nonsense://{MARK}"]', "alerts.urls[0]", "apprise does not know"),
        (f'urls = ["{MARK}"]', "alerts.urls", "tgram://TOKEN/CHAT"),
        ('urls = ["env:ALERT_URL"]', "alerts.urls[0]", "ALERT_URL is not set"),
        ("down_for = 10", "alerts.down_for", '"30s"'),
        ('working_hours = "always"', "alerts.working_hours", "Mon-Fri 09:00-18:00"),
        ('summary = "9"', "alerts.summary", '"09:00"'),
        ('summary = "25:00"', "alerts.summary", '"09:00"'),
        ('language = "de"', "alerts.language", "ru, en"),
        ("dead = 0", "alerts.dead", "at least 1"),
        ('disk_free = "much"', "alerts.disk_free", '"64KB"'),
        ('store_down = "yes"', "alerts.store_down", "true or false"),
        ('url = "json://x"', "alerts.url", "did you mean urls"),
    ],
)
def test_every_mistake_is_named_and_no_secret_with_it(
    lines: str, key: str, remedy: str, write_config: Any, caplog: pytest.LogCaptureFixture
) -> None:
    code, said = check(write_config(more=f"[alerts]\n{lines}\n"))

    assert code == 2
    assert key in said
    assert remedy in said
    assert MARK not in said + caplog.text  # the library has a log of its own


def test_a_telegram_token_stands_where_a_host_would_and_is_not_shown(make_settings: Callable[..., Any]) -> None:
    settings = make_settings(more=f'[alerts]\nurls = ["tgram://123456789:{MARK}/-100123"]\n')
    [channel] = channels_room.channels(settings.alerts)

    assert channel.name == "alerts.urls[0] (tgram)"
    assert MARK not in repr(settings)
    assert MARK not in channel.id


def test_the_relay_starts_without_the_library_and_says_that_nobody_is_told(
    make_relay: Callable[..., Relay], place: Place, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    relay = make_relay(more=config(place))

    relay.alerts.start()

    assert not [thread for thread in threading.enumerate() if thread.name == "alerts"]
    [line] = logged
    assert (line["event"], "EXTRAS=alerts" in line["reason"]) == ("alert.nobody_is_told", True)


def test_the_library_is_not_loaded_where_nobody_is_to_be_told(relay: Relay, make_settings: Callable[..., Any]) -> None:
    settings = make_settings()

    assert channels_room.channels(settings.alerts) == []
    watch = AlertLoop(
        settings, relay.store, lambda: ["onec"], SnapshotCollector(settings, relay.store, relay.clock, {})
    )
    watch.start()
    assert not [thread for thread in threading.enumerate() if thread.name == "alerts"]


SENT = Alert(kind="down", name="onec", since=datetime(2026, 3, 2, tzinfo=UTC), count=3, last_sent=LATER)
STATES = {
    "firing": SENT,
    "not sent": replace(SENT, last_sent=None),
    "resolved": replace(SENT, state="resolved", resolved_at=LATER),
    "firing again": replace(SENT, since=LATER + HOUR, resolved_at=LATER),
    "without a beginning": replace(SENT, kind="dead", since=None),
}


def test_what_was_sent_is_kept_whole_and_by_channel(relay: Relay) -> None:
    relay.store.alert_state.save("one", STATES)
    relay.store.alert_state.save("two", STATES)
    relay.store.alert_state.save("two", {})

    assert relay.store.alert_state.load("one") == STATES
    assert relay.store.alert_state.load("two") == {}


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, "firing"),
        ({"is_unsaid": True}, "not sent"),
        ({"over_at": to_us(LATER)}, "resolved"),
        ({"back_at": to_us(LATER + HOUR)}, "firing again"),
    ],
)
def test_a_row_of_an_older_relay_is_read(relay: Relay, columns: dict[str, Any], expected: str) -> None:
    row = {"over_at": None, "back_at": None, "is_unsaid": False, **columns}
    with relay.store.database.write() as connection:
        connection.execute(
            insert(tables.alerts),
            {
                "channel": "one",
                "key": "target onec",
                "what": "down",
                "name": "onec",
                "at": to_us(LATER),
                "count": 3,
                "since": to_us(datetime(2026, 3, 2, tzinfo=UTC)),
                **row,
            },
        )
    [alert] = relay.store.alert_state.load("one").values()

    known_end = alert if alert.state == "resolved" or not alert.resolved_at else replace(alert, resolved_at=LATER)
    assert known_end == STATES[expected]
    assert alert.is_known is (expected == "firing")
