"""PiiRedactor: what identifies a person reaches neither the provider nor the client, wherever a stream cuts it."""

import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Literal

from crplugins import Body, Event, Exchange, HoldBack, Plugin

Kind = Literal["email", "card", "iban", "phone"]
KINDS: Sequence[Kind] = ("email", "card", "iban", "phone")

PATTERNS: dict[Kind, re.Pattern[str]] = {
    "email": re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"),
    "card": re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"),
    "phone": re.compile(r"(?<![\w+])\+\d(?:[ ().-]{0,2}\d){7,14}(?!\d)"),
}

_OPEN = re.compile(r"(?:[A-Z]{2}\d{2} )?(?:[A-Z0-9+().-]{1,24} ){0,9}\S{0,320}\Z")
"""The end of a text that may go on as something of these kinds: the last word, and the groups of digits before it."""

_LONGEST_OPEN = 600


class PiiRedactor(Plugin):
    """Puts `[email]`, `[card]`, `[iban]` and `[phone]` in the place of what looks like one.

    In prompts before they are sent on, and in answers before anybody sees them. Tool calls, thoughts and images pass as
    they are. Card numbers and accounts count if their check digits are right. It is a filter and no guarantee: names
    and addresses have no pattern.

    Args:
        kinds: what is looked for.
        prompts: whether in the messages of a request.
        answers: whether in the text of an answer.
    """

    reads_body = True
    rewrites_events = True

    def __init__(self, *, kinds: Sequence[Kind] = KINDS, prompts: bool = True, answers: bool = True) -> None:
        self._patterns = [(kind, PATTERNS[kind]) for kind in dict.fromkeys(kinds)]
        self._prompts = prompts
        self.rewrites_events = answers
        self._text = HoldBack(self._settled)

    def on_request(self, exchange: Exchange) -> None:
        if self._prompts and exchange.body is not None:
            self._redact_prompt(exchange.body)

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        return self._text.event(exchange, event)

    def on_end(self, exchange: Exchange) -> Iterable[Event]:
        return self._text.rest(exchange)

    def on_cut(self, exchange: Exchange) -> Iterable[Event]:
        return self._text.rest(exchange)

    def redacted(self, text: str) -> str:
        for kind, pattern in self._patterns:
            text = pattern.sub(partial(_shown, kind), text)
        return text

    def _settled(self, text: str, *, last: bool) -> tuple[str, str]:
        if last:
            return self.redacted(text), ""
        begin = max(0, len(text) - _LONGEST_OPEN)
        found = _OPEN.search(text, begin)
        start = len(text) if found is None else found.start()
        return self.redacted(text[:start]), text[start:]

    def _redact_prompt(self, body: Body) -> None:
        messages = body.get("messages", list)
        if messages is None:
            return
        redacted = [self._message(message) for message in messages]
        if redacted != messages:
            body.set("messages", redacted)

    def _message(self, message: Any) -> Any:
        if not isinstance(message, dict):
            return message
        content = message.get("content")
        if isinstance(content, str):
            return {**message, "content": self.redacted(content)}
        if isinstance(content, list):
            return {**message, "content": [self._part(part) for part in content]}
        return message

    def _part(self, part: Any) -> Any:
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            return {**part, "text": self.redacted(part["text"])}
        return part


def _shown(kind: Kind, match: re.Match[str]) -> str:
    """What stands in the place of what was found; that itself, if its check digits say that it only looks like one."""
    found = match[0]
    if (kind == "card" and not _is_card(found)) or (kind == "iban" and not _is_iban(found)):
        return found
    return f"[{kind}]"


def _is_card(text: str) -> bool:
    """Luhn's algorithm (ISO/IEC 7812-1)."""
    digits = [int(character) for character in text if character.isdigit()][::-1]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[1::2]]
    return (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _is_iban(text: str) -> bool:
    """The check digits of ISO 13616: 97 divides all but one."""
    account = text.replace(" ", "")
    return int("".join(str(int(character, 36)) for character in account[4:] + account[:4])) % 97 == 1
