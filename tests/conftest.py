"""What the tests share: a configuration in a folder of its own, a relay on it, a simulated 1C over real sockets."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import structlog
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache
from structlog.testing import capture_logs

from relay import config as settings_room
from relay import wiring
from relay.config import Settings
from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from relay.store import Store, migrate
from relay.wiring import Relay
from tests import databases, ports
from tests import postgres as servers
from tests.fakes import FakeClock
from tests.postgres import Bouncer, Postgres

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process that a test starts compiles the whole relay
hypothesis.settings.register_profile("relay", deadline=None)  # machines are noisy: no test is about time
hypothesis.settings.load_profile("relay")


class Compiled(BytecodeCache):
    """The templates that this process has compiled: each test has an application of its own, and all have the same."""

    def __init__(self) -> None:
        self._code: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._code:
            bucket.bytecode_from_string(self._code[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._code[bucket.key] = bucket.bytecode_to_string()


Flask.jinja_options = {"bytecode_cache": Compiled()}

CONFIG = """
{top}
timezone = "Europe/Moscow"
[storage]
url = "{database}"
{storage}
[sources.trade]
token = ["correct-horse", "battery-staple"]
targets = ["onec"]
{source}
[targets.onec]
kind = "1c"
url = "{url}"
username = "Обмен УИС"
password = "пароль"
retry_first = "200ms"
retry_max = "1s"
connect_timeout = "2s"
{call_gap}
{target}
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--engine", choices=("sqlite", "postgres"), default="sqlite", help="what the store is kept in")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--engine") == "postgres":
        of_files = [item for item in items if item.get_closest_marker("sqlite")]
        config.hook.pytest_deselected(items=of_files)
        items[:] = [item for item in items if item not in of_files]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the relay writes into the log, of every level; a test before may have set another, and cached loggers."""
    every_level = structlog.make_filtering_bound_logger(0)
    with capture_logs() as lines:
        for name, module in list(sys.modules.items()):
            if name.startswith("relay.") and hasattr(module, "log"):
                monkeypatch.setattr(module, "log", structlog.wrap_logger(None, wrapper_class=every_level))
        yield lines


@pytest.fixture
def unused_port() -> int:
    return ports.unused_port()


@pytest.fixture(scope="session")
def with_tables(request: pytest.FixtureRequest) -> str | None:
    """The name of a PostgreSQL database with empty tables, to be copied; None when the store is SQLite's."""
    if request.config.getoption("--engine") == "sqlite":
        return None
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database()
    store = Store(postgres.url(name))
    migrate.migrate(store.database, FakeClock()())
    store.close()
    return name


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path, with_tables: str | None) -> Iterator[str]:
    """The address of a database that holds nothing."""
    if with_tables is None:
        yield f"sqlite:///{tmp_path / 'relay.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(with_tables)
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture
def write_config(tmp_path: Path, database_url: str) -> Callable[..., Path]:
    """Writes a configuration: one source `trade`, one target `onec`; more lines for each part."""

    def write(
        url: str = "http://127.0.0.1:9/trade/hs/UIScom",
        *,
        top: str = "",
        storage: str = "",
        source: str = "",
        target: str = "",
        more: str = "",
    ) -> Path:
        file = tmp_path / "relay.toml"
        # only the tests of the gap wait for it
        call_gap = "" if "call_gap" in target else 'call_gap = "0s"'
        database = database_url
        text = CONFIG.format(
            top=top, storage=storage, database=database, url=url, source=source, target=target, call_gap=call_gap
        )
        file.write_text(text + more, encoding="utf-8")
        return file

    return write


@pytest.fixture
def make_settings(write_config: Callable[..., Path]) -> Callable[..., Settings]:
    def make(*args: str, **more: str) -> Settings:
        return settings_room.read({"RELAY_CONFIG": str(write_config(*args, **more))})

    return make


@pytest.fixture
def make_relay(make_settings: Callable[..., Settings], clock: FakeClock) -> Iterator[Callable[..., Relay]]:
    """A relay on a migrated database of its own, at a fake clock's time; nothing is started."""
    made: list[Relay] = []

    def make(*args: str, **more: str) -> Relay:
        settings = make_settings(*args, **more)
        databases.create(settings)
        made.append(wiring.Relay(settings, clock=clock))
        return made[-1]

    yield make
    for relay in made:
        relay.close()


@pytest.fixture
def relay(make_relay: Callable[..., Relay]) -> Relay:
    return make_relay()


@pytest.fixture
def onec() -> Iterator[Sandbox]:
    """A simulated 1C that expects a Cyrillic user."""
    sandbox = Sandbox(OneC("Обмен УИС", "пароль")).start()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server, started when the first test asks for it; a test that ends it starts it again."""
    servers.skip_unless(servers.programs(), "postgresql")
    server = Postgres()
    with servers.running(server):
        yield server


@pytest.fixture
def postgres_database(postgres: Postgres) -> Iterator[str]:
    """The name of an empty database, for this test only; `postgres.url(name)` is its address."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def bouncer(postgres: Postgres) -> Iterator[Bouncer]:
    """A PgBouncer in front of it; `bouncer.url(name)` is a database's address through it."""
    servers.skip_unless(servers.bouncer_program(), "pgbouncer")
    server = Bouncer(postgres)
    with servers.running(server):
        yield server
