"""The page at `/` of the gateway, for people with a browser."""
