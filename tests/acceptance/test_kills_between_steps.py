"""The worker killed (SIGKILL) exactly when a target has a request in its hands, before it acts and after it has."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from relay import bootstrap, config, wiring
from relay.sandbox.bitrix24.portal import Bitrix24
from relay.sandbox.server import Sandbox
from relay.store import Selection, Store
from tests.acceptance.process import SOAK, Process
from tests.fakes import FakeClock
from tests.lanes import post
from tests.stories import CLIENT, LINK, STORIES
from tests.systems import configuration
from tests.waiting import eventually

MANY = 'rate = "200/s burst 200"'
# the target, and how many requests a call takes there; each is a place to be killed at
REQUESTS = {"onec": 3, "bitrix24": 4, "amocrm": 2}
CUTS = [
    (target, number, moment)
    for target, count in REQUESTS.items()
    for number in range(1, count + 1)
    for moment in ("arrived", "answered")
]
SHORT = [
    ("onec", 2, "answered"),
    ("bitrix24", 1, "answered"),
    ("bitrix24", 3, "answered"),
    ("bitrix24", 4, "answered"),
    ("amocrm", 2, "answered"),
]


class Killer:
    """Kills the process when the target has seen so many requests."""

    def __init__(self, target: str, number: int, moment: str) -> None:
        self._target, self._left, self._moment = target, number, moment
        self.process: Process | None = None
        self.killed = False

    def __call__(self, target: str, name: str, moment: str) -> None:
        if target != self._target or moment != self._moment or self.killed:
            return
        self._left -= 1
        if not self._left:
            assert self.process is not None
            self.process.kill()
            self.killed = True


@pytest.mark.parametrize(("target", "number", "moment"), CUTS if SOAK else SHORT)
def test_a_kill_between_two_requests_doubles_nothing(
    target: str, number: int, moment: str, tmp_path: Path, unused_port: int
) -> None:
    systems = _delivered_despite(Killer(target, number, moment), "answered", MANY, tmp_path, unused_port)

    _assert_once(systems)


# register, finish, task; pop-up, call, task
TASK_CUTS = [(target, number, moment) for target, number, moment in CUTS if target != "onec" and number <= 3]
TASK_CUTS += [("amocrm", 3, moment) for moment in ("arrived", "answered")]
TASKS_SHORT = [("bitrix24", 3, "answered"), ("amocrm", 3, "arrived"), ("amocrm", 3, "answered")]


@pytest.mark.parametrize(("target", "number", "moment"), TASK_CUTS if SOAK else TASKS_SHORT)
def test_a_kill_makes_no_second_task_for_a_missed_call(
    target: str, number: int, moment: str, tmp_path: Path, unused_port: int
) -> None:
    more = f'{MANY}\nmissed_task = "30m"'
    systems = _delivered_despite(Killer(target, number, moment), "lost by the client", more, tmp_path, unused_port)

    [of_b24], [of_amo] = systems.bitrix24.state()["tasks"], systems.amocrm.state()["tasks"]
    assert (of_b24["COMPLETED"], of_amo["is_completed"]) == ("N", False)
    assert [row["STATUS_CODE"] for row in systems.bitrix24.state()["statistics"]] == ["304"]
    assert [call["duration"] for call in systems.amocrm.state()["calls"]] == [0]


def _delivered_despite(killer: Killer, story: str, more: str, tmp_path: Path, unused_port: int) -> Sandbox:
    """Return the systems, closed, when a worker that was killed once has delivered everything."""
    portal = Bitrix24(clock=FakeClock())  # whose half hour for recognising a repeated register has just begun
    systems = Sandbox(bitrix24=portal, observe=killer).start()
    systems.amocrm.add_contact(CLIENT)
    file = tmp_path / "relay.toml"
    file.write_text(configuration(systems, tmp_path / "relay.db", b24=more, amo=more), encoding="utf-8")
    found = config.read({"RELAY_CONFIG": str(file)})
    bootstrap.migrate(found)
    relay = wiring.Relay(found)
    for endpoint, body in STORIES[story]:
        post(relay, body, endpoint)
    worker = Process(file, unused_port, tmp_path / "work.log", "work")
    killer.process = worker
    try:
        worker.start(wait=False)
        eventually(lambda: killer.killed, "the worker was killed")
        worker.start(wait=False)
        eventually(_all_delivered(relay), f"all is delivered; the log: {worker.log}")
        worker.terminate()
    finally:
        worker.end()
        relay.close()
        systems.close()
    return systems


def _all_delivered(relay: Any) -> Callable[[], bool]:
    return lambda: {one.state for one in relay.store.queries.deliveries(Selection())} == {"delivered"}


def _assert_once(systems: Sandbox) -> None:
    """Once at Bitrix24 and at amoCRM; at 1C, which cannot tell a repeat, the one that was in flight may be doubled."""
    [row] = systems.bitrix24.state()["statistics"]
    assert (row["USER_ID"], row["DURATION"], row["STATUS_CODE"], row["records"]) == (12, 51, "200", [{"url": LINK}])
    assert (systems.bitrix24.state()["registered"], row["record_writes"]) == (1, 1)
    assert [call["duration"] for call in systems.amocrm.state()["calls"]] == [51]
    assert len(systems.onec.state()["writes"]) in (3, 4)


_CLICK = json.dumps({"employee": "101", "phone": "+79005550123", "external_id": "order-7"}).encode()
_EVENT = {
    "event": "ONEXTERNALCALLSTART",
    "auth[application_token]": "application-token",
    "data[CALL_ID]": "externalCall.1",
    "data[USER_ID]": "12",
    "data[PHONE_NUMBER]": "79005550123",
}


@pytest.mark.parametrize("moment", ["arrived", "answered"])
@pytest.mark.parametrize(
    ("path", "body", "again"),
    [
        ("/trade/hs/UIScom/call?token=click-to-call-secret", _CLICK, 504),
        ("/trade/bitrix24/events", urlencode(_EVENT).encode(), 200),
    ],
    ids=["click", "click_in_bitrix24"],
)
def test_a_kill_before_uis_has_answered_a_click_places_no_second_call(
    path: str, body: bytes, again: int, moment: str, tmp_path: Path, unused_port: int
) -> None:
    killer = Killer("uis", 1, moment)
    systems = Sandbox(observe=killer).start()
    calls = f"""
    [sources.trade.calls]
    url = "{systems.call_api_url}"
    key = "sandbox-key"
    token = "click-to-call-secret"
    line = "74955550100"
    employees = {{ "101" = 323409 }}
    application_token = "application-token"
    """
    file = tmp_path / "relay.toml"
    file.write_text(configuration(systems, tmp_path / "relay.db", amo=calls), encoding="utf-8")
    relay = killer.process = Process(file, unused_port, tmp_path / "relay.log")
    store = Store(f"sqlite:///{tmp_path / 'relay.db'}")
    try:
        relay.start()
        with contextlib.suppress(OSError):  # the process may be gone before it has answered
            relay.request("POST", path, body)
        eventually(lambda: killer.killed, "the relay was killed")
        relay.end()
        relay.start()
        assert [relay.request("POST", path, body)[0] for _ in range(3)] == [again] * 3
        relay.terminate()  # it waits for what is being called
        # what was just arriving may have been cut off before UIS had all of it
        assert len(systems.uis.state()["placed"]) in ((0, 1) if moment == "arrived" else (1,))
        assert [click.state for click in store.clicks.recent(9)] == ["unclear"]
    finally:
        relay.end()
        store.close()
        systems.close()
