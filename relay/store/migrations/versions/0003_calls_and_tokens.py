"""What has been done for each call at targets that take several steps, and the rotating tokens of OAuth."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "call_links",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("session", sa.Text, primary_key=True),
        sa.Column("done", sa.Text, nullable=False),
    )
    op.create_table(
        "tokens",
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("seed", sa.Text, nullable=False),
        sa.Column("access", sa.Text, nullable=False),
        sa.Column("refresh", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
