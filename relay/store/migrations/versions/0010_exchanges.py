"""What was sent and answered in the last attempt of each delivery."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import SEQ

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "exchanges",
        sa.Column("delivery_seq", SEQ, sa.ForeignKey("deliveries.seq"), primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("exchanges", sa.LargeBinary, nullable=False),
    )
