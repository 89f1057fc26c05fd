"""What alembic runs: `crplugins.sql.migrate` has made the connection and begun the transaction."""

from alembic import context

from crplugins.keys.sql.rows import metadata

context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    target_metadata=metadata,
)
context.run_migrations()
