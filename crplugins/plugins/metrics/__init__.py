"""Metrics: Prometheus counters of requests, tokens, cost and time."""
