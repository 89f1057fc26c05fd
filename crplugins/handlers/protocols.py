"""Which protocols a deployment is asked in as it is, and how it is asked in the others. The one place that decides it.

It is what the wire of its handler has, without what `model_info` does not name, in LiteLLM's words
(`supported_endpoints`, `mode`). Whoever has OpenAI's wire may have Messages too, but for OpenAI; litellm has chat
completions and embeddings. Nobody has to have all of a wire: one whose path is not there is asked in chat completions,
and from then on at once.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from hashlib import sha256
from string import ascii_letters, digits
from typing import TYPE_CHECKING, Any, Final

import msgspec

from crplugins.core.body import Body
from crplugins.core.dialects import (
    ALL,
    CHAT,
    COMPACT,
    COMPLETIONS,
    COUNT_TOKENS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MESSAGES,
    MODERATIONS,
    RERANK,
    RESPONSES,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Dialect,
)
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Reply
from crplugins.core.sse import Event
from crplugins.handlers.demo_models import is_demo
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.handler import Handler
from crplugins.handlers.upstream import ANTHROPIC, LONGEST_NAME, Upstream, is_openai

if TYPE_CHECKING:
    from crplugins.handlers.translation.shown_blocks import ShownBlocks
    from crplugins.handlers.translation.translated import Translated

DialectSet = frozenset[Dialect]

TRANSLATED: Final[DialectSet] = frozenset({COMPLETIONS, RESPONSES, MESSAGES})
"""The protocols in which one that chats can be asked."""

ANTHROPICS: Final[DialectSet] = frozenset({MESSAGES, COUNT_TOKENS})
"""What Anthropic speaks itself."""

RESPONSES_ALONE: Final[DialectSet] = frozenset({RESPONSES, COMPACT})
"""What OpenAI speaks of some of its models."""

_LITELLMS: Final[DialectSet] = frozenset({CHAT, EMBEDDINGS})
_ALL: Final[DialectSet] = frozenset(ALL)
_OPENAIS_OWN: Final[DialectSet] = _ALL - ANTHROPICS
_ANTHROPICS_OWN: Final[DialectSet] = ANTHROPICS | {CHAT}  # https://docs.claude.com/en/api/openai-sdk
_LITELLMS_AND_ANTHROPICS: Final[DialectSet] = _LITELLMS | ANTHROPICS

_MODES: Final[Mapping[str, DialectSet]] = {
    "chat": frozenset({CHAT, COMPLETIONS, RESPONSES, COMPACT, MESSAGES, COUNT_TOKENS}),
    "completion": frozenset({COMPLETIONS}),
    "embedding": frozenset({EMBEDDINGS}),
    "responses": RESPONSES_ALONE,
    "rerank": frozenset({RERANK}),
    "moderation": frozenset({MODERATIONS}),
    "image_generation": frozenset({IMAGES, IMAGE_EDITS, IMAGE_VARIATIONS}),
    "image_edit": frozenset({IMAGE_EDITS, IMAGE_VARIATIONS}),
    "audio_transcription": frozenset({TRANSCRIPTIONS, TRANSLATIONS}),
    "audio_speech": frozenset({SPEECH}),
}
"""`model_info.mode`: what such a model has of its wire."""

_BY_PATH: Final = {f"/v1{dialect.path}": dialect for dialect in ALL}


def protocols_in(info: Mapping[str, Any]) -> DialectSet | None:
    """The protocols that a model has by its `model_info`; None if that says nothing. Other endpoints are left out."""
    listed = info.get("supported_endpoints")
    named = [_BY_PATH[each] for each in listed if each in _BY_PATH] if isinstance(listed, list | tuple) else []
    if named:
        return frozenset(named)
    mode = info.get("mode")
    return _MODES.get(mode) if isinstance(mode, str) else None


def answers_in_responses(info: Mapping[str, Any]) -> bool:
    """Whether `mode` says so, and no list of endpoints says that there is nothing else."""
    return info.get("mode") == "responses" and protocols_in(info) is RESPONSES_ALONE


def protocols_of(deployment: Deployment, upstream: object, native: Upstream | None = None) -> DialectSet:
    """The protocols in which a deployment is asked as it is.

    `upstream` is what it was resolved to; `native` is where it is asked in its own protocol, if litellm translates.
    """
    if native is not None and native.provider != ANTHROPIC:
        return own_protocols(native) | {CHAT}
    wire = _wire_of(deployment, upstream, native)
    return wire if deployment.protocols is None else (wire & deployment.protocols or wire & {CHAT})


def own_protocols(native: Upstream) -> DialectSet:
    """In which protocols one is asked as it is for whom litellm translates the others."""
    return ANTHROPICS if native.provider == ANTHROPIC else RESPONSES_ALONE


def _wire_of(deployment: Deployment, upstream: object, native: Upstream | None) -> DialectSet:
    if is_demo(deployment):
        return _ALL
    if not isinstance(upstream, Upstream):
        return _LITELLMS if native is None else _LITELLMS_AND_ANTHROPICS
    if upstream.provider == ANTHROPIC:
        return _ANTHROPICS_OWN
    return _OPENAIS_OWN if is_openai(upstream) else _ALL


class IdForm(msgspec.Struct, frozen=True):
    """Which ids of calls a provider takes.

    Attributes:
        most: characters of an id.
        letters: what it is made of; None for anything.
        exactly: an id has that many characters, and no fewer.
    """

    most: int
    letters: frozenset[str] | None = None
    exactly: bool = False

    def takes(self, call_id: str) -> bool:
        fits = len(call_id) == self.most if self.exactly else 0 < len(call_id) <= self.most
        return fits and (self.letters is None or self.letters.issuperset(call_id))

    def of(self, call_id: str) -> str:
        """The id, or one that is taken in its place: always the same, in the call and in its result."""
        if self.takes(call_id):
            return call_id
        digest = sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()
        return digest[: self.most] if self.exactly else f"call_{digest[:32]}"


_LETTERS: Final = frozenset(ascii_letters + digits)

OPENAIS: Final = IdForm(40)
"""Of OpenAI and Azure in chat completions. Gemini's ids have a thought in them, by way of litellm."""

