"""Relays that deliver, and relays with something that waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from relay import start, wiring
from relay.settings import Settings
from relay.wiring import Relay
from tests.calls import rendered
from tests.lanes import post


@pytest.fixture
def running(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Relay]]:
    """A relay with its dispatcher started, by the real clock; stopped at the end."""
    made: list[Relay] = []

    def run(*args: str, **more: str) -> Relay:
        settings = make_settings(*args, **more)
        start.migrate(settings)
        relay = wiring.build(settings)
        made.append(relay)
        relay.start()
        return relay

    yield run
    for relay in made:
        relay.stop(5)
        relay.close()


@pytest.fixture
def stored(make_settings: Callable[..., Settings]) -> Iterator[Relay]:
    """A relay with three calls that wait; nothing is started."""
    settings = make_settings()
    start.migrate(settings)
    relay = wiring.build(settings)
    for session in range(3):
        post(relay, rendered("incoming", call_session_id=session))
    yield relay
    relay.close()
