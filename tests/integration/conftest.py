"""Relays that deliver, relays with something that waits, and relays with three systems to deliver to."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from relay import config as settings_room
from relay import wiring
from relay.config import Settings
from relay.sandbox.amocrm.api import AmoCrm
from relay.sandbox.bitrix24.portal import Bitrix24
from relay.sandbox.onec.infobase import OneC
from relay.sandbox.server import Sandbox
from relay.store import migrate
from relay.wiring import Relay
from tests import databases
from tests.calls import rendered
from tests.fakes import FakeClock
from tests.lanes import post
from tests.systems import configuration


@pytest.fixture
def running(make_settings: Callable[..., Settings]) -> Iterator[Callable[..., Relay]]:
    """A relay with its dispatcher started, by the real clock; stopped at the end."""
    made: list[Relay] = []

    def run(*args: str, **more: str) -> Relay:
        settings = make_settings(*args, **more)
        databases.create(settings)
        relay = wiring.Relay(settings)
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
    databases.create(settings)
    relay = wiring.Relay(settings)
    for session in range(3):
        post(relay, rendered("incoming", call_session_id=session))
    yield relay
    relay.close()


@pytest.fixture
def base(clock: FakeClock) -> Iterator[Sandbox]:
    """A simulated 1C whose clock is the test's."""
    sandbox = Sandbox(OneC("Обмен УИС", "пароль", clock=clock)).start()
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that nobody vouches for, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "2",
            "-subj",
            "/CN=127.0.0.1",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
def make_old_database(tmp_path: Path) -> Callable[[str], Path]:
    """What an older version of the relay has left."""

    def make(version: str) -> Path:
        engine = create_engine(f"sqlite:///{tmp_path / 'relay.db'}")
        config = Config()
        config.set_main_option("script_location", str(Path(migrate.__file__).parent / "migrations"))
        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, version)
            connection.commit()
        engine.dispose()
        return tmp_path / "relay.db"

    return make


@pytest.fixture
def old_database(make_old_database: Callable[[str], Path]) -> Path:
    """What the first version of the relay has left."""
    return make_old_database("0001")


@pytest.fixture
def systems(clock: FakeClock) -> Iterator[Sandbox]:
    """All three; what counts requests by the second is off, because a test's lane does not wait."""
    bitrix24 = Bitrix24(clock=clock, limited=False)
    running = Sandbox(OneC(clock=clock), bitrix24=bitrix24, amocrm=AmoCrm(clock=clock, limited=False)).start()
    yield running
    running.close()


@pytest.fixture
def make_crm(tmp_path: Path, database_url: str, systems: Sandbox, clock: FakeClock) -> Iterator[Callable[..., Relay]]:
    made: list[Relay] = []

    def make(*, oauth: bool = False, **more: str) -> Relay:
        file = tmp_path / "relay.toml"
        text = configuration(systems, database_url, oauth=oauth, **more)
        file.write_text(text, encoding="utf-8")
        found = settings_room.read({"RELAY_CONFIG": str(file)})
        databases.create(found)
        made.append(wiring.Relay(found, clock=clock))
        return made[-1]

    yield make
    for relay in made:
        relay.close()
