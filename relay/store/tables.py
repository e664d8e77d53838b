"""The tables. Times are integer microseconds UTC; ids are for people, `seq` is the order.

What each column means to the outside stands in `relay/models.py`; where a field has another name there, it is the
column's `key`.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, text

from relay import models
from relay.models import Attempt, Click, Delivery, Event, TargetHealth, TokenPair
from relay.store.statement import RowMapper

VERSION = "0015"
"""The newest migration: what this program expects of a database."""

metadata = MetaData()


def _in_state(table: str, *states: str) -> str:
    literals = ", ".join(f"'{state}'" for state in states)
    return f"{table}.state IN ({literals})"


# Conditions of the partial indexes. SQLite takes such an index only where a query says the same.
QUARANTINED = "events.state = 'quarantined'"
REPORTED = "events.origin = 'report'"
OPEN_TASK = "task_of IS NOT NULL"
DUE = "deliveries.state = 'due' AND deliveries.turn"
DELIVERED = "deliveries.state = 'delivered'"
UNFINISHED = _in_state("deliveries", *models.UNFINISHED)
DEAD = _in_state("deliveries", *models.DEAD_LETTERS)

IS_END = """(
  kind = 'finished' OR kind = 'lost' AND NOT EXISTS (
    SELECT 1 FROM events AS other
    WHERE other.source = events.source AND other.session = events.session AND other.kind = 'answered'
  )
)"""
"""Condition of an event that ends its call: a client who hangs up after an answer does not, as in `CallHistory`."""

IN_LANE = "deliveries.target = :target AND deliveries.slot % :count = :number"
"""Condition of what one lane delivers: its values are a Shard's."""


def _where(condition: str) -> dict[str, Any]:
    """Say it for SQLite: PostgreSQL has it from the migrations, and loading its dialect here costs every start."""
    return {"sqlite_where": text(condition.replace("events.", "").replace("deliveries.", ""))}


SEQ = BigInteger().with_variant(Integer, "sqlite")  # only INTEGER is SQLite's own row number

