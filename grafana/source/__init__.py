"""Dashboards, rules and alerts as code: `python -m grafana.source` writes the files beside this folder."""
