"""SQL databases: URLs, engines and migrations.

Needs the extra `sql`, and `postgres` for PostgreSQL.
"""
