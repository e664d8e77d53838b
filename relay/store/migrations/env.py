"""Alembic's entry: runs the numbered migrations in one transaction on the connection it is given."""

from alembic import context

from relay.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection, target_metadata=metadata, transactional_ddl=True, transaction_per_migration=False
)
with context.begin_transaction():
    context.run_migrations()
