"""A plugin of one's own: no e-mail address leaves, not even one that a stream cuts in two. `uvicorn own_plugin:app`."""

import re
from collections.abc import Iterable

from crplugins import Event, Exchange, Gateway, HoldBack, Plugin

EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")


class RedactEmails(Plugin):
    rewrites_events = True

    def __init__(self) -> None:
        self._text = HoldBack(self._settle)

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        return self._text.event(exchange, event)

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        return self._text.rest(exchange)

    def on_cut(self, exchange: Exchange) -> Iterable[Event]:
        return self._text.rest(exchange)

    def _settle(self, text: str, *, last: bool) -> tuple[str, str]:
        start = len(text) if last else len(text) - len(re.split(r"\s", text)[-1])  # the last word may go on
        return EMAIL.sub("[e-mail]", text[:start]), text[start:]


app = Gateway(keys=[{"id": "demo", "secret": "sk-demo-change-me"}], plugins=[RedactEmails])
