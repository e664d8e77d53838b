"""Fills a database with delivered events, as a relay that has run for months has them."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path

from bench import bodies

_HOURS = 30 * 24  # the default of keep_delivered


def with_delivered(database: Path, count: int) -> None:
    """So many events, each delivered to `onec` at the first attempt, spread over thirty days up to now."""
    now = int(time.time() * 1e6)
    step = _HOURS * 3600 * 1_000_000 // count
    shared = {"count": count, "raw": bodies.body(0), "call": _call(), "from": now - step * count, "step": step}
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count) "
    with contextlib.closing(sqlite3.connect(database)) as connection:
        columns = [row[1] for row in connection.execute("PRAGMA table_info(events)")]
        assert "digest" in columns
        connection.execute(
            "INSERT INTO events (seq, id, source, endpoint, kind, state, session, received_at, raw, is_query, zone, "
            f"call, phones, notes, digest, repeated, repeats) {numbers}"
            "SELECT i, printf('e-%d', i), 'trade', 'rec', 'finished', 'accepted', printf('%d', i / 3), "
            ":from + i * :step, :raw, 0, 'Europe/Moscow', :call, '74955550100 79005550123', '[]', random(), 0, '[]' "
            "FROM n",
            shared,
        )
        connection.execute(
            "INSERT INTO deliveries (seq, id, event_seq, event, target, kind, source, session, ordered, state, turn, "
            "epoch, attempts, failures, unclear, due_at, aged_from, replayed, tried_at, delivered_at) "
            "SELECT seq, printf('d-%d', seq), seq, id, 'onec', kind, source, session, 1, 'delivered', 1, 1, 1, 0, 0, "
            "received_at, received_at, 0, received_at, received_at FROM events"
        )
        connection.execute(
            "INSERT INTO attempts (delivery_seq, number, at, took_ms, status, outcome, reason) "
            "SELECT seq, 1, delivered_at, 3, 200, 'delivered', '' FROM deliveries"
        )
        connection.commit()


def _call() -> str:
    return (
        '{"kind":"finished","session_id":"1","direction":"in","started_at":"2026-03-02T09:00:01.123000Z",'
        '"finished_at":"2026-03-02T09:01:04.456000Z","virtual_number":"+74955550100","caller":"+79005550123",'
        '"callee":"+74955550100","client_number":"+79005550123","employee_number":"+74955550101","extension":"101",'
        '"employee_ids":[101],"contact_id":500001,"total_seconds":63,"wait_seconds":12,"talk_seconds":51,'
        '"finish_reason":"operator_disconnects","is_lost":false,"record_link":"https://media.example.test/1/abcdef"}'
    )
