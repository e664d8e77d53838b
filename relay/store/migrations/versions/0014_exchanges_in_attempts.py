"""What was sent and answered stands in the attempt's own row: a row less for each delivery."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import where

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("attempts", sa.Column("exchanges", sa.LargeBinary))
    op.execute(
        """
        UPDATE attempts SET exchanges = (
            SELECT e.exchanges FROM exchanges e WHERE e.delivery_seq = attempts.delivery_seq AND e.at = attempts.at
        )
        WHERE delivery_seq IN (SELECT e.delivery_seq FROM exchanges e)
        """
    )
    op.drop_table("exchanges")
    op.create_index("attempts_failed", "attempts", ["at"], **where("outcome <> 'delivered'"))
