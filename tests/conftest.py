"""What the tests share: a configuration in a folder of its own, a relay on it, a simulated 1C over real sockets."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
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
from relay.i18n import set_language, set_zone
from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from relay.store import Store, migrate
from relay.wiring import Relay
from tests import databases, ports
from tests import postgres as servers
from tests.fakes import FakeClock
from tests.postgres import Bouncer, Postgres

MEMORY = Path("/dev/shm")  # noqa: S108  what is made there has a folder of its own
if "TMPDIR" not in os.environ and MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 << 30:
    # The same files by the same calls, but a flush costs nothing there. In a container there may be too little of it.
    os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)
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
# the files whose tests run on each engine with `--engine both`: store, intake and delivery
ON_BOTH = {
    "admin",
    "call_gap",
    "clock_steps",
    "delivering",
    "hard_lanes",
    "missed_tasks",
    "ownership",
    "shards",
    "store",
    "taking_notifications",
    "target_states",
}
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
    engines = ("sqlite", "postgres", "both")
    parser.addoption("--engine", choices=engines, default="sqlite", help="what the store is kept in")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """With `--engine both`, run what uses a database, in the files that are for it, once on each engine."""
    module = metafunc.module.__name__.rpartition(".test_")[2]
    if metafunc.config.getoption("--engine") != "both" or module not in ON_BOTH or not servers.is_wanted():
        return
    if "engine" in metafunc.fixturenames and not metafunc.definition.get_closest_marker("sqlite"):
        metafunc.parametrize("engine", ["sqlite", "postgres"])


def pytest_collection_finish() -> None:
    """Leave out of every later search for garbage what lives to the end: thousands of tests, and all modules."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.getoption("--engine") == "both" and not servers.is_wanted():
        terminalreporter.write_line(f"{servers.missing('postgresql')} (and pgbouncer); skipped: what runs on it")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--engine") == "postgres":
        of_files = [item for item in items if item.get_closest_marker("sqlite")]
        config.hook.pytest_deselected(items=of_files)
        items[:] = [item for item in items if item not in of_files]


@pytest.fixture(autouse=True)
def reader() -> None:
    """Nobody's language and clock: what a command or a page of the test before has chosen is not this one's."""
    set_language("en")
    set_zone(None)


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


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> str:
    """What the test's store is kept in, `sqlite` or `postgres`; see `pytest_generate_tests`."""
    return "postgres" if request.config.getoption("--engine") == "postgres" else "sqlite"


@pytest.fixture(scope="session")
def with_tables(postgres: Postgres) -> str:
    """The name of a PostgreSQL database with empty tables, to be copied."""
    name = postgres.create_database()
    store = Store(postgres.url(name))
    migrate.migrate(store.database, FakeClock()())
    store.close()
    return name


@pytest.fixture
def database_url(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database that holds nothing."""
    if engine == "sqlite":
        yield f"sqlite:///{tmp_path / 'relay.db'}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.create_database(request.getfixturevalue("with_tables"))
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
