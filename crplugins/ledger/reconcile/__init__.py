"""Holds the ledger against what a provider says it was asked: its own usage or costs export.

`export` reads the file, `book` asks the ledger for sums, `names` finds the same model under its other names, and
`compare` says what differs and why. Only `book` needs the `sql` extra.
"""
