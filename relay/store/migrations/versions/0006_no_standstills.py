"""Pauses and steps of the clock move what waits, once, instead of being remembered and counted at each look."""

import time
from itertools import groupby

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_STAND_STILL = sa.text(
    """
    UPDATE deliveries SET aged_from = :ended - max(:began - aged_from, 0)
    WHERE target = :target AND state IN ('due', 'sending') AND aged_from < :ended
    """
)


def upgrade() -> None:
    op.add_column("targets", sa.Column("clock_stepped_to", sa.BigInteger))
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":  # others begin with this version
        _follow_standstills(connection)
    op.drop_table("standstills")


def _follow_standstills(connection: sa.Connection) -> None:
    ended = connection.execute(
        sa.text(
            """
            SELECT target, began_at, min(ended_at, coalesce(paused_at, :now), :now)
            FROM standstills LEFT JOIN targets ON name = target
            WHERE ended_at IS NOT NULL ORDER BY target, began_at
            """  # a pause that goes on counts from `paused_at`, when it ends
        ),
        {"now": int(time.time() * 1_000_000)},
    ).all()
    for target, spans in groupby(ended, key=lambda row: row[0]):
        past = 0  # where spans overlap, time stood still once
        for _, began_at, ended_at in spans:
            began = max(began_at, past)
            if ended_at > began:
                connection.execute(_STAND_STILL, {"target": target, "began": began, "ended": ended_at})
                past = ended_at
