"""Limits of the workers of one machine, in a SQLite file."""