events = Table(
    "events",
    metadata,
    Column("seq", SEQ, primary_key=True, autoincrement=False),  # given inside the commit
    Column("id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("kind", Text),
    Column("state", Text, nullable=False),
    Column("session", Text),
    Column("received_at", BigInteger, nullable=False),
    Column("raw", LargeBinary, nullable=False),  # secrets masked
    Column("edited", LargeBinary),
    Column("is_query", Boolean, key="is_query_string", nullable=False),
    Column("zone", Text, nullable=False),
    Column("call", Text),  # CallEvent as JSON
    Column("phones", Text),  # digits of all numbers, for the search
    Column("problem", Text),
    Column("notes", Text, nullable=False),  # JSON list; of a readable event they stand in `call` too
    Column("digest", BigInteger, nullable=False),  # of source, endpoint and body: finds what may be a repeat
    Column("repeated", Integer, key="duplicate_count", nullable=False),
    Column("repeats", Text, key="duplicate_times", nullable=False),  # JSON list of times, the latest of them
    Column("origin", Text),
    Column("began_at", BigInteger),  # its call, as UIS says; none: not said, or it cannot be
    Index("events_digest", "digest"),
    Index("events_call", "source", "session", "seq"),
    Index("events_source", "source", "received_at"),
    Index("events_began", text("coalesce(began_at, received_at)"), "seq"),
    Index("events_quarantined", "seq", **_where(QUARANTINED)),
    Index("events_reported", "source", "received_at", **_where(REPORTED)),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("seq", SEQ, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("event_seq", SEQ, ForeignKey("events.seq"), nullable=False),
    Column("event", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("session", Text),
    Column("ordered", Boolean, nullable=False),  # does it keep its place within the call?
    Column("state", Text, nullable=False),
    Column("slot", Integer, nullable=False, server_default="0"),  # of its call: which shard it belongs to
    Column("turn", Boolean, nullable=False),  # of its call, is it the one that may go next?
    Column("epoch", Integer, nullable=False),  # of the owner that has it in `sending`
    Column("attempts", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("unclear", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("aged_from", BigInteger, key="age_started_at", nullable=False),
    Column("replayed", Boolean, nullable=False),
    Column("tried_at", BigInteger),
    Column("delivered_at", BigInteger),
    Column("reason", Text),
    Column("remote", Text, key="remote_id"),
    Index("deliveries_event", "event_seq"),
    Index("deliveries_due", "target", "due_at", "event_seq", **_where(DUE)),
    Index("deliveries_call", "target", "source", "session", "event_seq", **_where(UNFINISHED)),
    Index("deliveries_dead", "target", "seq", **_where(DEAD)),
    Index("deliveries_delivered", "target", "delivered_at", **_where(DELIVERED)),
)

attempts = Table(
    "attempts",
    metadata,
    Column("seq", SEQ, primary_key=True, autoincrement=True),
    Column("delivery_seq", SEQ, ForeignKey("deliveries.seq"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("took_ms", Integer, nullable=False),
    Column("status", Integer),
    Column("outcome", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("exchanges", LargeBinary),  # JSON without secrets; a table of its own cost a statement more a delivery
    Index("attempts_delivery", "delivery_seq"),
    Index("attempts_failed", "at", **_where("outcome <> 'delivered'")),
)

targets = Table(
    "targets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("epoch", Integer, nullable=False),  # the last one that was given to a lease of it
    Column("last_error", Text),
    Column("last_error_at", BigInteger),
    Column("since", BigInteger),
    Column("probes", Integer, nullable=False, server_default="0"),
    Column("probe_at", BigInteger),
    Column("asked_until", BigInteger, key="retry_not_before"),
    Column("forbidden_since", BigInteger),
    Column("paused_at", BigInteger),  # by the operator
    Column("pause_ends_at", BigInteger),  # it is being resumed, or was when the process was killed
    Column("pause_counted_to", BigInteger, nullable=False, server_default="0"),  # seq of the last delivery made younger
    Column("resumes", Integer, nullable=False, server_default="0"),  # counts `resume`: it asks for a probe at once
)

leases = Table(
    "leases",
    metadata,
    Column("target", Text, primary_key=True),
    Column("shard", Integer, primary_key=True),
    Column("shards", Integer, primary_key=True),  # into which its owner splits the target
    Column("owner", Text),  # unique for each start of a process; none when it was let go
    Column("epoch", Integer, nullable=False),
    Column("renewals", Integer, nullable=False),  # moves while the owner lives
    Column("clock_stepped_to", BigInteger),  # by the last step of the wall clock that the lane has followed
)

call_links = Table(
    "call_links",
    metadata,
    Column("target", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("session", Text, primary_key=True),  # of a call; an event without one stands under its own id
    Column("done", Text, nullable=False),  # JSON: what an adapter has done for the call, in its own words
    Column("task_of", Text),  # digits of the client whom an open task in the CRM is about
    Index("call_links_open_tasks", "target", "source", "task_of", **_where(OPEN_TASK)),
)

tokens = Table(
    "tokens",
    metadata,
    Column("target", Text, primary_key=True),
    Column("seed", Text, key="fingerprint", nullable=False),  # of the configured token that the pair began with
    Column("access", Text, nullable=False),
    Column("refresh", Text, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
)

alerts = Table(
    "alerts",
    metadata,
    Column("channel", Text, primary_key=True),  # whose people were told
    Column("key", Text, primary_key=True),  # of a trouble
    Column("what", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("since", BigInteger),
    Column("count", Integer, nullable=False),
    Column("over_at", BigInteger),
    Column("back_at", BigInteger),
    Column("is_unsaid", Boolean, nullable=False),
)

admin_sessions = Table(
    "admin_sessions",
    metadata,
    Column("digest", Text, primary_key=True),  # of the cookie's number, keyed with the password
    Column("ends_at", BigInteger, nullable=False),
)

refusals = Table(
    "refusals",
    metadata,
    Column("source", Text, primary_key=True),
    Column("status", Integer, primary_key=True),
    Column("hour", BigInteger, primary_key=True),  # microseconds at its beginning
    Column("refused", Integer, nullable=False),
)

reports = Table(
    "reports",
    metadata,
    Column("source", Text, primary_key=True),
    Column("began_at", BigInteger, nullable=False),  # what came before was never the relay's
    Column("checked_to", BigInteger, nullable=False),
    Column("ran_at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
)

clicks = Table(
    "clicks",
    metadata,
    Column("seq", SEQ, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("external_id", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("phone", Text, nullable=False),
    Column("employee", Text, nullable=False),
    Column("target", Text),
    Column("state", Text, nullable=False),
    Column("session", Text),
    Column("error", Text),
    Column("reason", Text),
    Index("clicks_external_id", "source", "external_id", unique=True),
    Index("clicks_at", "at"),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", Text, primary_key=True),
    Column("at", BigInteger, nullable=False),
)

EVENT = RowMapper(Event, events)
DELIVERY = RowMapper(Delivery, deliveries)
ATTEMPT = RowMapper(Attempt, attempts)
CLICK = RowMapper(Click, clicks)
HEALTH = RowMapper(TargetHealth, targets)
TOKENS = RowMapper(TokenPair, tokens)
