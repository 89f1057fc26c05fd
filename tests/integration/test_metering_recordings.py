"""Recordings of real providers through the whole gateway: what is metered, and what the client sees of it."""

import asyncio
import json
from collections.abc import Iterable
from itertools import product
from typing import Any

import aiohttp
import pytest

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.core.usage import TokenUsage
from crplugins.plugins.missing_usage import MissingUsage
from crplugins.plugins.stream_usage import StreamUsage
from crplugins.plugins.usage import Usage
from crplugins.testing import Cassette, FakeProvider, Script
from tests.integration.metering_expected import (
    shown_to_who_asked,
    shown_to_who_did_not_ask,
    with_a_reason,
    without_errors,
)
from tests.integration.metering_foreign import USAGE, RefusingApp, RelayingApp, fastapi_like, openai_like
from tests.integration.metering_joined import can_be_joined, joined
from tests.integration.metering_setup import (
    ASKED,
    CLIENTS,
    HELLO,
    NOT_ASKED,
    PATH,
    Metered,
    check_record,
    chunks_of,
    metered,
    usages_in,
)
from tests.litellm_setup import PREFIXES
from tests.long import LONG

pytestmark = pytest.mark.slow

STREAMING = {"stream": True}
ASKING = {**STREAMING, **ASKED["asked"]}
HANDLERS = [("direct", "openai"), ("litellm", "openai"), ("litellm", "hosted_vllm"), ("litellm", "groq")]
LITELLM_PREFIXES = ["openai", "hosted_vllm", "deepseek", "groq", "mistral", "openrouter", "anthropic"]
NEVER_ASKED = ("anthropic", "mistral")
"""They tell usage unasked; Mistral refuses to be asked, so that litellm leaves the question out."""


def openai_streams(cassettes: dict[str, Cassette]) -> list[Cassette]:
    """The streams in OpenAI's wire, which the direct handler passes through."""
    return [c for c in cassettes.values() if c.is_stream and not c.id.startswith("anthropic")]


def streams_under(prefix: str, cassettes: dict[str, Cassette]) -> list[Cassette]:
    """The streams that litellm is to read under a prefix: the provider's own, or one for any compatible upstream."""
    if prefix in ("openai", "hosted_vllm"):
        return openai_streams(cassettes)
    return [c for c in cassettes.values() if c.is_stream and PREFIXES.get(c.info.provider) == prefix]


def is_asked(client: str) -> bool:
    return client in ASKED


def asked_with(client: str) -> Any:
    """The `stream_options` the provider must be asked with for this client."""
    return {**(CLIENTS[client].get("stream_options") or {}), "include_usage": True}


def written_for(clients: Iterable[str]) -> list[tuple[Any, str]]:
    """In which pieces the provider writes, and for which clients; for the first of them in all.

    Of what a client has said, only whether it asked goes beyond the request: in a long run all meet all.
    """
    first, *others = clients
    return [*product(("frame", "all", 7), [first]), *product(("frame", "all", 7) if LONG else ("frame",), others)]


# -- direct ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("client", CLIENTS)
async def test_every_recording_is_metered_as_the_manifest_says_whatever_the_client_asked_for(serve, cassettes, client):
    async with FakeProvider() as provider, metered(serve, provider) as gateway:
        for cassette in openai_streams(cassettes):
            _, record = await gateway.post(cassette.script(), **STREAMING, **CLIENTS[client])
            assert gateway.asked_upstream["stream_options"] == asked_with(client), cassette.id
            check_record(record, cassette)
            assert record.outcome == ("server_error" if cassette.expect.error else "ok"), cassette.id


def ended(cassette: Cassette) -> bytes:
    """A recording as a handler of ours passes it on: whole ones with a reason for their end."""
    passed = without_errors(cassette.data)
    return passed if cassette.expect.error else with_a_reason(passed)


@pytest.mark.parametrize(("write", "client"), written_for(ASKED))
async def test_who_asked_for_usage_reads_the_providers_own_bytes(serve, cassettes, client, write):
    async with FakeProvider() as provider, metered(serve, provider) as gateway:
        for cassette in openai_streams(cassettes):
            body, record = await gateway.post(cassette.script(write=write), **STREAMING, **CLIENTS[client])
            assert without_errors(body) == shown_to_who_asked(ended(cassette)), cassette.id
            check_record(record, cassette, write)


