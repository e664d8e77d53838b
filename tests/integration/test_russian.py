"""No English sentence on a Russian page or in a Russian terminal: every view and every command is walked."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from babel.messages.pofile import read_po
from click.testing import CliRunner

from relay.cli import main
from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.web import create_app
from relay.wiring import Relay
from tests.calls import rendered
from tests.catalogue import CATALOGUE
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, post

PASSWORD = "open-sesame-sesame"
RUSSIAN = {"Accept-Language": "ru"}
_KEPT_BY_CLICK = "Show this message and exit."  # from the first time that a process has shown it
LISTS = (("events",), ("dead",), ("replay", "--state", "due", "--dry-run"))
MISTYPED = "фирма\ntrade\nСамара\n\n\n1c\nhttps://1c.example.test/hs/UIScom/in\n"
SHORTEST = 16  # signs of a sentence; what is shorter may be a name


@pytest.fixture(scope="module")
def english() -> list[re.Pattern[str]]:
    """What the catalogue has in English, but for what is the same in Russian."""
    with CATALOGUE.open("rb") as file:
        messages = [message for message in read_po(file) if message.id and message.id != _KEPT_BY_CLICK]
    found = []
    for message in messages:
        texts = message.id if isinstance(message.id, tuple) else (message.id,)
        for text in texts:
            pieces = [piece for piece in re.split(r"%\(\w+\)s|\{\w+\}", text) if len(piece.strip()) >= SHORTEST]
            longest = max(pieces, key=len, default="").strip()
            if re.search(r"[a-z]{3,} [a-z]{2,}", longest) and longest not in str(message.string):
                found.append(re.compile(re.escape(longest)))
    assert len(found) > 300
    return found


@pytest.fixture
def relay(make_relay: Callable[..., Relay], onec: Sandbox, clock: FakeClock) -> Relay:
    """A relay with bodies that were repaired, one in quarantine, and a target that is misconfigured."""
    relay = make_relay(onec.onec_url, more=f'[admin]\npassword = "{PASSWORD}"\n')
    for session, text in enumerate(('"ООО "Ромашка""', "{{scenario_name}}"), start=1):
        body = rendered("incoming", call_session_id=session).replace('"Основной"'.encode(), text.encode())
        post(relay, body)
    relay.intake.accept(relay.settings.sources["trade"], "in", b'{"call_session_id": 5, "x', is_query=False)
    onec.onec.fail("unauthorized", -1)
    lane = SteppedLane(relay, "onec", clock)
    lane.deliver()
    lane.close()
    return relay


def words(page: str) -> str:
    """What a reader sees of a page: no tags, no bodies, no addresses."""
    page = re.sub(r"(?s)<(pre|code|script|style|textarea)\b.*?</\1>", " ", page)
    return html.unescape(re.sub(r"<[^>]+>", "\n", page))


def pages(relay: Relay) -> Iterator[str]:
    events = list(relay.store.queries.events(Selection()))
    accepted, quarantined = events[0], events[-1]
    values = {"event_id": [event.id for event in events], "source": ["trade"], "session": [accepted.session]}
    for rule in create_app(relay, delivers=False).url_map.iter_rules():
        if "GET" not in (rule.methods or ()) or not rule.rule.startswith("/admin") or "static" in rule.rule:
            continue
        path = re.sub(r"<(?:\w+:)?(\w+)>", lambda name: str(values.get(name[1], ["?"])[0]), rule.rule)
        if "logout" not in path and not path.endswith("/edit"):
            yield path
    yield f"/admin/events/{quarantined.id}"
    yield f"/admin/events/{quarantined.id}/edit"


def test_no_view_of_the_page_says_an_english_sentence(relay: Relay, english: list[re.Pattern[str]]) -> None:
    browser = create_app(relay, delivers=False).test_client()
    form = re.search(r'name="form" value="([^"]+)"', browser.get("/admin/login", headers=RUSSIAN).text)
    assert form is not None
    browser.post("/admin/login", data={"password": PASSWORD, "form": form[1]})
    seen = 0
    for path in pages(relay):
        answer = browser.get(path, headers=RUSSIAN)
        if answer.status_code != 200:
            continue
        seen += 1
        text = words(answer.text)
        assert [pattern.pattern for pattern in english if pattern.search(text)] == [], path
    assert seen >= 6


def commands(command: click.Command, *path: str) -> Iterator[tuple[str, ...]]:
    yield path
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, *path, name)


def test_no_command_says_an_english_sentence(
    relay: Relay, english: list[re.Pattern[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RELAY_LANG", "ru")
    monkeypatch.setenv("RELAY_CONFIG", str(relay.settings.file))
    events = [event.id for event in relay.store.queries.events(Selection())]
    said: list[tuple[str, ...]] = [(*path, "--help") for path in commands(main)]
    said += [("status",), ("events",), ("dead",), ("check",), ("explain", events[0]), ("replay",), ("show", "nobody")]
    said += [("show", event) for event in events]
    said += [("replay", "--all", "--dry-run"), ("replay", "--state", "due", "--dry-run"), ("events", "--nope")]
    said += [("init", "--file", str(tmp_path / "my.toml"))]
    for arguments in said:
        done: Any = CliRunner().invoke(main, list(arguments), input=MISTYPED if arguments[0] == "init" else None)
        text = " ".join(done.output.split())
        assert [pattern.pattern for pattern in english if pattern.search(text)] == [], arguments


def test_kinds_and_states_are_said_in_russian_and_lists_fit_80_columns(
    relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELAY_LANG", "ru")
    monkeypatch.setenv("RELAY_CONFIG", str(relay.settings.file))
    session = json.dumps({**json.loads(rendered("answered")), "call_session_id": 9}).encode()
    event = post(relay, session)
    printed = {name: CliRunner().invoke(main, [name, *more]).output for name, *more in LISTS}
    shown = CliRunner().invoke(main, ["show", event]).output

    assert re.search(r"^вид +начало разговора", shown, re.MULTILINE)
    assert re.search(r"^состояние +принято", shown, re.MULTILINE)
    assert "начало разговора" in printed["events"] and "ждёт" in printed["replay"]
    heads = [line for name in ("events", "dead") for line in printed[name].splitlines() if not line.startswith("  ")]
    assert len(heads) > 4 and max(map(len, heads)) <= 80