OPENAIS_IN_RESPONSES: Final = IdForm(64)

CLAUDES: Final = IdForm(64, _LETTERS | {"_", "-"})
"""Of Anthropic's own models. Kimi's are `functions.NAME:0`, and it wants them back as they are."""

MISTRALS: Final = IdForm(9, _LETTERS, exactly=True)


class Target(msgspec.Struct, frozen=True):
    """What the upstream that is asked takes beside the common ground of chat completions.

    Attributes:
        is_openai: OpenAI itself, or Azure: it names the bound of an answer `max_completion_tokens`, refuses parameters
            that it does not know, and takes some that others do not.
        is_claude: Claude by way of litellm, which takes signed thoughts and marks for its cache.
        is_vllm: it reads thoughts under `reasoning` since its release 0.16, before that under `reasoning_content`, and
            does not mind the other name.
        reasons: the model thinks, and can be told how much.
        own_ids: the form of the ids of calls, where a provider but OpenAI takes no other.
    """

    is_openai: bool = False
    is_claude: bool = False
    is_vllm: bool = False
    reasons: bool = False
    own_ids: IdForm | None = None

    def call_ids(self, dialect: Dialect) -> IdForm | None:
        """The form of the ids of calls that it takes; None for any."""
        if not self.is_openai:
            return self.own_ids
        return OPENAIS_IN_RESPONSES if dialect in RESPONSES_ALONE else OPENAIS

    @property
    def output_limit(self) -> str:
        return "max_completion_tokens" if self.is_openai else "max_tokens"


_UNKNOWN: Final = Target()

_OPENAIS: Final = ("openai", "azure")
_REASONING: Final = re.compile(
    r"(?:^|/)(?:o[1-9](?:$|[-@])|gpt-[5-9]|gpt-oss|codex)|gemini-(?:2\.5|[3-9])"
    r"|claude-(?:3-7|(?:opus|sonnet|haiku)-[4-9]|[4-9])",
)