@pytest.mark.parametrize(("write", "client"), written_for(NOT_ASKED))
async def test_who_did_not_ask_reads_the_providers_bytes_without_usage_and_nothing_else_is_gone(
    serve, cassettes, client, write
):
    async with FakeProvider() as provider, metered(serve, provider) as gateway:
        for cassette in openai_streams(cassettes):
            body, record = await gateway.post(cassette.script(write=write), **STREAMING, **CLIENTS[client])
            assert without_errors(body) == shown_to_who_did_not_ask(ended(cassette), cassette.id), cassette.id
            assert b'"usage"' not in body, cassette.id
            check_record(record, cassette, write)


def test_the_expectation_itself_takes_away_usage_and_nothing_else(cassettes):
    for cassette in openai_streams(cassettes):
        before = chunks_of(cassette.data)
        after = chunks_of(shown_to_who_did_not_ask(cassette.data, cassette.id))
        own_chunk = cassette.metering.where == "own chunk, choices []" and cassette.id != "hf-novita-text"
        assert len(before) - len(after) == own_chunk, cassette.id
        for chunk in before:
            chunk.pop("usage", None)
            chunk.get("x_groq", {}).pop("usage", None)
        gone = [chunk for chunk in before if chunk not in after]
        assert [chunk for chunk in before if chunk in after] == after, cassette.id
        assert [chunk["choices"] for chunk in gone] == [[]] * own_chunk, cassette.id


UNREPEATABLE = ("openai-gpt5-moderation", "groq-text-xgroq-usage", "openrouter-midstream-error")
"""A chunk comes behind the usage, there is no `usage` at all, it fails: counts there would be the test's invention."""


def repeating(cassette: Cassette, *, at_the_end: bool) -> tuple[bytes, ...]:
    """The recording as some providers would send it: with a running count on every chunk.

    `at_the_end`: a chunk that ends a choice has the whole count already, as vLLM's has for one choice; else that of
    its own choice, as vLLM's has for several.
    """
    counted = [chunk["usage"] for chunk in chunks_of(cassette.data) if chunk.get("usage")][-1]
    frames = []
    for number, frame in enumerate(cassette.script().events):
        if frame.startswith(b"data: {"):
            chunk = json.loads(frame[6:])
            ends = any(choice.get("finish_reason") for choice in chunk["choices"])
            running = counted if ends and at_the_end else {"prompt_tokens": 1, "completion_tokens": number}
            chunk["usage"] = chunk.get("usage") or running
            frame = b"data: " + json.dumps(chunk).encode() + b"\n\n"
        frames.append(frame)
    return tuple(frames)


async def check_reduced(gateway: Metered, cassette: Cassette, client: str, *, at_the_end: bool) -> None:
    script = Script(events=repeating(cassette, at_the_end=at_the_end), content_type=cassette.info.content_type)
    options = {**STREAMING, **CLIENTS[client], "n": cassette.expect.choices or 1}
    body, record = await gateway.post(script, **options)
    check_record(record, cassette, "repeated")
    [shown] = usages_in(body)
    counts = (cassette.metering.prompt_tokens, cassette.metering.completion_tokens)
    assert (shown["prompt_tokens"], shown["completion_tokens"]) == counts, cassette.id
    choices = [chunk["choices"] for chunk in chunks_of(body) if chunk["choices"]]
    assert choices == [chunk["choices"] for chunk in chunks_of(ended(cassette)) if chunk["choices"]]


@pytest.mark.parametrize("client", ASKED)
async def test_usage_repeated_on_every_chunk_is_shown_once(serve, cassettes, client):
    async with FakeProvider() as provider, metered(serve, provider) as gateway:
        for cassette in openai_streams(cassettes):
            if cassette.metering.source == "provider" and cassette.id not in UNREPEATABLE:
                await check_reduced(gateway, cassette, client, at_the_end=True)


