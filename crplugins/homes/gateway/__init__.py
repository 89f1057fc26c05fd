"""The gateway: the plugins around the handlers, as one ASGI app."""

from crplugins.homes.gateway.app import Gateway, create_app

__all__ = ["Gateway", "create_app"]
