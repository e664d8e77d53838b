"""Counters that are right with several processes."""

from __future__ import annotations

import http.client
import os
import signal
from collections.abc import Callable

from relay.sandbox.server import Sandbox
from tests.acceptance.posting import Posting, wait_for_all
from tests.acceptance.process import Process
from tests.waiting import eventually


def scraped(process: Process) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[:1] not in "#"
    }


def accepted(process: Process) -> float:
    found = scraped(process)
    return sum(count for name, count in found.items() if 'answer="accepted"' in name)


def test_two_workers_and_one_that_dies_are_counted_together(
    make_process: Callable[..., Process], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, environ={"WEB_CONCURRENCY": "2"}).start()
    posting = Posting(process.port, 1, 200)
    posting.join()
    wait_for_all(onec, posting.accepted)
    # whichever worker is asked; a notification is counted after its answer
    eventually(lambda: {accepted(process) for _ in range(6)} == {200}, "each notification is counted once")
    delivered = 'relay_attempts_total{outcome="delivered",target="onec"}'
    eventually(lambda: scraped(process).get(delivered) == 200, "each attempt is counted once")

    os.kill(process.workers()[0], signal.SIGKILL)
    eventually(lambda: len(process.workers()) == 2, "another worker has come")

    eventually(lambda: process.is_ready(), "it serves")
    assert accepted(process) == 200  # a counter does not fall
    process.terminate()


def test_what_work_delivers_beside_a_web_server_is_shown_by_the_web_server(
    make_process: Callable[..., Process], beside: Callable[..., Process], onec: Sandbox
) -> None:
    web = make_process(onec.onec_url, environ={"RELAY_DISPATCH": "off"}).start()
    worker = beside(web, "work")
    posting = Posting(web.port, 1, 50)
    posting.join()
    wait_for_all(onec, posting.accepted)

    delivered = 'relay_attempts_total{outcome="delivered",target="onec"}'
    eventually(lambda: scraped(web).get(delivered) == 50, "the worker's attempts are in the web server's scrape")
    worker.terminate()
    web.terminate()
