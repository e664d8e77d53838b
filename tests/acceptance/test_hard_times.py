"""A body that never ends, and a disk that takes nothing more, at the real server."""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable

from relay.sandbox.server import Sandbox
from tests.acceptance.conftest import Process, eventually
from tests.acceptance.posting import Posting, wait_for_all
from tests.calls import rendered

HALF = b"POST /trade/hs/UIScom/in?token=correct-horse HTTP/1.1\r\nHost: relay\r\nContent-Le"
IN = "/trade/hs/UIScom/in?token=correct-horse"


def test_a_body_that_stops_half_way_is_answered_and_stores_nothing(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url).start()
    with socket.create_connection(("127.0.0.1", process.port), timeout=60) as slow:
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
