"""A provider whose models misbehave call by call, and that writes down what each call was worth.

The first deployment of a name says A01, A02 ..., the second B01, B02 ...: whoever reads an answer sees whose word is
where. A model that is given the beginning of an answer goes on behind it: after A01 A02 comes B03.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from crplugins.testing import FakeProvider, ReceivedRequest, Script, error_body
from crplugins.testing.refusal import ModelRefusal
from crplugins.testing.reply import ProviderReply, refused

WORDS: Final = 30

_NO_PREFILL: Final = ModelRefusal(
    400, error_body("The conversation must end with a user message: prefilled answers are not supported here.")
)


def words(letter: str, first: int = 1, last: int = WORDS) -> str:
    """Each is a token of the fake model: ` A02`."""
    return "".join(f"{' ' if number > 1 else ''}{letter}{number:02}" for number in range(first, last + 1))


@dataclass(frozen=True)
class Conduct:
    """What a model does: one script for each call, the last one for all further calls.

    Attributes:
        letter: of the words it says where a script says nothing else.
        takes_prefix: it goes on where the last message is the beginning of its answer; else it refuses such a request.
    """

    letter: str
    scripts: Sequence[Script] = (Script(),)
    takes_prefix: bool = True


class Wall(FakeProvider):
    """`conducts` by the model's name, `arrived` the moments of requests by their numbers. A marker is a `user`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(keep_requests=100_000, **options)
        self.conducts: dict[str, Conduct] = {}
        self.arrived: dict[int, float] = {}
        self._calls: Counter[str] = Counter()

    def _answer(self, request: ReceivedRequest) -> tuple[Script, ProviderReply]:
        self.arrived[request.number] = time.monotonic()
        conduct = self.conducts.get(request.model or "")
        if conduct is None or not isinstance(request.json, dict):
            return super()._answer(request)
        call = self._calls[request.model or ""]
        self._calls[request.model or ""] += 1
        script = conduct.scripts[min(call, len(conduct.scripts) - 1)]
        begun = beginning_in(request.json)
        if begun is not None and not conduct.takes_prefix:
            return Script(), refused(_NO_PREFILL)
        if script.text is None and not request.json.get("tools"):
            script = replace(script, text=words(conduct.letter, 1 + len((begun or "").split())))
        self._repertoire.by_model[request.model or ""] = script
        return super()._answer(request)

    def calls(self, marker: str) -> list[ReceivedRequest]:
        """The calls for one request of a client, oldest first."""
        return [one for one in self.requests if isinstance(one.json, dict) and one.json.get("user") == marker]


def beginning_in(request: dict[str, Any]) -> str | None:
    """What a request gives its model as the beginning of the answer."""
    last = (request.get("messages") or [{}])[-1]
    if last.get("role") != "assistant":
        return None
    content = last.get("content")
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or ())
