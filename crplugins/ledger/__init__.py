"""Ledger: what each request took and cost, kept."""
