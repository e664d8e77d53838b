"""The command line on a real database, as an operator uses it beside a running relay."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner, Result

from relay import bootstrap, config, wiring
from relay.cli import main
from relay.config import ROOT, Settings
from relay.errors import ConfigError, StoreError
from relay.models import Attempt, Shard
from relay.observability import logging
from relay.sandbox.server import Sandbox
from relay.store import Claim, Selection, operator_actions
from relay.wiring import Relay
from tests import databases
from tests.calls import rendered
from tests.factories import result
from tests.stories import CLIENT_E164, lost

Run = Callable[..., Result]
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00")


class Operator:
    """Runs commands; `relay` is what a running relay would do meanwhile."""

    def __init__(self, relay: Relay, environ: dict[str, str]) -> None:
        self.relay, self.environ = relay, environ

    def run(self, *args: str, code: int = 0, **more: Any) -> str:
        done = CliRunner().invoke(main, args, env=self.environ, **more)
        assert done.exit_code == code, done.output + repr(done.exception)
        return done.output

    def lines(self, *args: str) -> list[dict[str, Any]]:
        done = CliRunner().invoke(main, [*args, "--json"], env=self.environ)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.stdout.splitlines()]

    def post(self, body: bytes, endpoint: str = "in") -> str:
        return self.relay.intake.accept(self.relay.settings.sources["trade"], endpoint, body, is_query=False).event

    def end(self, state: Any, reason: str = "400: нет") -> None:
        """What a lane would do: the next due delivery comes to this."""
        now = wiring.now_utc()
        job = self.relay.store.queue.claim(Claim(Shard("onec"), 1, now))
        assert job is not None
        attempt = Attempt(number=1, at=now, took_ms=12, status=400, outcome="refused", reason=reason)
        self.relay.store.queue.record(result(job, state, now, reason=reason, attempt=attempt))

    def states(self) -> list[str]:
        return [delivery.state for delivery in self.relay.store.queries.deliveries(Selection())]


@pytest.fixture
def operator(make_settings: Callable[..., Settings], tmp_path: Path) -> Any:
    settings = make_settings()
    databases.create(settings)
    relay = wiring.Relay(settings)
    relay.store.leases.take_over(Shard("onec"), "somebody")
    yield Operator(relay, {"RELAY_CONFIG": str(tmp_path / "relay.toml")})
    relay.close()


@pytest.fixture
def busy(operator: Operator) -> Operator:
    """Three calls: one delivered, one dead, one held; and one event that could not be read."""
    for session, state in ((1, "delivered"), (2, "dead"), (3, "held")):
        operator.post(rendered("incoming", call_session_id=session, calling_phone_number=f"7900555000{session}"))
        operator.end(state)
    operator.post(b'{"call_session_id": 4, "direction":"in", "calling_ph')
    return operator


# --- looking


def test_events_are_listed_with_fixed_keys(busy: Operator) -> None:
    found = busy.lines("events")

    assert [event["state"] for event in found] == ["accepted"] * 3 + ["quarantined"]
    expected = ["id", "source", "endpoint", "kind", "state", "session", "received_at", "problem", "notes"]
    assert [key for key in found[0] if key in expected] == expected
    assert found[0]["call"]["caller"] == "+79005550001"
    assert found[3]["call"] is None
    assert found[3]["problem"]
    assert ISO.fullmatch(found[0]["received_at"])
    assert ISO.fullmatch(found[0]["call"]["started_at"])


@pytest.mark.parametrize(
    ("filters", "sessions"),
    [
        (["--session", "2"], ["2"]),
        (["--phone", "5550003"], ["3"]),
        (["--phone", "+7 900 555-00-01"], ["1"]),
        (["--phone", "89005550001"], ["1"]),
        (["--kind", "finished"], []),
        (["--source", "trade"], ["1", "2", "3", None]),
        (["--target", "onec"], ["1", "2", "3"]),
        (["--state", "quarantined"], [None]),
        (["--state", "dead"], ["2"]),
        (["--since", "1h"], ["1", "2", "3", None]),
        (["--until", "2020-01-01"], []),
        (["--since", "2020-01-01T10:00", "--until", "2999-01-01"], ["1", "2", "3", None]),
        (["--limit", "2"], ["3", None]),
    ],
)
def test_the_filters(busy: Operator, filters: list[str], sessions: list[str | None]) -> None:
    assert [event["session"] for event in busy.lines("events", *filters)] == sessions


@pytest.mark.parametrize("filters", [["--target", "nope"], ["--source", "nope"]])
def test_an_unknown_name_is_said_with_those_that_there_are(busy: Operator, filters: list[str]) -> None:
    assert "there are: onec" in busy.run("events", "--target", "nope", code=1)
    busy.run("dead", *filters, code=1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["events", "--since", "lately"],
        ["events", "--since", "99999999999d"],
        ["dead", "--until", "9999-12-31T23:59:59-12:00"],
        ["events", "--kind", "x"],
        ["show"],
        ["nonsense"],
    ],
)
def test_wrong_arguments_exit_with_2(busy: Operator, arguments: list[str]) -> None:
    busy.run(*arguments, code=2)


def test_show_gives_one_event_whole(busy: Operator) -> None:
    [dead] = [letter for letter in busy.lines("dead") if letter["state"] == "dead"]
    for wanted in (dead["event"], dead["id"]):
        [whole] = busy.lines("show", wanted)
        assert whole["id"] == dead["event"]
        assert whole["raw"] == rendered("incoming", call_session_id=2, calling_phone_number="79005550002").decode()
        [delivery] = whole["deliveries"]
        assert (delivery["id"], delivery["state"]) == (dead["id"], "dead")
        [attempt] = delivery["attempts"]
        assert list(attempt) == ["number", "at", "took_ms", "status", "outcome", "reason"]
        assert (attempt["number"], attempt["status"], attempt["outcome"]) == (1, 400, "refused")


def test_show_for_people_has_the_body_the_notes_and_the_attempts(busy: Operator) -> None:
    [dead] = [letter for letter in busy.lines("dead") if letter["state"] == "dead"]
    text = busy.run("show", dead["event"])

    assert "79005550002" in text
    assert "400: нет" in text
    assert "understood" in text


def test_what_others_say_is_no_markup_of_the_terminal(operator: Operator) -> None:
    event = operator.post(rendered("incoming", scenario_name="[/quote] [red]Основной[/red]"))
    operator.end("dead", reason="400: [error] [/b]")

    text = operator.run("show", event)

    assert "400: [error] [/b]" in text
    assert text.count("[/quote] [red]Основной[/red]") == 2  # as it came, and what was understood
    assert "[error]" in operator.run("dead")
    assert "[error]" in operator.run("status")


def test_a_repeat_is_shown_with_its_time(operator: Operator) -> None:
    event = operator.post(rendered("incoming"))
    operator.post(rendered("incoming"))
    [whole] = operator.lines("show", event)

    assert len(whole["repeats"]) == 1
    assert ISO.fullmatch(whole["repeats"][0])
    assert "sent 2 times" in operator.run("show", event)


def test_an_unknown_id_exits_with_1(operator: Operator) -> None:
    assert "there is no event" in operator.run("show", "nope", code=1)


def test_dead_prints_deliveries_and_quarantined_events(busy: Operator) -> None:
    letters = busy.lines("dead")

    keys = [
        "id",
        "event",
        "target",
        "kind",
        "session",
        "state",
        "attempts",
        "due_at",
        "delivered_at",
        "reason",
        "remote",
    ]
    assert [letter["state"] for letter in letters] == ["dead", "held", "quarantined"]
    assert all(list(letter) == keys for letter in letters)
    assert (letters[2]["id"], letters[2]["target"]) == (letters[2]["event"], None)
    assert letters[2]["reason"]
    assert "400: нет" in busy.run("dead")


def test_status_prints_one_object_per_target_and_source(busy: Operator) -> None:
    busy.relay.rejections.add("trade", 401)
    busy.relay.rejections.flush()
    target, source = busy.lines("status")

    assert target == {
        "target": "onec",
        "kind": "1c",
        "state": "open",
        "reason": None,
        "due": 0,
        "oldest_due_at": None,
        "delivered_24h": 1,
        "dead": 2,
        "last_error": "400: нет",
    }
    assert (source["source"], source["taken_24h"], source["refused_24h"]) == ("trade", 4, {"401": 1})
    assert ISO.fullmatch(source["last_taken_at"])
    assert "onec" in busy.run("status")


def test_a_port_of_the_sandbox_that_is_in_use_is_said_with_what_to_do(operator: Operator) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        text = operator.run("sandbox", "--port", str(port), code=1)

    assert f"port {port} of 127.0.0.1 cannot be used: Address already in use; end what listens there" in text


def test_status_is_watched_until_it_is_ended(busy: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def look_away(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            busy.post(rendered("incoming", call_session_id=77))
        else:
            raise KeyboardInterrupt

    monkeypatch.setattr("relay.cli.show.time", SimpleNamespace(sleep=look_away))

    counts = [line["taken_24h"] for line in busy.lines("status", "--watch", "--source", "trade")]

    assert (counts, looks) == ([4, 5], 2)


def test_missed_calls_are_listed_and_written_for_excel(operator: Operator, tmp_path: Path) -> None:
    began = datetime.now(ZoneInfo("Europe/Moscow")) - timedelta(hours=2)
    operator.post(lost(9, start_time=f"{began:%Y-%m-%d %H:%M:%S}")[1])

    [line] = operator.lines("missed")
    assert (line["session"], line["client"], line["reached_at"], line["called_back"]) == ("9", CLIENT_E164, None, False)
    assert "has waited for 2 h" in operator.run("missed", "--waiting")
    assert operator.run("missed", "--since", "1h") == "no missed calls\n"
    operator.run("missed", "--csv", str(tmp_path / "missed.csv"))
    assert f'"{CLIENT_E164}";' in (tmp_path / "missed.csv").read_text(encoding="utf-8-sig")


def test_times_are_by_the_clock_of_their_source(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings(source='timezone = "Asia/Yekaterinburg"')
    databases.create(settings)
    relay = wiring.Relay(settings)
    operator = Operator(relay, {"RELAY_CONFIG": str(tmp_path / "relay.toml")})
    there = datetime.now(ZoneInfo("Asia/Yekaterinburg"))
    event = operator.post(lost(9, start_time=f"{there:%Y-%m-%d %H:%M:%S}")[1])

    for command in (["events"], ["show", event], ["missed"]):
        assert "UTC+05:00" in operator.run(*command)
    assert f" {there:%Y-%m-%d %H:%M:%S} " in operator.run("missed")
    ahead = f"{there - timedelta(minutes=30):%Y-%m-%dT%H:%M}"
    assert operator.lines("events", "--since", ahead) == []
    assert len(operator.lines("events", "--since", ahead, "--source", "trade")) == 1
    relay.close()


# --- replaying


def test_replay_without_saying_which_is_a_usage_error(busy: Operator) -> None:
    assert "--all" in busy.run("replay", code=2)
    busy.run("discard", code=2)
    assert busy.states() == ["delivered", "dead", "held"]


def test_replay_all_takes_the_dead_letter_queue_only(busy: Operator) -> None:
    output = busy.run("replay", "--all")

    assert "replayed 2 of 3" in output
    assert "still not readable" in output
    assert busy.states() == ["delivered", "due", "due"]


def test_a_dry_run_changes_nothing(busy: Operator) -> None:
    assert "would replay 3" in busy.run("replay", "--all", "--dry-run")
    assert [line["state"] for line in busy.lines("replay", "--all", "--dry-run")] == ["dead", "held", "quarantined"]
    assert busy.states() == ["delivered", "dead", "held"]


def test_replay_by_the_id_of_a_delivery_and_of_an_event(busy: Operator) -> None:
    dead, held, _ = busy.lines("dead")
    busy.run("replay", dead["id"])
    busy.run("replay", held["event"])

    assert busy.states() == ["delivered", "due", "due"]


@pytest.mark.parametrize(
    ("filters", "states"),
    [
        (["--session", "2"], ["delivered", "due", "held"]),
        (["--phone", "9005550003"], ["delivered", "dead", "due"]),
        (["--target", "onec"], ["delivered", "due", "due"]),
        (["--state", "held"], ["delivered", "dead", "due"]),
        (["--state", "delivered"], ["due", "dead", "held"]),
        (["--source", "trade", "--kind", "incoming", "--since", "1h"], ["delivered", "due", "due"]),
    ],
)
def test_replay_by_filters(busy: Operator, filters: list[str], states: list[str]) -> None:
    busy.run("replay", *filters)

    assert busy.states() == states


def test_what_is_not_dead_is_replayed_only_when_its_state_is_named(busy: Operator) -> None:
    [delivered] = [d.id for d in busy.relay.store.queries.deliveries(Selection(states=("delivered",)))]

    assert "--state" in busy.run("replay", delivered, code=1)
    busy.run("replay", delivered, "--state", "delivered")
    assert busy.states()[0] == "due"


def test_replay_of_an_unknown_id(busy: Operator) -> None:
    busy.run("replay", "nope", code=1)


def test_a_rate_spreads_the_replay(busy: Operator) -> None:
    busy.run("replay", "--target", "onec", "--rate", "30/m")
    first, second = (d.due_at for d in busy.relay.store.queries.deliveries(Selection(states=("due",))))

    assert (second - first).total_seconds() == pytest.approx(2)
    busy.run("replay", "--all", "--rate", "fast", code=2)


def test_a_replay_that_was_broken_off_goes_on_and_sends_nothing_twice(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for session in range(60):
        operator.post(rendered("incoming", call_session_id=session))
        operator.end("delivered")
    with monkeypatch.context() as broken:
        broken.setattr("relay.store.operator_actions._replay_one", _Broken("_replay_one", after=55))
        assert "Done before that: 50 of 60" in operator.run("replay", "--state", "delivered", "--since", "1h", code=1)
    for _ in range(50):
        operator.end("delivered")

    assert "would replay 10" in operator.run("replay", "--state", "delivered", "--since", "1h", "--dry-run")
    assert "would replay 60" in operator.run("replay", "--state", "delivered", "--since", "2h", "--dry-run")
    output = operator.run("replay", "--state", "delivered", "--since", "1h")
    assert "was broken off" in output
    assert "replayed 10 of 10" in output
    for _ in range(10):
        operator.end("delivered")
    queries = operator.relay.store.queries
    tried = [len(attempts) for event in queries.events(Selection()) for _, attempts in queries.deliveries_of(event)]
    assert tried == [2] * 60

    output = operator.run("replay", "--state", "delivered", "--since", "1h")  # it has ended: this is another one
    assert "broken off" not in output
    assert "replayed 60 of 60" in output


@pytest.mark.parametrize(
    ("command", "change", "state"),
    [
        (["replay", "--all"], "_replay_one", "due"),
        (["discard", "--all"], "_discard_one", "discarded"),
        (["replay", "--target", "onec", "--to", "new"], "_reroute_one", "due"),
    ],
)
def test_what_was_broken_off_says_how_far_it_came_and_goes_on_with_the_rest(
    operator: Operator,
    monkeypatch: pytest.MonkeyPatch,
    write_config: Any,
    command: list[str],
    change: str,
    state: str,
) -> None:
    for session in range(60):
        operator.post(rendered("incoming", call_session_id=session))
        operator.end("dead")
    write_config(more=_NEW_TARGET)
    with monkeypatch.context() as broken:
        broken.setattr(f"relay.store.operator_actions.{change}", _Broken(change, after=55))
        assert "Done before that: 50 of 60" in operator.run(*command, code=1)
    assert sorted(operator.states()) == sorted([state] * 50 + ["dead"] * 10)

    output = operator.run(*command)
    assert "10 of 10" in output
    assert "was broken off" not in output  # what has left the queue, and died anew since, is taken again
    assert operator.states() == [state] * 60


_NEW_TARGET = """
[sources.side]
token = "x"
targets = ["new"]
[targets.new]
kind = "1c"
url = "http://127.0.0.1:9/x"
"""


class _Broken:
    """Changes some, then the line breaks."""

    def __init__(self, change: str, after: int) -> None:
        self._change, self._left = getattr(operator_actions, change), after

    def __call__(self, *args: object) -> bool:
        self._left -= 1
        if self._left < 0:
            raise StoreError("the line has broken")
        return bool(self._change(*args))


def test_wait_says_so_when_nobody_delivers(busy: Operator) -> None:
    assert "no process is delivering" in busy.run("replay", "--session", "2", "--wait", code=1)


@pytest.mark.parametrize(("mode", "code", "says"), [("ok", 0, "1 delivered"), ("bad_request", 1, "dead again")])
def test_wait_shows_how_it_ended(
    make_settings: Any, tmp_path: Path, onec: Sandbox, mode: str, code: int, says: str
) -> None:
    settings = make_settings(onec.onec_url)
    bootstrap.migrate(settings)
    relay = wiring.Relay(settings)
    running = Operator(relay, {"RELAY_CONFIG": str(tmp_path / "relay.toml")})
    relay.store.leases.take_over(Shard("onec"), "somebody")
    running.post(rendered("incoming"))
    running.end("dead")
    onec.onec.fail(mode, 1)
    relay.dispatcher.start()
    try:
        assert says in running.run("replay", "--all", "--wait", code=code)
    finally:
        relay.dispatcher.stop(5)
        relay.close()


# --- mending


def test_edit_mends_a_quarantined_body_and_keeps_the_original(busy: Operator, tmp_path: Path) -> None:
    [letter] = busy.lines("dead", "--state", "quarantined")
    mended = tmp_path / "mended.json"
    mended.write_bytes(rendered("incoming", call_session_id=4))

    assert "accepted as incoming" in busy.run("edit", letter["id"], "--body", str(mended))

    [whole] = busy.lines("show", letter["id"])
    assert (whole["state"], whole["session"], whole["problem"]) == ("accepted", "4", None)
    assert whole["raw"].endswith("calling_ph")
    assert whole["edited"] == rendered("incoming", call_session_id=4).decode()
    assert [delivery["state"] for delivery in whole["deliveries"]] == ["due"]


def test_edit_in_the_editor(busy: Operator, tmp_path: Path) -> None:
    [letter] = busy.lines("dead", "--state", "quarantined")
    editor = tmp_path / "editor.sh"
    editor.write_text('#!/bin/sh\nsed -i \'s/"calling_ph/"scenario_name":"А"}/\' "$1"\n')
    editor.chmod(0o755)
    busy.environ["EDITOR"] = str(editor)

    assert "accepted as incoming" in busy.run("edit", letter["id"])


def test_what_is_still_not_readable_stays_quarantined(busy: Operator, tmp_path: Path) -> None:
    [letter] = busy.lines("dead", "--state", "quarantined")
    worse = tmp_path / "worse.json"
    worse.write_text("{")

    assert "still not readable" in busy.run("edit", letter["id"], "--body", str(worse), code=1)
    assert busy.lines("dead", "--state", "quarantined") == [letter]


def test_only_a_quarantined_event_can_be_edited(busy: Operator, tmp_path: Path) -> None:
    [letter] = busy.lines("dead", "--state", "dead")

    assert "only a quarantined" in busy.run("edit", letter["event"], code=1)


def test_discard_takes_out_of_the_queue(busy: Operator) -> None:
    assert "discarded 3 of 3" in busy.run("discard", "--all")
    assert busy.lines("dead") == []
    assert busy.states() == ["delivered", "discarded", "discarded"]
    assert busy.lines("events", "--state", "discarded")[-1]["call"] is None


def test_what_is_discarded_can_come_back(busy: Operator) -> None:
    busy.run("discard", "--session", "2")
    busy.run("replay", "--state", "discarded")

    assert busy.states() == ["delivered", "due", "held"]


# --- set-up


def test_check_says_that_it_is_right(operator: Operator) -> None:
    assert "right" in operator.run("check")


@pytest.mark.parametrize(("timeout", "is_advised"), [("30s", True), ("5m", True), ("310s", False)])
def test_check_advises_a_time_out_that_outlasts_the_message_server_of_1c(
    operator: Operator, write_config: Any, timeout: str, is_advised: bool
) -> None:
    """UIScom waits for it for 300 s, and writes the call after that all the same."""
    write_config(url="https://1c.example.test/trade/hs/UIScom", target=f'timeout = "{timeout}"')

    assert ('timeout = "310s"' in operator.run("check")) == is_advised


def test_check_names_what_is_wrong_and_exits_with_2(operator: Operator, write_config: Any) -> None:
    write_config(target='timeot = "3s"')

    assert "targets.onec.timeot" in operator.run("check", code=2)


def test_check_refuses_a_target_that_no_source_uses_but_only_warns_of_its_backlog(
    busy: Operator, write_config: Any
) -> None:
    spare = '\n[targets.spare]\nkind = "1c"\nurl = "http://127.0.0.1:9/"\n'
    write_config(more=spare)
    assert "targets.spare" in busy.run("check", code=2)

    file = write_config(more=spare)
    file.write_text(file.read_text().replace('targets = ["onec"]', 'targets = ["spare"]'))
    assert "targets.onec: no source uses it, but" in busy.run("check")


@pytest.mark.parametrize(
    ("mode", "code", "says"),
    [("ok", 0, "onec: ready"), ("unauthorized", 1, "misconfigured"), ("locked", 1, "технические работы")],
)
def test_check_online_asks_the_target(
    operator: Operator, write_config: Any, onec: Sandbox, mode: str, code: int, says: str
) -> None:
    write_config(onec.onec_url)
    onec.onec.fail(mode, 1)

    assert says in operator.run("check", "--online", code=code)


def test_check_and_every_start_warn_of_a_short_admin_password(
    operator: Operator, write_config: Any, logged: list[Any]
) -> None:
    write_config(more='[admin]\npassword = "short"\n')

    bootstrap.prepare(operator.environ, ["127.0.0.1"])
    warning = next(line for line in logged if "admin.password" in line["reason"])
    assert "fewer than 12 characters" in warning["reason"]
    assert (
        logging.redact_fields(None, "warning", dict(warning))["reason"] == warning["reason"]
    )  # readable in the log too
    assert "fewer than 12 characters" in operator.run("check")


def test_check_and_every_start_refuse_an_empty_admin_password(operator: Operator, write_config: Any) -> None:
    write_config(more='[admin]\npassword = ""\n')

    assert "admin.password: is empty" in operator.run("check", code=2)
    with pytest.raises(ConfigError):
        bootstrap.prepare(operator.environ, ["127.0.0.1"])


def test_commands_need_a_database_and_none_creates_it(write_config: Any, tmp_path: Path) -> None:
    operator = Operator(None, {"RELAY_CONFIG": str(write_config())})

    for command in (["events"], ["dead"], ["status"], ["show", "x"], ["replay", "--all"], ["discard", "--all"]):
        assert "migrate" in operator.run(*command, code=1)
    assert not (tmp_path / "relay.db").exists()
    assert "created" in operator.run("migrate")
    assert "already" in operator.run("migrate")
    assert operator.run("events")


def test_simulate_asks_before_real_targets_get_invented_calls(operator: Operator, unused_port: int) -> None:
    address = f"http://127.0.0.1:{unused_port}"

    assert "invented" in operator.run("simulate", "--url", address, code=1, input="n\n")
    assert "not sent" in operator.run("simulate", "--url", address, "--yes", code=1)


# --- documents


@pytest.mark.parametrize("readme", ["README.md", "README.ru.md"])
@pytest.mark.parametrize("command", sorted(main.commands))
def test_the_readme_names_every_command(command: str, readme: str) -> None:
    assert f"relay {command}" in (ROOT / readme).read_text(encoding="utf-8")
    assert main.commands[command].help


def test_the_two_commands_stand_before_line_25_of_the_readme() -> None:
    for readme in ("README.md", "README.ru.md"):
        head = "\n".join((ROOT / readme).read_text(encoding="utf-8").splitlines()[:24])
        assert "make run" in head
        assert "make test" in head


def test_the_changelog_knows_the_version() -> None:
    from relay import __version__

    assert f"[{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


# --- init


ANSWERS = {
    "1c": "trade\nEurope/Samara\nhttps://relay.example.test/\n1c\nhttps://1c.example.test/trade/hs/UIScom\nuis\nsecret\n",
    "bitrix24": "trade\n\n\nbitrix24\nhttps://portal.bitrix24.ru/rest/1/code/\n\n",
    "amocrm": "trade\n\n\namocrm\nhttps://example.amocrm.ru\nlong-lived\n504141\n",
    "http": "trade\n\n\nhttp\nhttps://crm.example.test/hook\n",
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_init_writes_a_configuration_that_passes_check(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"

    done = CliRunner().invoke(main, ["init", "--file", str(file)], input=ANSWERS[kind])

    assert done.exit_code == 0, done.output
    settings = config.read({"RELAY_CONFIG": str(file)})
    (token,) = settings.sources["trade"].token
    assert [target.kind for target in settings.targets.values()] == [kind]
    assert list(config.warnings(settings)) == []
    assert f"/trade/hs/UIScom/rec?token={token}" in done.output
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("kind", "right", "wrong", "why"),
    [
        ("1c", "trade\n", "фирма\n", "a name is of latin letters"),
        ("1c", "Europe/Samara\n", "Самара\n", "is not a time zone"),
        ("1c", "https://relay.example.test/\n", "relay.example.test\n", "must begin with http:// or https://"),
        ("1c", "/trade/hs/UIScom\n", "/trade/hs/UIScom/in\nhttps://1c/hs/UIScom\n", "the relay adds that itself"),
        ("bitrix24", "https://portal.bitrix24.ru/rest/1/code/\n", "https://portal.bitrix24.ru\n", "must look like"),
        ("amocrm", "504141\n", "-1\n", "at least 1"),
        ("http", "https://crm.example.test/hook\n", "crm.example.test\n", "must begin with http:// or https://"),
    ],
)
def test_init_asks_again_at_once_for_what_is_wrong(kind: str, right: str, wrong: str, why: str, tmp_path: Path) -> None:
    typed = ANSWERS[kind].replace(right, wrong if "\nhttps" in wrong else wrong + right, 1)

    done = CliRunner().invoke(main, ["init", "--file", str(tmp_path / "my.toml")], input=typed)

    assert done.exit_code == 0, done.output
    assert done.output.count("Error:") == 1
    question = next(line for line in done.output.splitlines() if line.startswith("Error:"))
    assert why in question and ".new" not in question
    assert [file.name for file in tmp_path.iterdir()] == ["my.toml"]


def test_init_leaves_nothing_behind_when_it_is_broken_off(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["init", "--file", str(tmp_path / "my.toml")], input="trade\n")

    assert done.exit_code == 1
    assert list(tmp_path.iterdir()) == []


def test_init_takes_a_name_with_a_dot(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"

    done = CliRunner().invoke(main, ["init", "--file", str(file)], input=ANSWERS["http"].replace("trade", "my.firm"))

    assert done.exit_code == 0, done.output
    assert list(config.read({"RELAY_CONFIG": str(file)}).sources) == ["my.firm"]


@pytest.mark.parametrize("place", ["file/my.toml", "/proc/nowhere/my.toml"])
def test_init_says_first_that_a_file_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    done = CliRunner().invoke(main, ["init", "--file", str(tmp_path / place)], input=ANSWERS["1c"])

    assert done.exit_code == 1
    assert "cannot be written" in done.output and "Short name" not in done.output


def test_init_overwrites_nothing_unasked(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text("mine")
    done = CliRunner().invoke(main, ["init", "--file", str(file)], input="n\n")
    assert done.exit_code == 1 and file.read_text() == "mine"
