"""Relays in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import databases
from tests.acceptance.process import Process


@pytest.fixture
def make_process(
    write_config: Callable[..., Path], database_url: str, unused_port: int, tmp_path: Path
) -> Iterator[Callable[..., Process]]:
    """A web server on a database of the newest schema: what is about a first start makes a `Process` of its own."""
    databases.create_at(database_url)
    made: list[Process] = []

    def make(*args: str, environ: dict[str, str] | None = None, **more: str) -> Process:
        made.append(Process(write_config(*args, **more), unused_port, tmp_path / "relay.log", **(environ or {})))
        return made[-1]

    yield make
    for process in made:
        process.end()


@pytest.fixture
def beside(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """A command that runs beside a process, on its database."""
    made: list[Process] = []

    def make(process: Process, *args: str, **environ: str) -> Process:
        log = tmp_path / f"beside-{len(made)}.log"
        made.append(Process(process.config, process.port, log, *args, **environ).start(wait=False))
        return made[-1]

    yield make
    for process in made:
        process.end()
