"""LitellmHandler: for every provider that does not speak OpenAI's wire format itself."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from types import ModuleType, TracebackType
from typing import Any, Final, Self

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, EMBEDDINGS
from crplugins.core.errors import GatewayError, model_not_found
from crplugins.core.exchange import Attempt, Exchange, Reply
from crplugins.core.lenient_json import encoded
from crplugins.core.network import Network
from crplugins.core.reported_usage import read_usage
from crplugins.core.sse import Event
from crplugins.core.stream_options import STREAM_OPTIONS, USAGE_ONLY, StreamOptionsRefused
from crplugins.core.trace import trace_headers
from crplugins.handlers.deadlines import Missed, Overdue, Patience
from crplugins.handlers.deployment import Deployment, secrets_of
from crplugins.handlers.handler import check_dialect, document_reply, stream_reply
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.litellm.answer import Document, answer_document
from crplugins.handlers.litellm.asking import ConfiguredCalls
from crplugins.handlers.litellm.client import LitellmClient
from crplugins.handlers.litellm.embeddings import embedding_arguments, embedding_document
from crplugins.handlers.litellm.errors import Failures
from crplugins.handlers.litellm.extras import history_of, lacks_thinking, stop_thinking
from crplugins.handlers.litellm.finish import ProviderFailed
from crplugins.handlers.litellm.loading import close_litellm, open_litellm
from crplugins.handlers.litellm.plain import PlainAnswer
from crplugins.handlers.litellm.rehearsal import Rehearsed
from crplugins.handlers.litellm.repair import StreamRepair
from crplugins.handlers.litellm.request import Arguments, messages_of
from crplugins.handlers.litellm.stream import LitellmStream, RawItems
from crplugins.handlers.litellm.transport import Reaching
from crplugins.handlers.litellm.usage import fields_of, note_provider, plain
from crplugins.handlers.upstream import RESPONSES_MARK, UpstreamUnknown
from crplugins.handlers.upstream_errors import refuses_stream_options

_DIALECTS: Final = (CHAT, EMBEDDINGS)
_MAY_BE_CLAUDE: Final = ("*", "anthropic/", "azure_ai/", "bedrock/", "vertex_ai/")


class LitellmHandler:
    """Answers through litellm, in OpenAI's exact form for every provider.

    Args:
        network: how the provider is reached, ready for it; by default it is found out when the handler is entered.

    Raises when entered: ImportError without the `gateway` extra, `UpstreamUnknown` for a model whose provider litellm
    does not know.
    """

    def __init__(self, deployment: Deployment, network: Network | None = None) -> None:
        self._deployment = deployment
        self._failures = Failures(deployment.label, secrets_of(deployment, deployment.api_key, deployment.api_base))
        self._network = network
        self._litellm: ModuleType | None = None
        self._http: HttpClient | None = None
        self._client: LitellmClient | None = None
        self._refused = StreamOptionsRefused()

    async def __aenter__(self) -> Self:
        self._litellm = await open_litellm()
        try:
            if self._network is None:
                self._network = await asyncio.to_thread(lambda: self._deployment.network().ready())
            self._http = HttpClient(self._network)
            self._client = await asyncio.to_thread(self._make_client, self._litellm, self._network, self._http)
        except BaseException:
            await close_litellm()
            raise
        return self

    def _make_client(self, litellm: ModuleType, network: Network, http: HttpClient) -> LitellmClient:
        """Blocks: litellm reads files of its own."""
        calls = ConfiguredCalls(http)
        client = LitellmClient(litellm, self._deployment, network, calls)
        if "*" not in self._deployment.model:
            client.learn(self._deployment.model)  # a model whose provider is unknown fails at start-up
        else:
            self._learn_provider(client)
        return client

    def _learn_provider(self, client: LitellmClient) -> None:
        """Prepares litellm for the models of a wildcard, as far as the wildcard names their provider."""
        pattern = self._deployment.model
        if not pattern.startswith("*"):
            with suppress(UpstreamUnknown):  # each request for such a model fails with 404
                client.learn(pattern.replace("*", "any", 1))
        if pattern.startswith(_MAY_BE_CLAUDE):
            client.learn("anthropic/claude")  # litellm reads its list of models again: here, not on a request

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._client is not None
        assert self._http is not None
        await self._client.close()
        await self._http.close()
        self._client = None
        await close_litellm()

    async def rehearsed(self) -> Rehearsed | None:
        """What requests for the deployment's own model are made without `acompletion`. Waits until that is known."""
        assert self._client is not None
        return await self._client.rehearsed(self._deployment.model)

    async def answer(self, exchange: Exchange, body: Body) -> Reply:
        check_dialect(exchange, body, _DIALECTS)
        requested = body.get("model", str) or ""
        model = self._deployment.model_for(requested, self._deployment.model)
        if exchange.dialect is EMBEDDINGS:
            return await self._embed(exchange, model, body)
        assert self._client is not None, "the handler was not entered"
        assert self._network is not None
        messages = history_of(messages_of(body))
        try:
            taken = await self._client.arguments_for(model)
        except UpstreamUnknown:  # the text for the wildcard names a provider that does not exist
            raise model_not_found(requested or model) from None
        arguments = taken.arguments(body)
        taken.check(messages)
        if taken.wants_thinking_back and lacks_thinking(messages):
            messages = stop_thinking(messages, arguments)
        exchange.served_model = _bare(model)
        exchange.price = self._deployment.price_for(requested)
        if self._deployment.forwards_trace:
            arguments["extra_headers"] = {**(arguments.get("extra_headers") or {}), **trace_headers(exchange)}
        with Reaching(self._network):
            if arguments.pop("stream", False):
                return await self._stream(exchange, model, messages, arguments)
            return await self._document(exchange, model, messages, arguments)

    async def _embed(self, exchange: Exchange, model: str, body: Body) -> Reply:
        assert self._client is not None, "the handler was not entered"
        assert self._network is not None
        arguments = embedding_arguments(self._deployment.parameters, body)
        exchange.served_model = _bare(model)
        exchange.price = self._deployment.price_for(body.get("model", str) or "")
        if self._deployment.forwards_trace:
            arguments["extra_headers"] = {**(arguments.get("extra_headers") or {}), **trace_headers(exchange)}
        answer = PlainAnswer(self._failures, exchange, self._deployment.skip_malformed)
        deadline = self._patience(exchange, stream=False).first
        with Reaching(self._network):
            asking = self._client.embed(model, arguments, answer, deadline[1])
            response = await self._asked(exchange, answer, asking, deadline)
        exchange.attempts[-1].end(exchange.clock())
        in_base64 = body.get("encoding_format") == "base64"
        document = embedding_document(response, _bare(model), in_base64=in_base64, provider_said=answer.said)
        if document is None:
            failure = answer.failure() or self._failures.malformed("an answer without vectors")
            exchange.attempts[-1].fail(failure, exchange.clock())
            raise failure
        return document_reply(encoded(document))

    async def _document(self, exchange: Exchange, model: str, messages: list[Any], arguments: Arguments) -> Reply:
        answer = PlainAnswer(self._failures, exchange, self._deployment.skip_malformed)
        response = await self._complete(exchange, model, messages, arguments, answer)
        exchange.attempts[-1].end(exchange.clock())
        told = response if isinstance(response, bytes) else self._told(exchange, response, answer, _bare(model))
        exchange.split = told, [Event.json_document(told)]
        return document_reply(told)

    def _told(self, exchange: Exchange, response: Any, answer: PlainAnswer, model: str) -> bytes:
        """What the client is told of what litellm has read."""
        document = self._answer_document(exchange, response, answer, model)
        note_provider(exchange, response)  # the document does not tell all of it
        return encoded(document)

    def _answer_document(self, exchange: Exchange, response: Any, answer: PlainAnswer, model: str) -> Document:
        try:
            document = answer_document(response, model)
        except ProviderFailed as error:
            failure = self._failures.in_stream(error.error)
        else:
            if document is not None:
                return document
            failure = answer.failure() or self._failures.malformed("an answer without choices")
        exchange.attempts[-1].fail(failure, exchange.clock())
        if (counted := read_usage(plain(fields_of(response).get("usage"))).counted()) is not None:
            exchange.counted(counted, "provider")  # some providers bill a failed answer too
            note_provider(exchange, response)
        raise failure

    async def _stream(self, exchange: Exchange, model: str, messages: list[Any], arguments: Arguments) -> Reply:
        options = arguments.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True
        if self._refused.known(model, arguments, exchange.clock()):
            arguments.pop(STREAM_OPTIONS, None)
        try:
            return await self._begin_stream(exchange, model, messages, arguments, shows_usage=asked)
        except GatewayError as refusal:
            if not refuses_stream_options(refusal) or arguments.get(STREAM_OPTIONS) != USAGE_ONLY:
                raise
        del arguments[STREAM_OPTIONS]
        reply = await self._begin_stream(exchange, model, messages, arguments, shows_usage=asked)
        self._refused.remember(model, arguments, exchange.clock())
        return reply

    async def _begin_stream(
        self, exchange: Exchange, model: str, messages: list[Any], arguments: Arguments, *, shows_usage: bool
    ) -> Reply:
        started = asyncio.get_running_loop().time()
        raw: RawItems = await self._complete(exchange, model, messages, arguments)
        repair = StreamRepair(_bare(model), shows_usage=shows_usage, choices=_choices_of(arguments))
        patience, skips = self._patience(exchange, stream=True), self._deployment.skip_malformed
        stream = LitellmStream(exchange, raw, repair, self._failures, patience, started, skips)
        return stream_reply(await stream.begin())

    def _complete(
        self,
        exchange: Exchange,
        model: str,
        messages: list[Any],
        arguments: Arguments,
        answer: PlainAnswer | None = None,
    ) -> Awaitable[Any]:
        """What `LitellmClient.complete` returns. `answer` is None for a stream. Raises `GatewayError`."""
        assert self._client is not None
        deadline = self._patience(exchange, stream=answer is None).first
        asking = self._client.complete(model, messages, arguments, answer, deadline[1])
        return self._asked(exchange, answer, asking, deadline)

    async def _asked(
        self,
        exchange: Exchange,
        answer: PlainAnswer | None,
        asking: Coroutine[Any, Any, Any],
        deadline: tuple[Missed, float],
    ) -> Any:
        """What `asking` returns, which raises `Overdue` after the deadline."""
        attempt = exchange.begin_attempt(self._deployment.provider, self)
        try:
            return await asking
        except Exception as error:
            overdue = deadline if isinstance(error, Overdue) else None
            if answer is not None and overdue is None and (completion := answer.completion()) is not None:
                return completion
            raise self._failed(exchange, attempt, answer, error, overdue) from None

    def _failed(
        self,
        exchange: Exchange,
        attempt: Attempt,
        answer: PlainAnswer | None,
        error: Exception,
        overdue: tuple[Missed, float] | None,
    ) -> GatewayError:
        if overdue is not None:
            failure = self._failures.timed_out(*overdue)
        else:
            failure = self._failures.of(error) if answer is None else answer.failure_of(error)
        attempt.fail(failure, exchange.clock())
        if answer is not None:
            exchange.note_unseen(answer.unseen)
        return failure

    def _patience(self, exchange: Exchange, *, stream: bool) -> Patience:
        return self._deployment.deadlines.patience(stream=stream, can_fail_over=exchange.can_fail_over)


def _choices_of(arguments: Arguments) -> int:
    choices = arguments.get("n")
    return choices if isinstance(choices, int) and choices > 0 else 1


def _bare(model: str) -> str:
    """The model as the upstream names it, without litellm's name of the provider and its mark of a protocol."""
    return (model.partition("/")[2] or model).removeprefix(RESPONSES_MARK)
