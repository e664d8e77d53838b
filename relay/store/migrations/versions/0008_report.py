"""Calls that UIS's report brought, and how far it has been read."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import where

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("events", sa.Column("origin", sa.Text))
    op.create_index("events_reported", "events", ["source", "received_at"], **where("origin = 'report'"))
    op.create_table(
        "reports",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("checked_to", sa.BigInteger, nullable=False),
        sa.Column("ran_at", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
    )
