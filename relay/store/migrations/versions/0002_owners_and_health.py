"""Who works a lane, how its target is, and the time that does not count for a delivery's age."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import SEQ

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for column in (
        sa.Column("owner", sa.Text),
        sa.Column("renewals", sa.Integer, nullable=False, server_default="0"),
        sa.Column("since", sa.BigInteger),
        sa.Column("probes", sa.Integer, nullable=False, server_default="0"),
        sa.Column("probe_at", sa.BigInteger),
        sa.Column("asked_until", sa.BigInteger),
        sa.Column("forbidden_since", sa.BigInteger),
        sa.Column("paused_at", sa.BigInteger),
        sa.Column("resumes", sa.Integer, nullable=False, server_default="0"),
    ):
        op.add_column("targets", column)
    op.create_table(
        "standstills",
        sa.Column("seq", SEQ, primary_key=True, autoincrement=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
    )
    op.create_index("standstills_target", "standstills", ["target"])
    op.drop_index("events_received", "events")
    op.create_index("events_source", "events", ["source", "received_at"])
