"""Limits of several machines, in Redis."""
