"""Plugins: one policy per file or folder. They see the Exchange and its events, never ASGI."""
