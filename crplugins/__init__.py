"""Composable ASGI middleware and hooks for an OpenAI-compatible chat completions gateway."""

__version__ = "0.1.0"
