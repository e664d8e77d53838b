"""The Procfile as a platform runs it: its port, SIGTERM to all processes, a fresh disk at every start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.sandbox.server import Sandbox
from tests.acceptance.dyno import Dyno
from tests.calls import rendered
from tests.postgres import Postgres
from tests.waiting import eventually

RELAY = ("python", "-m", "relay")
STOPPED_BY_SIGTERM = 143


@pytest.fixture(params=["sqlite", "postgres"])
def kept_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that outlives the dynos: on a volume, or on a server."""
    if request.param == "sqlite":
        (tmp_path / "volume").mkdir()
        return f"sqlite:///{tmp_path}/volume/relay.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(request.getfixturevalue("postgres_database"), scheme="postgres")  # as Heroku writes it


@pytest.fixture
def make_dyno(
    write_config: Callable[..., Path], onec: Sandbox, unused_port: int, tmp_path: Path
) -> Iterator[Callable[..., Dyno]]:
    """Make a dyno of a number; the configuration comes with the program's settings, not from its disk."""
    config = write_config(onec.onec_url)
    made: list[Dyno] = []

    def make(**environ: str) -> Dyno:
        folder = tmp_path / f"dyno-{len(made)}"
        made.append(Dyno(folder, unused_port, {"RELAY_CONFIG": str(config), **environ}))
        return made[-1]

    yield make
    for dyno in made:
        dyno.end()


def post(dyno: Dyno, session: int) -> None:
    body = rendered("incoming", call_session_id=session)
    status, answer = dyno.request("POST", "/trade/hs/UIScom/in", body, **{"X-Relay-Token": "correct-horse"})
    assert (status, answer["status"]) == (200, "accepted")


def sessions(onec: Sandbox) -> list[str]:
    return [str(write["call_session_id"]) for write in onec.onec.state()["writes"]]


def test_what_one_dyno_takes_the_next_one_delivers(
    make_dyno: Callable[..., Dyno], onec: Sandbox, kept_database: str
) -> None:
    """On a volume and on a server, with a worker beside the web process; one signal ends them all."""
    processes = ["web", "worker"]
    first = make_dyno(DATABASE_URL=kept_database)
    assert first.release().returncode == 0
    assert first.run(*RELAY, "pause", "onec").returncode == 0
    first.start(*processes)
    post(first, 1)
    post(first, 2)
    assert first.terminate() < 25, first.log.read_text()
    assert not first.is_ready()
    log = first.log.read_text()
    assert "web.1 " in log
    assert log.count("stopped (rc=") == len(processes)
    assert "Traceback" not in log
    assert first.exit_code == STOPPED_BY_SIGTERM
    assert onec.onec.state()["writes"] == []

    second = make_dyno(DATABASE_URL=kept_database)
    assert second.release().returncode == 0
    second.start(*processes)
    assert second.run(*RELAY, "resume", "onec").returncode == 0
    post(second, 3)

    eventually(lambda: len(onec.onec.state()["writes"]) == 3, "all three are delivered")
    assert sorted(sessions(onec)) == ["1", "2", "3"]
    if not kept_database.startswith("sqlite"):
        assert "start.disk_is_thrown_away" not in log  # nothing of it lies on this disk


def test_a_wrong_configuration_stops_the_deployment(make_dyno: Callable[..., Dyno]) -> None:
    released = make_dyno(RELAY_CONFIG="config/nowhere.toml").release()
    assert released.returncode != 0
    assert "config/nowhere.toml" in released.stdout


def test_a_database_on_the_dynos_own_disk_is_warned_of_and_lost(
    make_dyno: Callable[..., Dyno], onec: Sandbox, write_config: Callable[..., Path]
) -> None:
    config = write_config(onec.onec_url)
    text = config.read_text()
    config.write_text(text.replace(str(config.with_name("relay.db")), "relay.db"))  # relative: beside the program
    first = make_dyno()
    first.start("web")
    post(first, 1)
    first.terminate()
    assert (first.folder / "relay.db").exists()
    assert "start.disk_is_thrown_away" in first.log.read_text()

    second = make_dyno()
    assert second.release().returncode == 0
    assert second.run(*RELAY, "events", "--json").stdout == ""
