"""Alembic's entry point, with the connection and the open transaction of `crplugins.sql.migrate`."""

from alembic import context

from crplugins.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    target_metadata=metadata,
)
context.run_migrations()
