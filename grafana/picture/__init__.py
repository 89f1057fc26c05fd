"""The pictures of the README: this repository's dashboards, drawn by Grafana's UI library."""
