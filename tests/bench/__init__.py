"""Benchmarks: `python -m tests.bench`. Ratios against a control in the same run; nothing here judges by wall time."""
