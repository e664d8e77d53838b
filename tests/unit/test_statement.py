"""Rows and values: what is written comes back; a list and many rows are bound as the engine wants them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy
from msgspec.structs import replace

from relay.models import Attempt, CallEvent, Event, TargetHealth, TokenPair
from relay.store import tables
from relay.store.statement import ManyRows, RowMapper, Statement
from tests.factories import FRESH

NOON = datetime(2026, 3, 2, 12, 0, 0, 1, tzinfo=UTC)

EVENT = Event(
    seq=1,
    id="e",
    source="trade",
    endpoint="in",
    kind="incoming",
    state="accepted",
    session="7",
    received_at=NOON,
    raw=b"\x00\xff",
    edited=None,
    is_query_string=True,
    zone="Europe/Moscow",
    call=CallEvent(kind="incoming", session_id="7", started_at=NOON, extra={"имя": [1, None]}),
    problem=None,
    notes=("имя", "b"),
    duplicate_times=(NOON, NOON + timedelta(microseconds=1)),
    duplicate_count=2,
)
DELIVERY = replace(
    FRESH,
    seq=2,
    session=None,
    ordered=False,
    state="dead",
    attempts=3,
    failures=2,
    unclear=1,
    replayed=True,
    tried_at=NOON,
    reason="отказ",
)


@pytest.mark.parametrize(
    ("mapper", "value"),
    [
        (tables.EVENT, EVENT),
        (tables.DELIVERY, DELIVERY),
        (tables.ATTEMPT, Attempt(number=1, at=NOON, took_ms=5, status=None, outcome="unclear", reason="")),
        (tables.HEALTH, TargetHealth(state="down", reason="x", since=NOON, probes=2)),
        (tables.TOKENS, TokenPair(fingerprint="f", access="a", refresh="r", expires_at=NOON)),
    ],
)
def test_a_value_comes_back_from_the_database(mapper: RowMapper[Any], value: Any) -> None:
    row = mapper.row(value)
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    with sqlalchemy.create_engine("sqlite://").begin() as connection:
        table = mapper.columns[0].table.name
        Statement(f"CREATE TABLE {table} ({names})").run(connection)
        Statement(f"INSERT INTO {table} ({names}) VALUES ({places})").run(connection, **row)  # noqa: S608  names of our own
        [stored] = Statement(f"SELECT {mapper.sql} FROM {table}").rows(connection)  # noqa: S608
    assert mapper.value(stored) == value


def test_lists_and_many_rows_are_bound() -> None:
    with sqlalchemy.create_engine("sqlite://").begin() as connection:
        Statement("CREATE TABLE tokens (target, seed, access, refresh, expires_at)").run(connection)
        rows = [{"target": f"t{n}", "seed": "'", "access": "", "refresh": "", "expires_at": n} for n in range(70)]
        ManyRows.insert(tables.tokens).run(connection, rows)
        ManyRows.insert(tables.tokens).run(connection, [])
        chosen = Statement("SELECT expires_at FROM tokens WHERE target IN :targets AND seed = :seed AND target IN :all")
        everybody = [row["target"] for row in rows]
        assert chosen.rows(connection, targets=["t1", "t69", "other"], all=everybody, seed="'") == [(1,), (69,)]
        assert chosen.rows(connection, targets=[], all=everybody, seed="'") == []
