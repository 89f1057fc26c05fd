"""The demo models, which need no provider and no network. DemoHandler is `demo/echo`, which needs no litellm either.

It repeats the user's message, a word at a time, with true token counts, so that a gateway can be tried before there is
a key of any provider, in every protocol that clients speak.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT
from crplugins.core.exchange import Attempt, Exchange, Reply
from crplugins.core.lenient_json import encoded
from crplugins.core.request_json import MOST_CHOICES
from crplugins.handlers.demo_models import PROVIDER
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Unopened, document_reply, passed_reply, stream_reply
from crplugins.handlers.litellm.answer import answer_document
from crplugins.handlers.litellm.repair import StreamRepair
from crplugins.handlers.litellm.request import messages_of
from crplugins.handlers.litellm.usage import as_usage

GREETING: Final = "You said: "
NOTHING_SAID: Final = "Hello! Say something and I will say it back."
WORD_SECONDS: Final = 0.02

_READ: Final = ("stop", "max_tokens", "max_completion_tokens")

_TOKEN: Final = re.compile(r"\s*+\S{1,6}|\s++")  # the second: else a search would begin anew at each space


@dataclass(frozen=True, slots=True)
class Echo:
    """What the model answers to one request. A token is at most six characters of a word and the space before it."""

    pieces: Sequence[str]
    finish_reason: str
    prompt_tokens: int
    choices: int = 1

    @property
    def usage(self) -> dict[str, int]:
        completion = len(self.pieces) * self.choices
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }

    def whole(self) -> dict[str, Any]:
        """The answer as `answer_document` reads it."""
        choice = {"message": {"content": "".join(self.pieces)}, "finish_reason": self.finish_reason}
        return {"choices": [choice] * self.choices, "usage": self.usage}

    def chunks(self) -> Iterator[dict[str, Any]]:
        """The answer as `StreamRepair` reads it, a token at a time."""
        for piece in self.pieces:
            yield self._chunk({"delta": {"content": piece}})
        yield self._chunk({"delta": {}, "finish_reason": self.finish_reason}) | {"usage": self.usage}

    def _chunk(self, choice: Mapping[str, Any]) -> dict[str, Any]:
        return {"choices": [{"index": index, **choice} for index in range(self.choices)]}


def echo(messages: Sequence[Mapping[str, Any]], parameters: Mapping[str, Any], choices: int = 1) -> Echo:
    """The answer to `messages`, cut by `max_tokens` (or `max_completion_tokens`) and at a `stop` sequence."""
    said = next((_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")
    answer = GREETING + said if said.strip() else NOTHING_SAID
    stops = parameters.get("stop") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        answer = answer.partition(stop)[0] if stop else answer
    pieces = tokens(answer)
    limit = parameters.get("max_completion_tokens") or parameters.get("max_tokens")
    cut = isinstance(limit, int) and len(pieces) > limit
    prompt_tokens = sum(len(tokens(_text(message.get("content")))) for message in messages)
    return Echo(pieces[:limit] if cut else pieces, "length" if cut else "stop", prompt_tokens, choices)


def tokens(text: str) -> list[str]:
    """`text` cut into tokens; joined they are `text`, white space at its end included."""
    return _TOKEN.findall(text)


class DemoHandler(Unopened):
    """Answers `demo/...`, whatever the model is called. Each of `n` choices says the same.

    Args:
        word_seconds: the pause before each token of a stream, and before a whole answer.
    """

    def __init__(self, deployment: Deployment, word_seconds: float = WORD_SECONDS) -> None:
        self._deployment = deployment
        self._pause = word_seconds

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        requested = body.get("model", str) or ""
        exchange.served_model = self._deployment.model_for(requested, self._deployment.model).partition("/")[2]
        exchange.price = self._deployment.price_for(requested)
        options = body.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True
        if exchange.dialect is not CHAT:
            return await self._speak(exchange, body, tells_usage=asked)
        choices = max(1, min(exchange.choices, MOST_CHOICES))
        answer = echo(messages_of(body), {name: body.get(name) for name in _READ}, choices)
        attempt = exchange.begin_attempt(PROVIDER, self)
        if exchange.stream:
            repair = StreamRepair(exchange.served_model, shows_usage=asked, choices=choices)
            frames = self._frames(exchange, attempt, answer, repair)
            await anext(frames)  # closing a generator that was never started would not end the attempt
            return stream_reply(frames)
        document = answer_document(answer.whole(), exchange.served_model)
        assert document is not None, "it has choices"
        return await self._whole(exchange, attempt, document)

    async def _whole(self, exchange: Exchange, attempt: Attempt, document: Mapping[str, Any]) -> Reply:
        await asyncio.sleep(self._pause)
        attempt.end(exchange.clock())
        if (usage := document.get("usage")) is not None:
            exchange.counted(as_usage(usage), "provider")
        return document_reply(encoded(document))

    async def _frames(
        self, exchange: Exchange, attempt: Attempt, answer: Echo, repair: StreamRepair
    ) -> AsyncGenerator[bytes, None]:
        try:
            yield b""
            for chunk in answer.chunks():
                await asyncio.sleep(self._pause)
                if frames := repair.frames(chunk):
                    yield frames
            exchange.counted(as_usage(answer.usage), "provider")
            yield repair.end()
        finally:
            attempt.end(exchange.clock())

    async def _speak(self, exchange: Exchange, body: Body, *, tells_usage: bool) -> Reply:
        """The same in another protocol."""
        from crplugins.handlers.demo_wires import answer_in_wire  # needed where somebody asks in one

        answer = answer_in_wire(exchange, body, tells_usage=tells_usage)
        attempt = exchange.begin_attempt(PROVIDER, self)
        if answer.frames is not None:
            frames = self._paced(exchange, attempt, answer.frames, answer.usage)
            await anext(frames)
            return stream_reply(frames)
        if answer.document is not None:
            return await self._whole(exchange, attempt, answer.document)
        await asyncio.sleep(self._pause)
        attempt.end(exchange.clock())
        if answer.usage:
            exchange.counted(as_usage(answer.usage), "provider")
        return passed_reply(*answer.raw)

    async def _paced(
        self, exchange: Exchange, attempt: Attempt, frames: Sequence[bytes], usage: dict[str, Any]
    ) -> AsyncGenerator[bytes, None]:
        try:
            yield b""
            for frame in frames:
                await asyncio.sleep(self._pause)
                yield frame
            exchange.counted(as_usage(usage), "provider")
        finally:
            attempt.end(exchange.clock())


def _text(content: Any) -> str:
    """The words of a message: a string, or the text parts of an array."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))
