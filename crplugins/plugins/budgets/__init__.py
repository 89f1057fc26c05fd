"""Budgets: the money that a key or a team may spend in a period."""
