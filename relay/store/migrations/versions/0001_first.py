"""The first schema: events, deliveries, attempts, targets, refusals, heartbeats."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import SEQ, where

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("kind", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
        sa.Column("edited", sa.LargeBinary),
        sa.Column("is_query", sa.Boolean, nullable=False),
        sa.Column("zone", sa.Text, nullable=False),
        sa.Column("call", sa.Text),
        sa.Column("phones", sa.Text),
        sa.Column("problem", sa.Text),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("digest", sa.BigInteger, nullable=False),
        sa.Column("repeated", sa.Integer, nullable=False),
        sa.Column("repeats", sa.Text, nullable=False),
    )
    op.create_index("events_call", "events", ["source", "session"])
    op.create_index("events_digest", "events", ["digest"])
    op.create_index("events_quarantined", "events", ["seq"], **where("state = 'quarantined'"))
    op.create_index("events_received", "events", ["received_at"])
    op.create_table(
        "heartbeats",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "refusals",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("status", sa.Integer, primary_key=True),
        sa.Column("hour", sa.BigInteger, primary_key=True),
        sa.Column("refused", sa.Integer, nullable=False),
    )
    op.create_table(
        "targets",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text),
        sa.Column("last_error_at", sa.BigInteger),
    )
    op.create_table(
        "deliveries",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("event_seq", SEQ, sa.ForeignKey("events.seq"), nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("ordered", sa.Boolean, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("turn", sa.Boolean, nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("failures", sa.Integer, nullable=False),
        sa.Column("unclear", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("aged_from", sa.BigInteger, nullable=False),
        sa.Column("replayed", sa.Boolean, nullable=False),
        sa.Column("tried_at", sa.BigInteger),
        sa.Column("delivered_at", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("remote", sa.Text),
    )
    op.create_index(
        "deliveries_call",
        "deliveries",
        ["target", "source", "session", "event_seq"],
        **where("state IN ('due', 'sending')"),
    )
    op.create_index("deliveries_dead", "deliveries", ["target", "seq"], **where("state IN ('dead', 'held')"))
    op.create_index("deliveries_delivered", "deliveries", ["target", "delivered_at"], **where("state = 'delivered'"))
    op.create_index(
        "deliveries_due", "deliveries", ["target", "due_at", "event_seq"], **where("state = 'due' AND turn")
    )
    op.create_index("deliveries_event", "deliveries", ["event_seq"])
    op.create_table(
        "attempts",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("delivery_seq", SEQ, sa.ForeignKey("deliveries.seq"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("took_ms", sa.Integer, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
    )
    op.create_index("attempts_delivery", "attempts", ["delivery_seq"])
