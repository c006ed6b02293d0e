"""Alembic's entry: it runs on the connection handed over by `records.migrate`, never on one of its own."""

from __future__ import annotations

from alembic import context

from syncbridge.records.schema import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite cannot alter a column in place: the table is written anew, in the same transaction.
    render_as_batch=connection.dialect.name == "sqlite",
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
