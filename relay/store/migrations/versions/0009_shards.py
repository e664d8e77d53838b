"""Leases in a table of their own: a target may be split over several processes, by call."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("deliveries", sa.Column("slot", sa.Integer, nullable=False, server_default="0"))
    op.create_table(
        "leases",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("shard", sa.Integer, primary_key=True),
        sa.Column("shards", sa.Integer, primary_key=True),
        sa.Column("owner", sa.Text),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("renewals", sa.Integer, nullable=False),
        sa.Column("clock_stepped_to", sa.BigInteger),
    )
    op.execute(
        """
        INSERT INTO leases (target, shard, shards, owner, epoch, renewals, clock_stepped_to)
        SELECT name, 0, 1, owner, epoch, renewals, clock_stepped_to FROM targets
        """
    )
    for column in ("owner", "renewals", "clock_stepped_to"):
        op.drop_column("targets", column)
