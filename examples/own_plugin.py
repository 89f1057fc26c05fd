"""A plugin of one's own: no e-mail address leaves, not even one that a stream cuts in two. `uvicorn own_plugin:app`."""

import json
import re

from crplugins import Event, Exchange, Gateway, Plugin, Slot

EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
HELD: Slot[dict[int, str]] = Slot("unfinished words, by choice")


class RedactEmails(Plugin):
    rewrites_events = True

    async def on_request(self, exchange: Exchange) -> None:
        HELD.set(exchange, {})

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        if event.answer is None or not event.answer.choices:
            return event
        answer = json.loads(event.data or b"{}")
        for choice in answer["choices"]:
            self._redact(HELD.get(exchange) or {}, choice, whole=event.document or bool(choice.get("finish_reason")))
        return event.with_data(json.dumps(answer, ensure_ascii=False).encode())

    def _redact(self, held: dict[int, str], choice: dict, *, whole: bool) -> None:
        part = choice.get("message") or choice.get("delta") or {}
        text = held.pop(choice["index"], "") + (part.get("content") or "")
        if not whole:  # the last word may go on in the next event
            start = len(text) - len(re.split(r"\s", text)[-1])
            text, held[choice["index"]] = text[:start], text[start:]
        if text:
            choice.setdefault("message" if "message" in choice else "delta", part)["content"] = EMAIL.sub("[e-mail]", text)


app = Gateway(keys=[{"id": "demo", "secret": "sk-demo-change-me"}], plugins=[RedactEmails])
