"""Timings: when what happened to a request."""

import msgspec


class Timings(msgspec.Struct, eq=False):
    """Moments in seconds of one monotonic clock; None while not reached.

    `asked` is when it asked the first of its limits, `app` when the plugins were through and the app was called,
    `response` when it answered with a status. A token is any piece of the answer that says something: neither the role
    alone nor a comment. `queued` is for how many seconds the request has waited for limits.
    """

    started: float
    asked: float | None = None
    app: float | None = None
    response: float | None = None
    first_token: float | None = None
    last_token: float | None = None
    longest_gap: float = 0.0
    ended: float | None = None
    queued: float = 0.0

    def token(self, now: float) -> None:
        """A piece of the answer came."""
        if self.last_token is None:
            self.first_token = now
        elif now - self.last_token > self.longest_gap:
            self.longest_gap = now - self.last_token
        self.last_token = now
