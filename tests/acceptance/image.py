"""The Dockerfile without an engine: its steps, carried out in a scratch folder by this machine's own programs.

What needs an engine is left out, and named: the base image, Debian's packages, the user. `pip install` is a dry run:
it proves that each file is there, that its hashes are right, and that it is what the tests run on.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from relay.config import ROOT

NEEDS_ENGINE = ("FROM", "EXPOSE", "STOPSIGNAL")
NEEDS_ROOT = ("apt-get", "useradd")
# root without any of his powers: he may write what is his, and nothing else
POWERLESS = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all", "--no-new-privs", "--"]


class Instruction(NamedTuple):
    name: str
    text: str

    def command(self) -> list[str]:
        """Return the words of the JSON form, which no shell reads."""
        words: list[str] = json.loads(self.text[self.text.index("[") :])
        return words


def instructions() -> Iterator[Instruction]:
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for line in filter(None, text.replace("\\\n", "").splitlines()):
        name, _, rest = line.partition(" ")
        yield Instruction(name, rest.strip())


def is_ignored(path: str) -> bool:
    """Does .dockerignore keep this path from the engine? The last pattern that fits decides."""
    ignored = False
    for pattern in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        if pattern and not pattern.startswith("#") and _fits(PurePosixPath(path), pattern.removeprefix("!")):
            ignored = not pattern.startswith("!")
    return ignored


def _fits(path: PurePosixPath, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return pattern[3:] in path.parts
    return PurePosixPath(path.parts[0]).match(pattern)


class Image:
    """What the steps have made in a folder; its containers differ in what is mounted at /data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",  # what is compiled at the build is all
        }
        self.user = "root"
        self.left_out: list[Instruction] = []
        self.healthcheck: list[str] = []
        self.start_command: list[str] = []
        folder.mkdir()

    def build(self) -> None:
        for instruction in instructions():
            self._step(instruction)
        for path in [self.folder, *self.folder.rglob("*")]:  # root's, as in the image; the relay's user only reads
            path.chmod(path.stat().st_mode & ~0o222)

    def popen(self, command: list[str], data: Path, log: Path, **environ: str) -> subprocess.Popen[bytes]:
        """Start a command as the image's user, who may write to the volume `data` and nowhere else."""
        assert self.user != "root"
        prefix = POWERLESS if os.getuid() == 0 else []
        with log.open("ab") as output:
            return subprocess.Popen(
                [*prefix, *command],
                cwd=self.folder,
                env={
                    name: value.replace("///data", f"//{data}") for name, value in {**self.environ, **environ}.items()
                },
                stdout=output,
                stderr=output,
            )

    def _step(self, instruction: Instruction) -> None:
        name, text = instruction
        if name in NEEDS_ENGINE or (name == "RUN" and any(word in text for word in NEEDS_ROOT)):
            self.left_out.append(instruction)
        elif name == "RUN":
            self._run(text)
        elif name == "COPY":
            *sources, target = text.split()
            for source in sources:
                self._copy(source, target)
        elif name in ("ENV", "ARG"):
            self.environ |= dict(word.split("=", 1) for word in shlex.split(text))
        elif name == "USER":
            self.user = text
        elif name == "WORKDIR":
            assert text == "/app"
        elif name == "HEALTHCHECK":
            self.healthcheck = instruction.command()
        elif name == "CMD":
            self.start_command = instruction.command()
        else:
            raise AssertionError(f"unknown to this test: {name}")

    def _run(self, text: str) -> None:
        command = text.replace("pip install", "pip install --dry-run --quiet --disable-pip-version-check")
        subprocess.run(["sh", "-ec", command], cwd=self.folder, env=self.environ, check=True, timeout=120)

    def _copy(self, source: str, target: str) -> None:
        assert not is_ignored(source), f"{source} does not reach the engine"

        def skipped(folder: str, names: list[str]) -> list[str]:
            inside = Path(folder).relative_to(ROOT)
            return [name for name in names if is_ignored(str(inside / name))]

        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, self.folder / target, ignore=skipped)
        else:
            shutil.copy(ROOT / source, self.folder / target)
