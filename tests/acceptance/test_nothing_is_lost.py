"""Kills at random moments: what got a 200 is delivered, in order, and hardly anything twice."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from tests.acceptance.posting import Posting, arrived, assert_in_order, wait_for_all
from tests.acceptance.process import SOAK, Process
from tests.systems import ANOTHER_1C
from tests.waiting import eventually

KILLS = 100 if SOAK else 3
NOTIFICATIONS = 600 if SOAK else 200
CONCURRENCY = 3
MAKE_FAST = f"concurrency = {CONCURRENCY}"


@pytest.fixture
def three() -> Iterator[list[Sandbox]]:
    """Three simulated bases."""
    bases = [Sandbox(OneC("Обмен УИС", "пароль")).start() for _ in range(3)]
    yield bases
    for base in bases:
        base.close()


class Flapping:
    """A base that is up and down, a second each."""

    def __init__(self, base: Sandbox) -> None:
        self._base, self._over = base, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(10)
        self._base.onec.fail("ok", 0)

    def _run(self) -> None:
        modes = ["bad_gateway", "ok", "no_licence", "ok", "unavailable", "ok"]
        while not self._over.wait(1):
            self._base.onec.fail(modes[0], -1)
            modes.append(modes.pop(0))


@pytest.mark.timeout(3600)
def test_what_got_a_200_is_delivered_to_three_targets_after_kills_at_random_moments(
    make_process: Callable[..., Process], three: list[Sandbox]
) -> None:
    chance = random.Random()
    names = ("onec", "second", "third")
    more = "".join(
        ANOTHER_1C.format(name=name, url=base.onec_url) for name, base in zip(names[1:], three[1:], strict=True)
    )
    process = make_process(three[0].onec_url, target=MAKE_FAST, more=more)
    text = process.config.read_text(encoding="utf-8").replace('targets = ["onec"]', f"targets = {json.dumps(names)}")
    process.config.write_text(text, encoding="utf-8")
    process.start()
    flapping = Flapping(three[2])
    accepted: list[str] = []
    for kill in range(KILLS):
        posting = Posting(process.port, (kill + 1) * 100_000, NOTIFICATIONS, process.is_ready)
        fatal = chance.randrange(NOTIFICATIONS * 8 // 10)
        eventually(lambda p=posting, n=fatal: len(p.accepted) >= n, "the moment has come")
        process.kill()
        process.start()
        posting.join()
        accepted += posting.accepted
    flapping.end()
    for base in three:
        wait_for_all(base, accepted, 600)
    process.terminate()

    assert len(accepted) == KILLS * NOTIFICATIONS
    for name, base in zip(names, three, strict=True):
        arrivals = arrived(base)
        doubled = sum(count - 1 for count in Counter(delivery for _, delivery in arrivals).values())
        print(f"\n{KILLS} kills, {name}: {len(accepted)} accepted, 0 lost, {doubled} delivered twice")
        assert doubled <= CONCURRENCY * KILLS
        assert_in_order([mark for mark, _ in arrivals])


def test_sigterm_under_load_loses_nothing_and_resets_nobody(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, target=MAKE_FAST).start()
    posting = Posting(process.port, 1, 2000)
    eventually(lambda: len(posting.accepted) >= 300, "under load")
    took = process.terminate()
    posting.join()

    assert took < 25
    assert posting.answers["200"] == len(posting.accepted) >= 300
    process.start()
    wait_for_all(onec, posting.accepted)
    process.terminate()
    arrivals = arrived(onec)
    assert len(arrivals) == len(dict(arrivals))  # an orderly end sends nothing twice
    assert_in_order([mark for mark, _ in arrivals])


def test_sigterm_while_a_target_hangs(make_process: Callable[..., Process], onec: Sandbox) -> None:
    """In full it hangs for longer than the grace; in short until its own time-out."""
    onec.onec.fail("hang_after_writing", -1)
    process = make_process(onec.onec_url, target=f'timeout = "{60 if SOAK else 3}s"').start()
    posting = Posting(process.port, 1, 50)
    posting.join()
    eventually(lambda: len(arrived(onec)) >= 2, "requests hang")

    assert process.terminate() < 25
    onec.onec.fail("ok", 0)
    process.start()
    wait_for_all(onec, posting.accepted)
    assert "unclear" in _outcomes(process)


def _outcomes(process: Process) -> set[str]:
    """Of all attempts."""
    with contextlib.closing(sqlite3.connect(process.config.with_name("relay.db"))) as connection:
        return {outcome for (outcome,) in connection.execute("SELECT DISTINCT outcome FROM attempts")}


def test_a_1c_that_is_down_for_the_whole_of_the_posting(make_process: Callable[..., Process], onec: Sandbox) -> None:
    onec.onec.fail("bad_gateway", -1)
    process = make_process(onec.onec_url, target=MAKE_FAST).start()
    posting = Posting(process.port, 1, 500)
    posting.join()
    assert len(posting.accepted) == 500
    assert arrived(onec) == []

    onec.onec.fail("ok", 0)
    wait_for_all(onec, posting.accepted)
    assert len(arrived(onec)) == 500
    assert_in_order([mark for mark, _ in arrived(onec)])
    process.terminate()
