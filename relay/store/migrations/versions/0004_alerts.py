"""What people have been told of troubles."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "alerts",
        sa.Column("channel", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("what", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("over_at", sa.BigInteger),
        sa.Column("back_at", sa.BigInteger),
        sa.Column("is_unsaid", sa.Boolean, nullable=False),
    )
