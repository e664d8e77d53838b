"""Calls are found by when they began."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("events", sa.Column("began_at", sa.BigInteger))
    op.create_index("events_began", "events", [sa.text("coalesce(began_at, received_at)"), "seq"])