def target_of(deployment: Deployment, upstream: object) -> Target:
    """What is known of a deployment beside its wire. Whether its model thinks, `model_info.supports_reasoning` says."""
    is_direct = isinstance(upstream, Upstream)
    reasons = deployment.reasons
    if reasons is None:
        reasons = _REASONING.search(deployment.model[:LONGEST_NAME]) is not None
    return Target(
        is_openai=is_openai(upstream) if isinstance(upstream, Upstream) else deployment.provider in _OPENAIS,
        is_claude=not is_direct and (deployment.provider == "anthropic" or "claude" in deployment.model),
        is_vllm=is_direct and deployment.provider == "hosted_vllm",
        reasons=reasons,
        own_ids=_ids_of(deployment),
    )


def _ids_of(deployment: Deployment) -> IdForm | None:
    """Anthropic's protocol is spoken by others too, who want the ids back that they have given."""
    if deployment.provider == ANTHROPIC and (deployment.api_base is None or "claude" in deployment.model):
        return CLAUDES
    return MISTRALS if deployment.provider == "mistral" else None


_NO_SUCH_PATH: Final = frozenset({404, 405, 501})


class Protocols:
    """In which protocols one deployment is asked, and how.

    What is found missing is remembered only where the same request was answered in chat completions, so that it was the
    path that was not there, and not the model.

    Attributes:
        has_own_ids: the ids of calls have a form of their own, so that a chat completion is to be `fitted` too.
    """

    def __init__(self, asked_in: DialectSet = _ALL, target: Target = _UNKNOWN) -> None:
        self._asked_in: Final = asked_in
        self._target: Final = target
        self.has_own_ids: Final = target.call_ids(CHAT) is not None
        self._missing: set[Dialect] = set()
        self._translated: type[Translated] | None = None

    def speaks(self, dialect: Dialect) -> bool:
        """It is asked as it is."""
        return dialect in self._asked_in and dialect not in self._missing

    def answers(self, dialect: Dialect) -> bool:
        """It is asked as it is, or in chat completions."""
        return self.speaks(dialect) or (dialect in TRANSLATED and CHAT in self._asked_in)

    def fitted(self, dialect: Dialect, body: Body) -> Body:
        """The request with what other models have said in it as this one takes it, where it is asked as it is."""
        if not self.speaks(dialect):
            return body
        from crplugins.handlers.histories import fitted  # not needed to start

        return fitted(body, dialect, self._target.call_ids(dialect))

    async def answer(self, handler: Handler, exchange: Exchange, body: Body) -> Reply:
        """The answer of `handler` to a request in another protocol than chat completions. Raises as it does."""
        dialect = exchange.dialect
        can_translate = dialect in TRANSLATED and CHAT in self._asked_in
        if self.speaks(dialect):
            try:
                return await handler.answer(exchange, body)
            except GatewayError as error:
                if not can_translate or not _is_missing(error):
                    raise
                exchange.kept_at = None  # nor is the answer kept there
        reply = await (await self._translating())(handler, self._target).answer(exchange, body)
        if self.speaks(dialect):
            self._missing.add(dialect)
        return reply

    async def go_on(
        self,
        handler: Handler,
        exchange: Exchange,
        body: Body,
        request: Callable[[Body], Body],
        joined: Callable[[Event], Event | None],
        shown: "ShownBlocks | None" = None,
    ) -> Reply:
        """The answer of `handler`, which is asked in chat completions to go on with one. For what is given beside the
        request see `translation.translated.GoingOn`."""
        translated = (await self._translating())(handler, self._target)
        from crplugins.handlers.translation.translated import GoingOn

        return await translated.answer(exchange, body, GoingOn(request, joined, shown))

    async def _translating(self) -> "type[Translated]":
        if self._translated is None:
            self._translated = await asyncio.to_thread(_translated)
        return self._translated


def _translated() -> "type[Translated]":
    """Imported where a request needs it, and in a thread, as that takes a while."""
    from crplugins.handlers.translation.translated import Translated

    return Translated


def _is_missing(error: GatewayError) -> bool:
    """Whether a refusal may say that there is nothing under a path."""
    return (
        (error.error_type == "upstream_4xx" or error.status == 501)
        and error.status in _NO_SUCH_PATH
        and error.error.code != "model_not_found"
    )
