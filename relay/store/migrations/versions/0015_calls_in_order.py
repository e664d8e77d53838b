"""The events of a call are found in their order: PostgreSQL read all of its source's where it had no statistics."""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.drop_index("events_call", "events")
    op.create_index("events_call", "events", ["source", "session", "seq"])
