"""What an operator reads when 1C answers wrongly in each usual way: one who has that text alone knows what to do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner

from relay.alerts import messages
from relay.alerts.evaluate import Notice, conditions
from relay.alerts.snapshot import SnapshotCollector
from relay.cli import main
from relay.sandbox.server import Sandbox
from relay.web import create_app
from relay.wiring import Relay
from tests.fakes import FakeClock
from tests.lanes import SteppedLane, post
from tests.stories import incoming

PASSWORD = "open-sesame-sesame"
SETTINGS = f'[admin]\npassword = "{PASSWORD}"\n'
DOWN = "не отвечает"
MISCONFIGURED = "ничего не принимает"
WAITS_FOR_YOU = "Посмотрите причины, устраните их и отправьте заново"


def page_of(relay: Relay, path: str) -> str:
    browser = create_app(relay, delivers=False).test_client()
    russian = {"Accept-Language": "ru"}
    form = re.search(r'name="form" value="([^"]+)"', browser.get("/admin/login", headers=russian).text)
    assert form is not None
    browser.post("/admin/login", data={"password": PASSWORD, "form": form[1]})
    return browser.get(path, headers=russian).text


def alert_of(relay: Relay, clock: FakeClock) -> str:
    alerts = relay.settings.alerts
    snapshot = SnapshotCollector(relay.settings, relay.store, clock, {}).collect()
    told = [Notice("firing", each) for each in conditions(snapshot, alerts) if each.kind not in ("silent", "disk")]
    return messages.body(tuple(told), "ru", relay.settings.timezone)


@pytest.mark.parametrize(
    ("mode", "says", "on_overview"),
    [
        ("unauthorized", "исправьте username и password", MISCONFIGURED),
        ("not_found", "опубликован ли HTTP-сервис по этому url", MISCONFIGURED),
        ("forbidden", "у пользователя нет прав на этот HTTP-сервис", MISCONFIGURED),
        ("locked", "1С сейчас никого не пускает, в базе идут работы", DOWN),
        ("session_wait", "в 1С сейчас нет свободного сеанса", DOWN),
        ("no_licence", "в 1С сейчас нет свободной лицензии", DOWN),
        ("handler_exception", "ошибка в обработчике 1С, исправить её может программист 1С", WAITS_FOR_YOU),
        ("ok_login_page", "в url точно адрес HTTP-сервиса", WAITS_FOR_YOU),
        ("hang", "ответ не пришёл за время `timeout`", WAITS_FOR_YOU),
        ("reset", "получатель сбросил соединение", WAITS_FOR_YOU),
        ("nobody listens", "запущен ли сервер и верен ли порт", DOWN),
    ],
)
def test_every_wrong_answer_is_said_in_russian_everywhere(
    mode: str,
    says: str,
    on_overview: str,
    make_relay: Callable[..., Relay],
    onec: Sandbox,
    clock: FakeClock,
    unused_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nobody = f"http://127.0.0.1:{unused_port}/trade/hs/UIScom"
    url = nobody if mode == "nobody listens" else onec.onec_url
    haste = 'timeout = "300ms"\n' if mode == "hang" else ""
    relay = make_relay(url, target=f"{haste}attempts = 1", more=SETTINGS)
    lane = SteppedLane(relay, "onec", clock)
    event = post(relay, incoming(1)[1])
    for session in range(2, 6):
        if mode != "nobody listens":
            onec.onec.fail(mode, 1 if on_overview == WAITS_FOR_YOU else -1)
        lane.deliver()
        if on_overview == WAITS_FOR_YOU:  # that other calls get through shows that it is this one's own trouble
            clock.forward(milliseconds=10)
            post(relay, incoming(session)[1])
            lane.deliver()
        clock.forward(minutes=20)
    monkeypatch.setenv("RELAY_LANG", "ru")
    monkeypatch.setenv("RELAY_CONFIG", str(relay.settings.file))

    def said(*arguments: str) -> str:
        done: Any = CliRunner().invoke(main, list(arguments))
        return " ".join(done.output.split())

    if mode != "nobody listens":
        onec.onec.fail(mode, -1)
    assert says in said("check", "--online")
    assert says in said("status")
    assert says in said("show", event)
    assert says in page_of(relay, f"/admin/events/{event}")
    assert on_overview in page_of(relay, "/admin/")
    alert = alert_of(relay, clock)
    if on_overview == WAITS_FOR_YOU:
        assert "relay dead --target onec" in alert
        assert says in page_of(relay, "/admin/dead")
        assert says in said("dead")
    else:
        assert says in alert
