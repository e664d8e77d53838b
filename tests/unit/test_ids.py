"""Ids: UUIDv7, sortable by time, never twice."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from uuid import UUID

from relay.clock import new_id

NOON = datetime(2026, 3, 2, 9, 45, tzinfo=UTC)


def test_they_are_version_7_and_sort_by_time() -> None:
    ids = [new_id(NOON + timedelta(milliseconds=number)) for number in range(100)]

    assert ids == sorted(ids)
    assert all((UUID(one).version, UUID(one).variant) == (7, "specified in RFC 4122") for one in ids)


def test_no_two_are_alike_whoever_seeds_the_shared_generator() -> None:
    made = set()
    for _ in range(1000):
        random.seed(0)
        made.add(new_id(NOON))

    assert len(made) == 1000


def test_a_forked_process_makes_others() -> None:
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, new_id(NOON).encode())
        os._exit(0)
    os.wait()
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read(36).decode() != new_id(NOON)
    os.close(write)
