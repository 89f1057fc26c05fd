"""OutputCeiling: how long an answer may be, by a tag of the caller's key."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from crplugins import Event, Exchange, GatewayError, Plugin, Slot

FIELDS = ("max_completion_tokens", "max_tokens")


@dataclass
class Lowered:
    """A request that may say no more than `ceiling` tokens, which is less than its client asked for."""

    ceiling: int
    speaking: set[int] = field(default_factory=set)  # choices that have said some text


LOWERED: Slot[Lowered] = Slot("the ceiling of a request that was lowered")


class OutputCeiling(Plugin):
    """Bounds the output tokens of each choice. A request without a bound gets the ceiling as its bound.

    Stands inside Auth, which knows the key, and outside RateLimits, which reserve by the bound: `after: RequestGuard`.

    Args:
        tag: the tag of a key that `ceilings` goes by.
        ceilings: output tokens by that tag's value.
        default: for every other key; None bounds nothing.
        above: what becomes of a request that asks for more: lower it, or refuse it with 400.
        note: put after an answer that a lowered bound has cut, such as ` [cut at {ceiling} tokens]`.
    """

    reads_body = True
    rewrites_events = True

    def __init__(
        self,
        *,
        ceilings: Mapping[str, int],
        tag: str = "tier",
        default: int | None = None,
        above: Literal["lower", "refuse"] = "lower",
        note: str | None = None,
    ) -> None:
        if min([*ceilings.values(), default or 1]) < 1:
            raise ValueError("ceilings must be 1 or more")
        self._ceilings, self._tag, self._default = dict(ceilings), tag, default
        self._refuses, self._note = above == "refuse", note
        self.rewrites_events = note is not None

    async def on_request(self, exchange: Exchange) -> None:
        ceiling = self._ceiling(exchange)
        if ceiling is None or exchange.body is None:
            return
        asked = {name: exchange.body.get(name, int) for name in FIELDS if exchange.body.get(name) is not None}
        above = [name for name, tokens in asked.items() if tokens is not None and tokens > ceiling]
        if above and self._refuses:
            raise GatewayError(
                400,
                f"{above[0]} is too large: {asked[above[0]]}. Your key allows at most {ceiling} output tokens.",
                param=above[0],
                code="invalid_value",
            )
        lowered = above if asked else [FIELDS[0]]
        for name in lowered:
            exchange.body.set(name, ceiling)
        if lowered:
            LOWERED.set(exchange, Lowered(ceiling))

    def on_response(self, exchange: Exchange) -> None:
        lowered = LOWERED.get(exchange)
        if lowered is not None:
            exchange.set_response_header("x-output-ceiling", str(lowered.ceiling))

    def on_event(self, exchange: Exchange, event: Event) -> Event:
        lowered = LOWERED.get(exchange)
        if lowered is None or self._note is None or event.answer is None or event.data is None:
            return event
        cut = False
        for choice in event.answer.choices or ():
            said = choice.message if event.document else choice.delta
            if said is not None and isinstance(said.content, str) and said.content:
                lowered.speaking.add(choice.index)
            cut |= choice.finish_reason == "length" and choice.index in lowered.speaking
        return self._with_note(event, event.data, lowered) if cut else event

    def _with_note(self, event: Event, data: bytes, lowered: Lowered) -> Event:
        answer: dict[str, Any] = json.loads(data)
        note = (self._note or "").replace("{ceiling}", str(lowered.ceiling))
        for choice in answer["choices"]:
            if choice.get("finish_reason") == "length" and choice.get("index", 0) in lowered.speaking:
                said = choice["message" if event.document else "delta"]
                said["content"] = (said.get("content") or "") + note
        return event.with_data(json.dumps(answer).encode())

    def _ceiling(self, exchange: Exchange) -> int | None:
        tags = exchange.principal.tags if exchange.principal is not None else {}
        return self._ceilings.get(tags.get(self._tag, ""), self._default)
