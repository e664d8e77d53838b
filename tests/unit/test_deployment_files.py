"""What each platform reads says the same: the processes, the port, the volume, the extras."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.image import instructions

ROOT = Path(__file__).parents[2]


def procfile() -> dict[str, str]:
    lines = (ROOT / "Procfile").read_text(encoding="utf-8").splitlines()
    return {name: command.strip() for name, _, command in (line.partition(":") for line in lines)}


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))


def dockerfile(name: str) -> list[str]:
    return [instruction.text for instruction in instructions() if instruction.name == name]


def test_the_image_runs_what_the_procfile_runs(compose: Any) -> None:
    assert json.loads(dockerfile("CMD")[-1]) == shlex.split(procfile()["web"])
    assert compose["services"]["worker"]["command"] == shlex.split(procfile()["worker"])


def test_compose_starts_one_process_unless_postgresql_is_asked_for(compose: Any) -> None:
    profiles = {name: service.get("profiles") for name, service in compose["services"].items()}
    assert profiles == {"relay": None, "worker": ["postgres"], "postgres": ["postgres"]}


def test_compose_serves_this_machine_only_and_gives_time_to_stop(compose: Any) -> None:
    relay = compose["services"]["relay"]
    assert relay["ports"] == [f"127.0.0.1:8000:{dockerfile('EXPOSE')[0]}"]
    assert relay["stop_grace_period"] == "30s"
    assert "data:/data" in relay["volumes"]
    assert "ports" not in compose["services"]["postgres"]


def test_the_database_is_on_the_volume_of_each_platform() -> None:
    amvera = yaml.safe_load((ROOT / "config" / "examples" / "amvera.yml").read_text(encoding="utf-8"))
    dokku = (ROOT / "config" / "examples" / "dokku.sh").read_text(encoding="utf-8")
    assert "DATABASE_URL=sqlite:////data/relay.db" in dockerfile("ENV")[0]
    assert amvera["run"] == {"persistenceMount": "/data", "containerPort": int(dockerfile("EXPOSE")[0])}
    assert ":/data\n" in dokku
    assert f"http:80:{dockerfile('EXPOSE')[0]}" in dokku


def test_heroku_has_a_database_and_its_driver() -> None:
    app = json.loads((ROOT / "app.json").read_text(encoding="utf-8"))
    assert [addon.partition(":")[0] for addon in app["addons"]] == ["heroku-postgresql"]
    assert set(app["formation"]) <= set(procfile())
    assert os.access(ROOT / "bin" / "post_compile", os.X_OK)
    assert "-r extras/postgres.txt" in (ROOT / "bin" / "post_compile").read_text(encoding="utf-8")
