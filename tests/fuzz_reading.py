"""Looks for a body that the reader cannot bear: `python -m tests.fuzz_reading --seconds 1800 --seed 1`.

Everything that is done with a body before it is on disk, and the bodies made of it for targets. Nothing but
MalformedEvent may be raised, nothing may cost more than 50 ms, and memory must not grow. With `--atheris`
(pip install atheris) new paths through `relay.uis` are followed; without it the seed decides everything.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from pathlib import Path
from types import FunctionType
from typing import Any

import msgspec

import relay.uis as room
from relay.errors import MalformedEvent
from relay.models import ENDPOINTS
from relay.store.inbox import phones
from relay.uis import parser as bodies
from relay.uis.normalise import normalise
from relay.uis.rendering import as_record, render
from relay.web.access import find_and_mask, split_query
from tests.bodies import SIZE_MAX, mutated, seeds
from tests.calls import MOSCOW
from tests.processor_time import least_s

BAR_S = 0.050


def take(raw: bytes, endpoint: str, *, is_query: bool = False) -> bool:
    """What the relay does with a body. False: it is quarantined. Raises whatever is a defect."""
    raw = split_query(raw)[0] if is_query else find_and_mask(raw)[0]
    try:
        reading = bodies.read(raw, is_query=is_query)
        call = normalise(reading, endpoint, MOSCOW)
    except MalformedEvent as exc:
        assert len(str(exc)) < 400, "a problem is a sentence"
        return False
    msgspec.json.encode(call, enc_hook=str)
    phones(call)
    json.dumps(as_record(call))
    assert sum(map(len, call.notes)) < 20_000
    json.loads(render(reading, call, endpoint=endpoint, zone=MOSCOW), parse_constant=_refuse)
    return True


def _refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} was sent to a target")


def cost_s(raw: bytes, endpoint: str, *, is_query: bool = False, enough_s: float = 0.0) -> float:
    """Return what taking it costs, of five tries."""
    return least_s(lambda: take(raw, endpoint, is_query=is_query), 5, enough_s=enough_s)


class _Watch:
    """Keeps what was found, and what it was found with."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.read = folder, 0, 0
        self.slowest, self.failures = 0.0, 0
        self.told_at = time.monotonic()
        self.memory = 0

    def try_one(self, raw: bytes, endpoint: str, is_query: bool) -> None:
        self.count += 1
        began = time.process_time()
        try:
            self.read += take(raw, endpoint, is_query=is_query)
            cost = time.process_time() - began
            if cost > self.slowest:
                cost = cost_s(raw, endpoint, is_query=is_query)
            if cost > self.slowest:
                self.slowest = cost
                self._keep(raw, f"slow-{cost * 1000:.0f}ms-{endpoint}-{int(is_query)}")
        except Exception as exc:
            self.failures += 1
            self._keep(raw, f"raises-{type(exc).__name__}-{endpoint}-{int(is_query)}-{self.count}")
            if self.failures <= 20:
                print(f"{type(exc).__name__}: {str(exc)[:200]} by {raw[:200]!r}", flush=True)
        if time.monotonic() - self.told_at > 60:
            self.tell()

    def tell(self) -> None:
        self.told_at = time.monotonic()
        if not self.memory:
            self.memory = _memory_kb()  # when everything has been loaded and every cache filled
        print(
            f"{self.count} bodies, {self.read} understood, {self.failures} failures, slowest "
            f"{self.slowest * 1000:.1f} ms, memory {_memory_kb() // 1024} MB (+{(_memory_kb() - self.memory) // 1024})",
            flush=True,
        )

    def _keep(self, raw: bytes, name: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(raw)


def _memory_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz_reading", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--keep", type=Path, default=Path(tempfile.gettempdir()) / "fuzzed", help="the folder for what was found"
    )
    parser.add_argument("--atheris", action="store_true")
    given = parser.parse_args()
    watch, known = _Watch(given.keep), seeds()
    if given.atheris:
        _follow_paths(watch, known, given.seconds, given.seed)
    chance = random.Random(given.seed)
    until = time.monotonic() + given.seconds
    while time.monotonic() < until:
        raw = mutated(chance.choice(known), chance, known)
        watch.try_one(raw, chance.choice(ENDPOINTS), chance.random() < 0.2)
    watch.tell()
    sys.exit(watch.failures > 0 or watch.slowest > BAR_S)


def _follow_paths(watch: _Watch, known: list[bytes], seconds: float, seed: int) -> None:
    import atheris

    def try_one(data: bytes) -> None:
        if data:
            watch.try_one(data[1:], ENDPOINTS[data[0] % 4], data[0] >= 128)

    def mutate(data: bytes, size_max: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return atheris.Mutate(data, size_max)
        body = data[1:] if len(data) > 1 and chance.random() < 0.8 else chance.choice(known)
        return bytes([chance.randrange(256)]) + mutated(body, chance, known)[: size_max - 1]

    for module in [module for name, module in sys.modules.items() if name.startswith(room.__name__)]:
        scopes = [vars(module), *(vars(each) for each in vars(module).values() if isinstance(each, type))]
        for function in [each for scope in scopes for each in scope.values() if isinstance(each, FunctionType)]:
            if function.__module__ == module.__name__:
                atheris.instrument_func(function)
    options = [f"-max_len={SIZE_MAX}", f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *options], try_one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
