"""Budgets: what a key or a team may spend in a period."""
