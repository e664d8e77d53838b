"""Open tasks for missed calls are found by the client."""

import sqlalchemy as sa
from alembic import op

from relay.store.migrations.portable import where

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("call_links", sa.Column("task_of", sa.Text))
    op.create_index(
        "call_links_open_tasks", "call_links", ["target", "source", "task_of"], **where("task_of IS NOT NULL")
    )
