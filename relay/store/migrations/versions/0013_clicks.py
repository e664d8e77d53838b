"""Calls that somebody asked for by a click."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import SEQ

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "clicks",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("external_id", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("employee", sa.Text, nullable=False),
        sa.Column("target", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("session", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("reason", sa.Text),
    )
    op.create_index("clicks_external_id", "clicks", ["source", "external_id"], unique=True)
    op.create_index("clicks_at", "clicks", ["at"])
