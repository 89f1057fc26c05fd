"""A plugin of one's own: no e-mail address leaves, not even one that a stream cuts in two. `uvicorn own_plugin:app`."""

import json
import re
from typing import Any

from crplugins import Event, Exchange, Gateway, Plugin, Slot

EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
UNFINISHED: Slot[dict[int, str]] = Slot("the word each choice is in the middle of")


class RedactEmails(Plugin):
    rewrites_events = True

    async def on_request(self, exchange: Exchange) -> None:
        UNFINISHED.set(exchange, {})

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        words = UNFINISHED.get(exchange)
        if words is None or event.data is None or event.answer is None or not event.answer.choices:
            return event
        answer = json.loads(event.data)
        for choice in answer["choices"]:
            self.redact(words, choice, whole=event.document or choice.get("finish_reason") is not None)
        return event.with_data(json.dumps(answer, ensure_ascii=False).encode())

    def redact(self, words: dict[int, str], choice: dict[str, Any], *, whole: bool) -> None:
        part = choice["message" if "message" in choice else "delta"]
        text = words.pop(choice["index"], "") + (part.get("content") or "")
        if not whole:  # the last word may go on in the next event
            start = len(text) - len(re.split(r"\s", text)[-1])
            text, words[choice["index"]] = text[:start], text[start:]
        if text or part.get("content"):
            part["content"] = EMAIL.sub("[e-mail]", text)


app = Gateway(keys=[{"id": "demo", "secret": "sk-demo-change-me"}], plugins=[RedactEmails])
