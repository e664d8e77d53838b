"""A process that is stopped (SIGSTOP) while it sends: another takes its lanes over, and it wakes to find them gone."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

from relay import bootstrap, config, wiring
from relay.sandbox.bitrix24.portal import Bitrix24
from relay.sandbox.server import Sandbox
from relay.store import Selection
from relay.wiring import Relay
from tests.acceptance.process import Process
from tests.lanes import post
from tests.stories import finished
from tests.systems import configuration
from tests.waiting import eventually

CALLS = 6
CONCURRENCY = 2
PATIENT = 'rate = "200/s burst 200"\ntimeout = "2m"'


class Slow:
    """Bitrix24 keeps every request until it is let go; counts them."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.let_go = threading.Event()

    def __call__(self, target: str, name: str, moment: str) -> None:
        if target == "bitrix24" and moment == "arrived":
            self.requests.append(name)
            self.let_go.wait(90)


def states(relay: Relay, target: str) -> set[str]:
    return {delivery.state for delivery in relay.store.queries.deliveries(Selection(target=target))}


def test_an_owner_that_wakes_after_a_take_over_sends_no_more_than_it_had_begun(
    tmp_path: Path, unused_port: int
) -> None:
    """Two processes, each with a portal of its own behind the same target, so that it is seen who sends."""
    slow = Slow()
    portals = [Sandbox(bitrix24=Bitrix24(), observe=slow).start(), Sandbox(bitrix24=Bitrix24()).start()]
    configs = []
    for number, portal in enumerate(portals):
        configs.append(tmp_path / f"relay-{number}.toml")
        configs[-1].write_text(configuration(portal, tmp_path / "relay.db", b24=PATIENT), encoding="utf-8")
    found = config.read({"RELAY_CONFIG": str(configs[0])})
    bootstrap.migrate(found)
    relay = wiring.Relay(found)
    for session in range(CALLS):  # each delivery is a journey: register, finish, attach
        endpoint, body = finished(session)
        post(relay, body, endpoint)
    first, second = (
        Process(config, unused_port, tmp_path / f"work-{number}.log", "work") for number, config in enumerate(configs)
    )
    try:
        first.start(wait=False)
        eventually(lambda: len(slow.requests) == CONCURRENCY, "the first is sending", alive=first.child)
        for other in ("onec", "amo"):
            eventually(lambda other=other: states(relay, other) == {"delivered"}, "it has nothing else to do")
        assert first.child is not None
        os.kill(first.child.pid, signal.SIGSTOP)  # in no commit
        second.start(wait=False)
        eventually(lambda: "dispatcher.delivering" in second.log.read_text(), "taken over", alive=second.child)

        os.kill(first.child.pid, signal.SIGCONT)
        eventually(lambda: first.log.read_text().count("dispatcher.lane_lost") == 3, "the first has renewed")
        slow.let_go.set()  # and only now has its answers
        eventually(lambda: states(relay, "b24") == {"delivered"}, "the second delivers everything")
        assert first.terminate() < 25
        assert second.terminate() < 25
    finally:
        slow.let_go.set()
        for process in (first, second):
            process.end()
        relay.close()
        for portal in portals:
            portal.close()
    assert len(slow.requests) - CONCURRENCY <= CONCURRENCY, slow.requests
    assert set(slow.requests) == {"telephony.externalcall.register"}, "no step of a journey under the old epoch"
