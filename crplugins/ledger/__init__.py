"""The ledger: the durable record of what each request used and cost."""
