"""The gateway: the plugins around the handlers, as one ASGI app."""
