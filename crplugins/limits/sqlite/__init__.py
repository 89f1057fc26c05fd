"""SqliteStore: limits shared by the workers of one machine, in a SQLite file."""
