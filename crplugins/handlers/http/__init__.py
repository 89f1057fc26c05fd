"""The HTTP client of the handlers: HTTP/1.1 of our own, and aiohttp where there is a proxy."""
