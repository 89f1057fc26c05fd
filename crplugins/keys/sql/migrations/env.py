"""What alembic runs: the connection comes from `crplugins.keys.sql.migrate`, which has begun the transaction."""

from alembic import context

from crplugins.keys.sql.schema import metadata

# A table of its own: the database may hold other people's schemas, alembic's too.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table="api_key_schema",
)
context.run_migrations()
