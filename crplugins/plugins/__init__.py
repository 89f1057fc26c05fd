"""One policy per file. Plugins see the Exchange and its events, never ASGI."""
