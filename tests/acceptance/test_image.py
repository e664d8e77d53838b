"""The container image: what the Dockerfile makes runs, as a user who may write only to the volume."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relay.config import ROOT
from relay.sandbox.server import Sandbox
from tests.acceptance.image import Image, instructions, is_ignored
from tests.acceptance.process import request
from tests.calls import rendered
from tests.waiting import eventually

IN = "/trade/hs/UIScom/in"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    built = Image(tmp_path_factory.mktemp("image") / "app")
    built.build()
    return built


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "container.log"


@pytest.fixture
def start_container(
    image: Image, volume: Path, log: Path, unused_port: int
) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**environ: str) -> subprocess.Popen[bytes]:
        started.append(image.popen(image.start_command, volume, log, PORT=str(unused_port), **environ))
        return started[-1]

    yield start
    for container in started:
        if container.poll() is None:
            container.terminate()
            container.wait(30)


@pytest.fixture
def is_healthy(image: Image, volume: Path, tmp_path: Path, unused_port: int) -> Callable[[], bool]:
    """Run the health check as the engine does: a command in the container, judged by its exit code."""

    def check() -> bool:
        return image.popen(image.healthcheck, volume, tmp_path / "checks.log", PORT=str(unused_port)).wait(30) == 0

    return check


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_a_container_is_healthy_stops_and_is_replaced_without_a_loss(
    image: Image,
    start_container: Callable[..., subprocess.Popen[bytes]],
    is_healthy: Callable[[], bool],
    write_config: Callable[..., Path],
    onec: Sandbox,
    unused_port: int,
    volume: Path,
) -> None:
    built, config = files(image.folder), write_config(onec.onec_url)
    onec.onec.fail("unavailable", 1000)
    first = start_container(RELAY_CONFIG=str(config))
    eventually(is_healthy, "healthy", alive=first)
    status, _ = request(unused_port, "POST", IN, rendered("incoming"), {"X-Relay-Token": "correct-horse"})
    assert status == 200
    first.send_signal(signal.SIGTERM)
    assert first.wait(30) == 0
    assert not is_healthy()
    assert files(image.folder) == built
    assert volume / "relay.db" in files(volume)

    onec.onec.fail("unavailable", 0)
    second = start_container(RELAY_CONFIG=str(config))
    eventually(lambda: len(onec.onec.state()["writes"]) == 1, "delivered", alive=second)


def test_the_shipped_configuration_is_refused_for_the_image_faces_the_world(
    start_container: Callable[..., subprocess.Popen[bytes]], volume: Path, log: Path
) -> None:
    assert start_container().wait(60) != 0
    assert "RELAY_DEMO=1" in log.read_text()
    assert files(volume) == set()


def test_the_user_cannot_change_the_program(image: Image, volume: Path, log: Path) -> None:
    change = image.popen(["sh", "-c", "touch relay/more.py || touch more.py"], volume, log)
    assert change.wait(10) != 0
    assert "ermission denied" in log.read_text()


def test_what_needs_an_engine_is_all_that_is_not_carried_out(image: Image) -> None:
    base, sqlite, user, *rest = image.left_out
    assert base.name == "FROM"
    assert base.text == f"python:{(ROOT / '.python-version').read_text().strip()}-slim-trixie"
    assert "libsqlite3-0" in sqlite.text and "(3, 51, 3)" in sqlite.text
    assert "useradd" in user.text and "/data" in user.text
    assert [instruction.name for instruction in rest] == ["EXPOSE", "STOPSIGNAL"]


@pytest.mark.parametrize(
    "private", [".env", ".git/config", "relay.db", "relay.db-wal", "relay/__pycache__/x.pyc", "tests"]
)
def test_what_is_private_does_not_reach_the_engine(private: str) -> None:
    assert is_ignored(private)


def test_what_runs_is_not_root() -> None:
    names = [instruction.name for instruction in instructions()]
    assert names.index("USER") < names.index("HEALTHCHECK") < names.index("CMD")
