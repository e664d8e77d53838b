"""How far the end of a pause has been counted: ages move some at a time, and a kill leaves some."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("targets", sa.Column("pause_ends_at", sa.BigInteger))
    op.add_column("targets", sa.Column("pause_counted_to", sa.BigInteger, nullable=False, server_default="0"))