async def test_of_several_counts_the_client_reads_the_one_that_is_recorded(serve, cassettes):
    async with FakeProvider() as provider, metered(serve, provider) as gateway:
        await check_reduced(gateway, cassettes["openai-n3"], "asked", at_the_end=False)


# -- litellm -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", LITELLM_PREFIXES)
async def test_every_recording_is_metered_the_same_through_litellm(serve, cassettes, prefix):
    async with FakeProvider(cassettes=cassettes) as provider:
        async with metered(serve, provider, handler="litellm", prefix=prefix) as gateway:
            for client, cassette in product(("asked", "nothing", "null", "false"), streams_under(prefix, cassettes)):
                body, record = await gateway.post(model=f"replay-{cassette.id}", **STREAMING, **CLIENTS[client])
                check_record(record, cassette, (prefix, client))
                if prefix not in NEVER_ASKED:
                    assert gateway.asked_upstream["stream_options"] == asked_with(client)
                if cassette.expect.error:
                    assert record.outcome == "server_error"
                else:
                    assert record.outcome == "ok"
                    check_shown_by_litellm(body, cassette, asked=is_asked(client))


def check_shown_by_litellm(body: bytes, cassette: Cassette, *, asked: bool) -> None:
    chunks = chunks_of(body)
    assert body.endswith(b"data: [DONE]\n\n"), cassette.id
    if not asked:
        assert b'"usage"' not in body, cassette.id
        assert all(chunk["choices"] for chunk in chunks), cassette.id
        return
    if cassette.metering.source == "provider":
        *others, last = chunks
        assert last["choices"] == [], cassette.id
        counts = (cassette.metering.prompt_tokens, cassette.metering.completion_tokens)
        assert (last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]) == counts, cassette.id
        assert all(chunk["usage"] is None for chunk in others), cassette.id
    else:
        assert usages_in(body) == [], cassette.id


@pytest.mark.parametrize("prefix", LITELLM_PREFIXES)
async def test_the_size_of_the_providers_writes_changes_no_number(serve, cassettes, prefix):
    async with FakeProvider(cassettes=cassettes) as provider:
        async with metered(serve, provider, handler="litellm", prefix=prefix) as gateway:
            for write, cassette in product(("all", 7), streams_under(prefix, cassettes)):
                provider.default = Script(write=write)
                _, record = await gateway.post(model=f"replay-{cassette.id}", **STREAMING)
                check_record(record, cassette, (prefix, write))


@pytest.mark.parametrize("usage", ["asked", "off"])
@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_client_that_closes_behind_the_end_mark_has_had_its_answer(serve, handler, prefix, usage):
    """As the official SDK does. Recorded as cancelled, every good answer would look like a bad one."""
    async with FakeProvider(default=Script(usage=usage)) as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            for number in range(1, 9):
                await gateway.read_to_the_end_mark()
                record = await gateway.records.last(number)
                source = "provider" if usage == "asked" else "estimated"
                assert (record.outcome, record.status, record.usage_source) == ("ok", 200, source)


# -- plain answers -----------------------------------------------------------------------------------------------------


async def test_the_same_work_in_a_plain_answer_is_metered_the_same_and_its_bytes_pass(serve, cassettes):
    async with FakeProvider() as provider, metered(serve, provider) as gateway:
        for cassette in filter(can_be_joined, openai_streams(cassettes)):
            sent = json.dumps(joined(cassette), indent=1).encode()
            body, record = await gateway.post(Script(body=sent))
            assert "stream_options" not in gateway.asked_upstream
            assert body == sent, cassette.id
            check_record(record, cassette, "plain")


