"""More than one process on one database: two web workers, `relay work` beside a web server, one of them stopped."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from relay.sandbox.server import Sandbox
from relay.store import Selection, Store
from tests.acceptance.posting import Posting, arrived, assert_in_order, wait_for_all
from tests.acceptance.process import Process
from tests.forked import Forked
from tests.waiting import eventually

TAKEN_OVER_WITHIN_S = 15.0


def assert_once_and_in_order(onec: Sandbox) -> None:
    arrivals = arrived(onec)
    assert len(arrivals) == len(dict(arrivals))
    assert_in_order([mark for mark, _ in arrivals])


def states(process: Process) -> list[str]:
    store = Store(f"sqlite:///{process.config.parent / 'relay.db'}")
    try:
        return [delivery.state for delivery in store.queries.deliveries(Selection())]
    finally:
        store.close()


def test_two_workers_deliver_everything_once_and_the_other_takes_over_at_once(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, environ={"WEB_CONCURRENCY": "2"}).start()
    posting = Posting(process.port, 1, 500)
    posting.join()
    wait_for_all(onec, posting.accepted)
    assert posting.answers == {"200": 500}
    assert_once_and_in_order(onec)

    first, *_ = process.workers()  # whichever of them owns the lane: half of the time the owner is killed
    os.kill(first, signal.SIGKILL)
    more = Posting(process.port, 200_000, 100, process.is_ready)
    more.join()
    wait_for_all(onec, more.accepted, TAKEN_OVER_WITHIN_S)
    process.terminate()
    doubled = sum(count - 1 for count in Counter(delivery for _, delivery in arrived(onec)).values())
    assert doubled <= 2


def test_work_beside_a_web_server_that_only_takes(
    make_process: Callable[..., Process], beside: Callable[..., Process], onec: Sandbox
) -> None:
    web = make_process(onec.onec_url, environ={"RELAY_DISPATCH": "off"}).start()
    posting = Posting(web.port, 1, 200)
    posting.join()
    assert onec.onec.recorded() == 0
    worker = beside(web, "work")
    wait_for_all(onec, posting.accepted)

    began = time.monotonic()
    more = Posting(web.port, 200_000, 5)
    more.join()
    wait_for_all(onec, more.accepted)
    assert time.monotonic() - began < 5  # found by looking, not by being told
    assert worker.terminate() < 25
    assert worker.child is not None and worker.child.poll() == 0
    web.terminate()
    assert_once_and_in_order(onec)


def test_work_ends_at_a_signal_that_the_system_hands_to_any_of_its_threads(
    make_process: Callable[..., Process], beside: Callable[..., Process], onec: Sandbox
) -> None:
    web = make_process(onec.onec_url, environ={"RELAY_DISPATCH": "off"}).start()
    worker = beside(web, "work")
    posting = Posting(web.port, 1, 5)
    posting.join()
    wait_for_all(onec, posting.accepted)  # it has begun, and has its threads
    assert isinstance(worker.child, Forked)
    threads = [int(path.name) for path in Path(f"/proc/{worker.child.pid}/task").iterdir()]
    another = next(thread for thread in threads if thread != worker.child.pid)
    assert ctypes.CDLL(None).tgkill(worker.child.pid, another, signal.SIGTERM) == 0
    assert worker.child.wait(25) == 0


def test_an_owner_that_is_stopped_is_replaced_in_15_s_and_one_that_is_killed_at_once(
    make_process: Callable[..., Process], beside: Callable[..., Process], onec: Sandbox
) -> None:
    web = make_process(onec.onec_url, environ={"RELAY_DISPATCH": "off"}).start()
    first = beside(web, "work")
    eventually(lambda: "dispatcher.delivering" in first.log.read_text(), "the first owns the lane")
    second = beside(web, "work")
    warm = Posting(web.port, 1, 50)
    warm.join()
    wait_for_all(onec, warm.accepted)
    assert first.child is not None
    eventually(lambda: set(states(web)) == {"delivered"}, "the last result is written too")
    os.kill(first.child.pid, signal.SIGSTOP)  # it has nothing to do: outside a commit
    stopped_at = time.monotonic()
    try:
        posting = Posting(web.port, 200_000, 100)
        posting.join()
        eventually(lambda: onec.onec.recorded() > len(warm.accepted), "the second has the lane")
        assert time.monotonic() - stopped_at < TAKEN_OVER_WITHIN_S
        wait_for_all(onec, [*warm.accepted, *posting.accepted])
    finally:
        os.kill(first.child.pid, signal.SIGCONT)
    eventually(lambda: "dispatcher.lane_lost" in first.log.read_text(), "the first learns that it has lost the lane")

    eventually(lambda: set(states(web)) == {"delivered"}, "the second has written its last result too")
    second.kill()
    began = time.monotonic()
    more = Posting(web.port, 400_000, 100)
    more.join()
    wait_for_all(onec, [*warm.accepted, *posting.accepted, *more.accepted])
    assert time.monotonic() - began < 10
    first.terminate()
    web.terminate()
    assert_once_and_in_order(onec)
