"""A PostgreSQL server that hangs: it takes connections and answers nothing, for as long as it likes."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from relay.sandbox.server import Sandbox
from tests.acceptance.posting import Posting
from tests.acceptance.process import Process
from tests.calls import rendered
from tests.postgres import Postgres
from tests.waiting import eventually

IN = "/trade/hs/UIScom/in?token=correct-horse"
CLIENTS = 40  # more than there are threads
HANGS_FOR_S = 10.0
ANSWERED_WITHIN_S = 5.0  # two seconds and what a busy machine takes
LOOKS_EVERY_S = 1.0  # /readyz, into the store
WAITS_FOR_A_THREAD_S = 2.0  # all of them are taken when it begins
GONE_WITHIN_S = 25.0

# The server's process that commits stops itself; who has its number lets it go on. Each program reads what it is given:
# ended before, it would be the statement's failure.
HANGS_IN_COMMIT = """
CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN COPY (SELECT 1) TO PROGRAM 'cat > hangs; echo $PPID > hangs; kill -STOP $PPID'; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hangs AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION hang();
"""
GOES_ON = "COPY (SELECT 1) TO PROGRAM 'cat > goes_on; kill -CONT $(cat hangs)'"


@pytest.fixture
def address(postgres: Postgres, postgres_database: str) -> dict[str, str]:
    return {"DATABASE_URL": postgres.url(postgres_database)}


def test_each_notification_has_its_503_in_time_and_nothing_has_to_be_restarted(
    make_process: Callable[..., Process], address: dict[str, str], postgres: Postgres, onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, environ=address).start()
    workers = process.workers()
    bodies = [rendered("incoming", call_session_id=number) for number in range(CLIENTS)]

    def ask(method: str, path: str, body: bytes | None = None) -> tuple[str, int, float, float]:
        began = time.monotonic()
        status, _ = process.request(method, path, body)
        return path, status, began, time.monotonic() - began

    def repeat(*request: Any) -> list[tuple[str, int, float, float]]:
        answers, ends = [], time.monotonic() + HANGS_FOR_S
        while time.monotonic() < ends:
            answers.append(ask(*request))
        return answers

    assert ask("POST", IN, bodies[0])[1] == 200
    requests = [("POST", IN, body) for body in bodies] + [("GET", "/readyz")]
    with ThreadPoolExecutor(len(requests)) as clients, postgres.hanging():
        hangs_since = time.monotonic()
        answers = [answer for of_client in clients.map(lambda each: repeat(*each), requests) for answer in of_client]
        assert ask("GET", "/healthz")[1] == 200
    assert len(answers) > 2 * len(requests)
    seen = {(path, status) for path, status, began, _ in answers if path == IN or began > hangs_since + LOOKS_EVERY_S}
    assert seen == {(IN, 503), ("/readyz", 503)}
    assert max(took for path, *_, took in answers if path == IN) < ANSWERED_WITHIN_S
    assert max(took for *_, took in answers) < ANSWERED_WITHIN_S + WAITS_FOR_A_THREAD_S

    eventually(process.is_ready, "ready again by itself")
    assert {ask("POST", IN, body)[1] for body in bodies} == {200}
    eventually(lambda: onec.onec.recorded() == len(bodies), "all arrive")
    assert process.workers() == workers
    process.terminate()
    assert onec.onec.recorded() == len(bodies)


def test_a_commit_that_may_have_been_made_is_made_once_and_delivered_once(
    make_process: Callable[..., Process], address: dict[str, str], onec: Sandbox
) -> None:
    process = make_process(onec.onec_url, environ=address).start()
    assert process.request("POST", IN, rendered("incoming", call_session_id=1))[0] == 200
    eventually(lambda: onec.onec.recorded() == 1, "the lane has nothing to do")
    repeated = rendered("incoming", call_session_id=2)
    with psycopg.connect(address["DATABASE_URL"], autocommit=True) as server:
        server.execute(HANGS_IN_COMMIT)
        began = time.monotonic()
        assert process.request("POST", IN, repeated)[0] == 503
        assert time.monotonic() - began < ANSWERED_WITHIN_S
        assert server.execute("SELECT count(*) FROM events").fetchone() == (1,)
        server.execute(GOES_ON)
        eventually(lambda: server.execute("SELECT count(*) FROM events").fetchone() == (2,), "it was made")
    status, answer = process.request("POST", IN, repeated)
    assert (status, answer["status"]) == (200, "duplicate")
    eventually(lambda: onec.onec.recorded() == 2, "it is delivered")
    with psycopg.connect(address["DATABASE_URL"], autocommit=True) as server:
        states = "SELECT DISTINCT state FROM deliveries"
        eventually(lambda: server.execute(states).fetchall() == [("delivered",)], "and that is recorded")
    process.terminate()
    assert onec.onec.recorded() == 2


def test_every_process_ends_in_time_all_the_same(
    make_process: Callable[..., Process],
    beside: Callable[..., Process],
    address: dict[str, str],
    postgres: Postgres,
    onec: Sandbox,
) -> None:
    onec.onec.fail("hang_after_writing", -1)
    web = make_process(onec.onec_url, environ=address).start()
    work = beside(web, "work", **address)
    both_run = "SELECT count(*) = 2 FROM heartbeats WHERE name LIKE 'dispatcher:%'"
    with psycopg.connect(address["DATABASE_URL"], autocommit=True) as server:
        eventually(lambda: server.execute(both_run).fetchone() == (True,), "both run", alive=work.child)
    Posting(web.port, 1, 20).join()
    eventually(lambda: onec.onec.recorded() == 2, "the 1C has as many in its hands as it takes at a time")
    with postgres.hanging(), ThreadPoolExecutor() as both:
        Posting(web.port, 200_000, 20)
        assert max(both.map(Process.terminate, (web, work))) < GONE_WITHIN_S
    assert [process.child.poll() for process in (web, work) if process.child is not None] == [0, 0]