@pytest.mark.parametrize("prefix", LITELLM_PREFIXES)
async def test_the_same_work_in_a_plain_answer_is_metered_the_same_through_litellm(serve, cassettes, prefix):
    async with FakeProvider() as provider:
        async with metered(serve, provider, handler="litellm", prefix=prefix, model="fake-model") as gateway:
            for cassette in filter(can_be_joined, streams_under(prefix, cassettes)):
                if cassette.id == "mistral-magistral-array" and prefix != "mistral":
                    continue  # litellm refuses a plain answer whose content is a list, from anybody but Mistral
                body, record = await gateway.post(Script(body=joined(cassette)))
                assert gateway.status == 200, (cassette.id, body)
                check_record(record, cassette, (prefix, "plain"))
                if cassette.metering.source == "provider":
                    assert json.loads(body)["usage"]["prompt_tokens"] == cassette.metering.prompt_tokens
                else:
                    assert "usage" not in json.loads(body)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_recorded_refusal_counts_nothing(serve, cassettes, handler, prefix, stream):
    refusals = [c for c in cassettes.values() if not c.is_stream]
    assert len(refusals) == 4
    async with FakeProvider() as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            for cassette in refusals:
                _, record = await gateway.post(cassette.script(), stream=stream)
                check_record(record, cassette)
                assert (record.status, record.attempts) == (cassette.info.status, 1), cassette.id
                limited = cassette.info.status == 429
                assert record.error_type == ("upstream_429" if limited else "upstream_4xx")


# -- before an app that is not ours ------------------------------------------------------------------------------------


async def read(url: str, **body: Any) -> tuple[int, bytes]:
    async with aiohttp.ClientSession() as session:
        async with session.post(url + PATH, json={"model": "m", "messages": HELLO, **body}) as response:
            return response.status, await response.read()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("size", [None, 7, 1000])
async def test_stream_usage_alone_does_the_same_before_an_app_that_is_not_ours(serve, cassettes, client, size):
    theirs = RelayingApp({c.id: c.data for c in cassettes.values()}, size)
    theirs.app.add_middleware(PluginMiddleware, plugins=[StreamUsage()])
    async with serve(theirs.app) as url:
        for cassette in openai_streams(cassettes):
            _, body = await read(url, model=cassette.id, **STREAMING, **CLIENTS[client])
            has_end = b"[DONE]" in cassette.data or cassette.id == "groq-midstream-error"  # behind an error we add it
            ending = b"" if has_end else b"data: [DONE]\n\n"  # else it is theirs to send
            asked, hidden = shown_to_who_asked(cassette.data), shown_to_who_did_not_ask(cassette.data, cassette.id)
            assert body + ending == (asked if is_asked(client) else hidden), cassette.id
            assert theirs.bodies[-1]["stream_options"] == asked_with(client)


async def test_an_app_that_is_not_ours_is_metered_as_the_manifest_says(serve, cassettes):
    records: list[Any] = []
    plugins = [Usage(sinks=[records.append]), StreamUsage(), MissingUsage()]
    theirs = RelayingApp({c.id: c.data for c in cassettes.values()}, 100)
    theirs.app.add_middleware(PluginMiddleware, plugins=plugins)
    async with serve(theirs.app) as url:
        for number, cassette in enumerate(openai_streams(cassettes), 1):
            await read(url, model=cassette.id, **STREAMING)
            assert len(records) == number
            check_record(records[-1], cassette, "foreign")


REFUSALS = [openai_like, fastapi_like]


def options_sent(bodies: Iterable[Any]) -> list[Any]:
    return [body.get("stream_options") for body in bodies]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("client", ["nothing", "empty", "false", "asked"])
async def test_an_app_that_refuses_stream_options_is_asked_once_more_and_then_no_longer_bothered(
    serve, refusal, client
):
    theirs = RefusingApp(refusal, lambda body: body["model"] == "old")
    theirs.app.add_middleware(PluginMiddleware, plugins=[StreamUsage()])
    async with serve(theirs.app) as url:
        for _ in range(3):
            status, body = await read(url, model="old", **STREAMING, **CLIENTS[client])
            assert (status, usages_in(body)) == (200, [])
            assert body.endswith(b"data: [DONE]\n\n")
        assert options_sent(theirs.bodies["old"]) == [{"include_usage": True}, None, None, None]
        # Nobody else pays for it: neither another model nor plain requests.
        status, body = await read(url, model="new", **ASKING)
        assert (status, usages_in(body)) == (200, [USAGE])
        assert options_sent(theirs.bodies["new"]) == [{"include_usage": True}]


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_client_with_a_broken_option_of_its_own_ends_nobody_elses_metering(serve, refusal):
    theirs = RefusingApp(refusal, lambda body: "broken" in body["stream_options"])
    theirs.app.add_middleware(PluginMiddleware, plugins=[StreamUsage()])
    async with serve(theirs.app) as url:
        for options in ({"broken": 1}, {"broken": 1, "include_usage": True}, {"broken": 1, "include_usage": False}):
            status, body = await read(url, **STREAMING, stream_options=options)
            expected = refusal({**options, "include_usage": True})
            assert (status, json.loads(body)) == expected
        await read(url, **STREAMING)
        assert options_sent(theirs.bodies["m"][3:]) == [{"include_usage": True}]
        assert len(theirs.bodies["m"]) == 4


