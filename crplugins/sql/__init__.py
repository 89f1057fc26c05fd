"""SQL databases: URLs, engines and migrations, for whatever keeps something in one.

Needs the extra `sql`, and `postgres` for PostgreSQL. Nothing of ours is imported here.
"""
