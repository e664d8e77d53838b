"""The README's own walk, line by line, against a relay and a simulated 1C."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from relay.config import ROOT
from relay.sandbox.server import Sandbox
from tests.acceptance.process import Process
from tests.waiting import eventually


def walk(name: str) -> list[str]:
    """The lines of the block under "Trying it out", without their remarks."""
    text = (ROOT / name).read_text(encoding="utf-8")
    (block,) = re.findall(r"```sh\n(curl .*?)```", text, re.DOTALL)
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines()]


def test_both_languages_have_the_same_walk() -> None:
    assert walk("README.md") == walk("README.ru.md")


def test_what_the_readme_lets_try_out_comes_to_what_it_says(
    make_process: Callable[..., Process], onec: Sandbox, tmp_path: Path
) -> None:
    process = make_process(onec.onec_url).start()

    def run(line: str) -> str:
        line = line.replace("http://127.0.0.1:8100", onec.url).replace(".venv/bin/", f"{Path(sys.executable).parent}/")
        environ = {**process.environ, "COLUMNS": "200"}
        done = subprocess.run(
            ["bash", "-c", line], cwd=ROOT, env=environ, input="y\n", capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout

    fail, simulate, dead, replay, damage, events = walk("README.md")
    run(fail)
    assert "5 accepted" in run(simulate)
    eventually(lambda: "400" in run(dead), "one of them was refused", alive=process.child)
    run(replay)
    assert run(f"{dead} --json") == ""
    assert "accepted" in run(damage)
    assert run(f"{events} --json").count("\n") >= 10
