"""Where plugins meet ASGI: the only rooms that know scope, receive and send."""