# -- providers that refuse stream_options ------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("client", ["nothing", "asked"])
@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_provider_that_refuses_stream_options_is_asked_once_more_and_then_no_longer_bothered(
    serve, handler, prefix, client, status
):
    old = Script(refuse_stream_options=status)
    async with FakeProvider(default=old) as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            for attempts in (2, 1, 1):
                body, record = await gateway.post(**STREAMING, **CLIENTS[client])
                assert (gateway.status, usages_in(body)) == (200, [])
                assert (record.attempts, record.outcome, record.usage_source) == (attempts, "ok", "estimated")
                assert record.usage.input_tokens > 0
                assert record.usage.output_tokens > 0
            assert options_sent(r.json for r in provider.requests) == [{"include_usage": True}, None, None, None]
            _, record = await gateway.post()  # its plain answers tell usage as ever
            assert record.usage_source == "provider"


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_client_that_leaves_during_the_second_call_has_its_prompt_counted(serve, handler, prefix):
    async with FakeProvider() as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            provider.enqueue(Script(refuse_stream_options=400), Script(delay=60))
            leaving = asyncio.create_task(gateway.post(**STREAMING))
            await provider.wait_for_requests(2)
            leaving.cancel()
            record = await gateway.records.last(1)
            assert (record.outcome, record.status, record.attempts) == ("cancelled", 499, 2)
            assert (record.usage_source, record.usage.input_tokens > 0) == ("estimated", True)


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_broken_option_of_a_client_is_refused_and_the_provider_goes_on_being_asked(
    serve, handler, prefix, status
):
    async with FakeProvider() as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            script = Script(refuse_stream_options=status)
            body, record = await gateway.post(script, **STREAMING, stream_options={"include_obfuscation": False})
            assert gateway.status == status
            assert b"stream_options" in body
            assert (record.attempts, record.usage_source, record.outcome) == (1, "none", "client_error")
            await check_metered_by_provider(gateway)


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS[:2])
@pytest.mark.parametrize("calls", [1, 2])
async def test_words_of_a_client_in_a_refusal_do_not_end_the_metering_of_others(serve, handler, prefix, calls):
    async with FakeProvider() as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            name = "xstream_options" if calls == 1 else "stream_options"
            refusal = Script.error(400, f"Unrecognized request argument supplied: {name}")
            provider.enqueue(refusal, *([refusal] if calls == 2 else []))
            _, record = await gateway.post(**STREAMING)
            assert (gateway.status, record.attempts) == (400, calls)
            await check_metered_by_provider(gateway)


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_refusal_that_speaks_of_something_else_is_the_clients(serve, handler, prefix):
    async with FakeProvider() as provider:
        async with metered(serve, provider, handler=handler, prefix=prefix, model="fake-model") as gateway:
            _, record = await gateway.post(Script.error(400, "temperature is too high"), **STREAMING)
            assert (gateway.status, record.attempts, record.usage) == (400, 1, TokenUsage())
            await check_metered_by_provider(gateway)


async def check_metered_by_provider(gateway: Metered) -> None:
    _, record = await gateway.post(**STREAMING)
    assert gateway.asked_upstream["stream_options"] == {"include_usage": True}
    assert record.usage_source == "provider"
    assert gateway.provider.last_request.usage == (record.usage.input_tokens, record.usage.output_tokens)
