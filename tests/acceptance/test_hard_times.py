"""Slow clients, and a disk that takes nothing more, at the real server."""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Callable

from relay.sandbox.server import Sandbox
from tests.acceptance.conftest import Process, eventually
from tests.acceptance.posting import Posting, wait_for_all
from tests.calls import rendered

HALF = b"POST /trade/hs/UIScom/in?token=correct-horse HTTP/1.1\r\nHost: relay\r\nContent-Le"
OTHERS_WAIT_AT_MOST_S = 5.0
IN = "/trade/hs/UIScom/in?token=correct-horse"


def test_32_half_sent_headers_do_not_stop_the_others_for_longer_than_the_time_out(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url).start()
    with contextlib.ExitStack() as stack:
        for _ in range(32):
            silent = stack.enter_context(socket.create_connection(("127.0.0.1", process.port)))
            silent.sendall(HALF)
        began = time.monotonic()
        status, answer = process.request("POST", IN, rendered("incoming"))
        took = time.monotonic() - began
    assert (status, answer["status"]) == (200, "accepted")
    assert took < OTHERS_WAIT_AT_MOST_S + 2  # and the machine is noisy
    process.terminate()


def test_a_body_that_stops_half_way_is_answered_and_stores_nothing(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url).start()
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as slow:
        slow.sendall(HALF + b"ngth: 500\r\n\r\n{")
        answer = slow.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408")
    assert process.command("events", "--json").stdout == ""
    process.terminate()


def test_a_disk_that_takes_nothing_more_is_503_and_when_it_does_again_so_does_the_relay(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    """The worker's own limit on the size of files stands for the disk."""
    onec.onec.fail("bad_gateway", -1)
    process = make_process(onec.onec_url).start()
    before = Posting(process.port, 1, 50)
    before.join()
    [worker] = process.workers()
    unlimited = resource.prlimit(worker, resource.RLIMIT_FSIZE)
    resource.prlimit(worker, resource.RLIMIT_FSIZE, (16_384, unlimited[1]))
    during = Posting(process.port, 200_000, 50)
    during.join()
    assert set(during.answers) == {"503"}
    status, answer = process.request("POST", IN, rendered("incoming"))
    assert status == 503
    assert "cannot be used" in answer["error"]

    resource.prlimit(worker, resource.RLIMIT_FSIZE, unlimited)
    eventually(lambda: process.request("GET", "/readyz")[0] == 200, "ready again, by itself")
    after = Posting(process.port, 400_000, 50)
    after.join()
    assert set(after.answers) == {"200"}
    onec.onec.fail("ok", 0)
    wait_for_all(onec, [*before.accepted, *after.accepted])
    assert onec.onec.recorded() == 100
    assert process.workers() == [worker]  # without a restart
    process.terminate()
