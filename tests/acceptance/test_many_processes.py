"""Three web processes and two workers on one PostgreSQL: killed at random, the server restarted, its connections cut."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from relay.store import Store, migrate
from tests.acceptance.posting import Posting, arrived, assert_in_order, wait_for_all
from tests.acceptance.process import SOAK, Process
from tests.fakes import FakeClock
from tests.ports import unused_port
from tests.postgres import Bouncer, Postgres, bouncer_program, programs, running, skip_unless
from tests.systems import ANOTHER_1C
from tests.waiting import eventually

ROUNDS = 48 if SOAK else 4  # in each four: a kill, cut connections, a kill, a restart of the server
BATCH = 90 if SOAK else 45
CONCURRENCY = 3
SHARDS = 2  # of one of the two targets


@pytest.fixture(params=[["direct"], ["pooled"], ["direct", "pooled"]] if SOAK else [["direct", "pooled"]], ids="+".join)
def server(request: pytest.FixtureRequest) -> Iterator[tuple[Postgres, list[str]]]:
    """A server with an empty database, and the addresses at which it is reached."""
    skip_unless(programs(), "postgresql")
    if "pooled" in request.param:
        skip_unless(bouncer_program(), "pgbouncer")
    postgres = Postgres()
    with running(postgres), running(Bouncer(postgres)) as bouncer:
        name = postgres.create_database()
        urls = {"direct": postgres.url(name), "pooled": bouncer.url(name)}
        yield postgres, [urls[way] for way in request.param]


@pytest.fixture
def bases() -> Iterator[list[Sandbox]]:
    made = [Sandbox(OneC("Обмен УИС", "пароль")).start() for _ in range(2)]
    yield made
    for base in made:
        base.close()


@pytest.fixture
def processes(
    server: tuple[Postgres, list[str]], bases: list[Sandbox], write_config: Callable[..., Path], tmp_path: Path
) -> Iterator[list[Process]]:
    """Three web processes, which deliver too, and two workers; where there are two addresses, they take turns."""
    timeout = 'timeout = "5s"'  # what a killed process had in flight waits for it
    more = f"{ANOTHER_1C.format(name='second', url=bases[1].onec_url)}\n{timeout}"
    split = f"concurrency = {CONCURRENCY}\nshards = {SHARDS}\n{timeout}"
    config = write_config(bases[0].onec_url, target=split, more=more)
    text = config.read_text(encoding="utf-8").replace('targets = ["onec"]', 'targets = ["onec", "second"]')
    config.write_text(text, encoding="utf-8")
    addresses = itertools.cycle([{"DATABASE_URL": url} for url in server[1]])
    made = [Process(config, unused_port(), tmp_path / f"web-{number}.log", **next(addresses)) for number in range(3)]
    unasked = {"PORT": "8000"}  # a worker listens nowhere, but does not start with a port that is none
    made += [Process(config, 0, tmp_path / f"work-{n}.log", "work", **next(addresses), **unasked) for n in range(2)]
    store = Store(server[1][0])
    migrate.migrate(store.database, FakeClock()())
    store.close()
    for process in made:
        process.start(wait=process.port != 0)
    yield made
    for process in made:
        process.end()


@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_is_killed(
    server: tuple[Postgres, list[str]], processes: list[Process], bases: list[Sandbox]
) -> None:
    postgres, _ = server
    webs, chance = processes[:3], random.Random()
    database = "relay_1"
    accepted: list[str] = []
    answers: Counter[str] = Counter()
    kills = cuts = restarts = 0
    for number in range(ROUNDS):
        posting = [
            Posting(web.port, (number * 3 + place + 1) * 100_000, BATCH, web.is_ready) for place, web in enumerate(webs)
        ]
        fate = number % 4
        eventually(lambda p=posting: sum(len(each.accepted) for each in p) >= BATCH, "under load")
        if fate in (0, 2):
            victim = chance.choice(processes)
            victim.kill()
            victim.start(wait=False)
            kills += 1
        elif fate == 1:
            cuts += postgres.terminate_backends(database)
        else:
            postgres.restart()
            restarts += 1
        for each in posting:
            each.join()
            accepted += each.accepted
            answers += each.answers
        for web in webs:
            eventually(web.is_ready, "it is back")
    for base in bases:
        wait_for_all(base, accepted, 300)
    for process in processes:
        process.terminate()
    for base in bases:
        arrivals = arrived(base)
        doubled = sum(count - 1 for count in Counter(delivery for _, delivery in arrivals).values())
        print(
            f"\n{kills} kills, {restarts} restarts, {cuts} connections cut: {len(accepted)} accepted "
            f"({json.dumps(answers)}), 0 lost, {doubled} delivered twice"
        )
        assert doubled <= CONCURRENCY * (kills + restarts + cuts)
        assert_in_order([mark for mark, _ in arrivals])
