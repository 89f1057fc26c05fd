"""What passes as it is and is counted, by OpenAI's SDK through the own gateway, over real sockets."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import openai
import pytest

from crplugins.core.dialects import ALL, RERANK, Dialect
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving
from tests.homes.gateway.test_dialects import Records

SECRET = "sk-test-of-counted"
SOUND = ("hello.wav", b"RIFF" + bytes(range(256)), "audio/wav")


@asynccontextmanager
async def gateway(
    default: Script | None = None, **words: Any
) -> AsyncIterator[tuple[openai.AsyncOpenAI, FakeProvider, list[UsageRecord]]]:
    records = Records()
    async with FakeProvider(default=default) as provider:
        deployment = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[{"model_name": "served", "litellm_params": deployment}],
            keys=[{"id": "team", "secret": SECRET}],
            aliases={"fast": "served", **words.pop("aliases", {})},
            plugins=[{"use": records, "before": "Auth"}],
            num_retries=0,
            **words,
        )
        async with (
            serving(app) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client,
        ):
            yield client, provider, records.made


async def test_embeddings_and_moderations_are_read_by_the_sdk_and_counted() -> None:
    async with gateway() as (client, provider, records):
        vectors = await client.embeddings.create(model="fast", input=["Hello", "you"], dimensions=4)
        numbers = await client.embeddings.create(model="fast", input=[[1, 2, 3], [4]])
        judged = await client.moderations.create(model="fast", input="harmless")
        told = [request.usage for request in provider.requests]
    assert [len(each.embedding) for each in vectors.data] == [4, 4]
    assert (vectors.model, numbers.usage.prompt_tokens) == ("fast", 4)
    assert judged.results[0].flagged
    assert told == [(3, 0), (4, 0), None]
    assert [record.usage_source for record in records] == ["provider", "provider", "estimated"]
    assert [(r.usage.input_tokens, r.usage.output_tokens) for r in records[:2] if r.usage is not None] == [
        (3, 0),
        (4, 0),
    ]


async def test_moderations_without_a_model_ask_the_one_that_openai_documents() -> None:
    async with gateway(aliases={"omni-moderation-latest": "served"}) as (client, provider, records):
        judged = await client.moderations.create(input="harmless")
        [request] = provider.requests
    assert (judged.model, request.json["model"]) == ("omni-moderation-latest", "m")
    [record] = records
    assert (record.requested_model, record.served_model) == ("omni-moderation-latest", "m")


async def test_pictures_are_counted_in_tokens_of_pictures() -> None:
    async with gateway() as (client, _, records):
        pictures = await client.images.generate(model="fast", prompt="a cat", n=2)
    assert len(pictures.data or ()) == 2
    [record] = records
    assert record.usage is not None
    assert (record.usage.output_tokens, record.usage.image_output_tokens) == (544, 544)


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # the SDK has no more work put into translations
@pytest.mark.parametrize("which", ["transcriptions", "translations"])
async def test_a_recording_is_passed_on_in_its_form_with_the_models_name_in_it(which: str) -> None:
    async with gateway() as (client, provider, records):
        heard = await getattr(client.audio, which).create(model="fast", file=SOUND, prompt="hello")
        [request] = provider.requests
    assert heard.text == "You said something."
    assert request.json == {"model": "m", "prompt": "hello"}
    assert SOUND[1] in request.body
    [record] = records
    assert (record.requested_model, record.served_model, record.outcome) == ("fast", "m", "ok")
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage.audio_input_tokens, record.usage.output_tokens) == (20, 20, 3)


@pytest.mark.parametrize("which", ["transcriptions", "translations"])
async def test_a_transcription_in_chunks_passes_to_its_end_mark_and_is_counted(which: str) -> None:
    chunk = '{"object": "transcription.chunk", "model": "m", "choices": [{"delta": {"content": "%s"}%s}]}'
    counts = '{"model": "m", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}}'
    told = (chunk % ("Hi", ""), chunk % (" you", ', "finish_reason": "stop"'), counts, "[DONE]")
    stream = "".join(f"data: {each}\n\n" for each in told)
    form = {"model": (None, "fast"), "stream": (None, "true"), "file": SOUND}
    for whole in (True, False):
        sent = stream if whole else stream.removesuffix("data: [DONE]\n\n")
        async with gateway(default=Script(body=sent.encode(), content_type="text/event-stream")) as (
            client,
            _,
            records,
        ):
            got = await client._client.post(f"audio/{which}", files=form, headers=client.auth_headers)
        [record] = records
        assert record.outcome == ("ok" if whole else "server_error")
        assert record.usage is not None
        assert (record.usage.input_tokens, record.usage.output_tokens) == (7, 2)
        assert (got.text == stream.replace('"m"', '"fast"')) == whole
        assert ("upstream_incomplete" in got.text) != whole


async def test_voices_to_be_told_apart_pass_with_their_recordings() -> None:
    voice = "data:audio/wav;base64," + "A" * 2_560_000  # ten seconds of two channels at 48 kHz
    async with gateway() as (client, provider, _):
        await client.audio.transcriptions.create(
            model="fast",
            file=SOUND,
            chunking_strategy={"type": "server_vad"},
            known_speaker_names=["Ada"],
            known_speaker_references=[voice],
        )
        [request] = provider.requests
    assert voice.encode() in request.body


@pytest.mark.parametrize("text", ["[Music] Hello", "{laughs}", ""])
async def test_a_text_that_begins_like_json_and_an_empty_one_pass(text: str) -> None:
    script = Script(body=text.encode(), content_type="text/plain; charset=utf-8")
    async with gateway(default=script) as (client, _, records):
        form = {"model": (None, "fast"), "response_format": (None, "text"), "file": SOUND}
        got = await client._client.post("audio/transcriptions", files=form, headers=client.auth_headers)
    assert (got.status_code, got.text, got.headers["content-type"]) == (200, text, "text/plain; charset=utf-8")
    assert [record.outcome for record in records] == ["ok"]


@pytest.mark.parametrize(("kind", "shown"), [
    ("audio/mpeg", "audio/mpeg"), ("binary/octet-stream", "binary/octet-stream"), ("?", "application/octet-stream"),
])  # fmt: skip
async def test_sound_is_called_what_its_provider_calls_it_and_never_json(kind: str, shown: str) -> None:
    async with gateway(default=Script(body=b"[a" + bytes(98), content_type=kind)) as (client, _, records):
        spoken = await client.audio.speech.create(model="fast", voice="alloy", input="Hello")
    assert (len(spoken.content), spoken.response.headers["content-type"]) == (100, shown)
    assert [record.outcome for record in records] == ["ok"]


@pytest.mark.parametrize("kind", ["text", "srt", "vtt"])
async def test_subtitles_pass_as_they_are(kind: Any) -> None:
    async with gateway() as (client, _, records):
        heard = await client.audio.transcriptions.create(model="fast", file=SOUND, response_format=kind)
    assert "You said something." in str(heard)
    [record] = records
    assert (record.outcome, record.usage_source) == ("ok", "estimated")


async def test_speech_passes_byte_by_byte_and_its_text_is_estimated() -> None:
    async with gateway() as (client, provider, records):
        spoken = await client.audio.speech.create(model="fast", voice="alloy", input="Hello there, how are you?")
        sound = spoken.content
        kind = spoken.response.headers["content-type"]
        sent = provider.last_request.bytes_sent
    assert (sound[:2], len(sound), kind) == (b"\xff\xfb", sent, "audio/mpeg")
    [record] = records
    assert (record.outcome, record.usage_source) == ("ok", "estimated")
    assert record.usage is not None
    assert record.usage.input_tokens > 4


async def test_a_stream_of_a_model_that_knows_none_is_one_to_the_sdk() -> None:
    async with gateway() as (client, _, records):
        heard = await client.audio.transcriptions.create(model="fast", file=SOUND, stream=True)
        texts = [(event.type, getattr(event, "delta", None) or event.text) async for event in heard]
        drawn = await client.images.generate(model="fast", prompt="a cat", stream=True)
        pictures = [(event.type, bool(event.b64_json)) async for event in drawn]
    assert texts == [(f"transcript.text.{kind}", "You said something.") for kind in ("delta", "done")]
    assert pictures == [("image_generation.completed", True)]
    assert [(record.outcome, record.usage_source) for record in records] == [("ok", "provider")] * 2
    assert [record.usage.output_tokens for record in records if record.usage is not None] == [3, 272]


async def test_coheres_present_client_ranks_at_another_path() -> None:
    async with gateway() as (client, provider, records):
        root = str(client.base_url).removesuffix("/v1/")
        asked = {"model": "fast", "query": "q", "documents": ["a", "bb"]}
        got = await client._client.post(f"{root}/v2/rerank", json=asked, headers=client.auth_headers)
        refused = await client._client.post(f"{root}/v2/rerank", json=asked)
        [request] = provider.requests
    assert [each["index"] for each in got.json()["results"]] == [1, 0]
    assert (refused.status_code, request.path) == (401, "/v1/rerank")
    [record, _] = records
    assert (record.endpoint, record.requested_model, record.served_model) == ("rerank", "fast", "m")


async def test_documents_are_ranked() -> None:
    async with gateway() as (client, _, records):
        ranked = await client.post("/rerank", body={"model": "fast", "query": "q", "documents": ["a", "longer"]}, cast_to=httpx.Response)  # fmt: skip
    assert [each["index"] for each in ranked.json()["results"]] == [1, 0]
    [record] = records
    assert record.usage is not None
    assert (record.usage.input_tokens, record.usage_source) == (4, "provider")


async def test_a_provider_that_fails_is_told_of_in_any_protocol() -> None:
    async with gateway() as (client, provider, records):
        provider.default = Script.rate_limited(1)
        with pytest.raises(openai.RateLimitError):
            await client.audio.transcriptions.create(model="fast", file=SOUND)
        provider.default = Script(body=b"", content_type="audio/mpeg")
        with pytest.raises(openai.InternalServerError):
            await client.audio.speech.create(model="fast", voice="alloy", input="Hello")
        provider.default = Script(body={"error": {"message": "no"}}, content_type="text/plain")
        with pytest.raises(openai.APIStatusError):
            await client.audio.transcriptions.create(model="fast", file=SOUND)
    assert [record.outcome == "ok" for record in records] == [False, False, False]


@pytest.mark.parametrize("dialect", ALL)
async def test_an_endpoint_that_is_closed_is_an_unknown_path(dialect: Dialect) -> None:
    opened = [each.name for each in ALL if each is not dialect]
    async with gateway(server={"endpoints": opened}) as (client, provider, _):
        key = {"authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(base_url=str(client.base_url), headers=key, timeout=60) as asking:
            for path in (dialect.path, dialect.path.upper()):
                answer = await asking.post(path.lstrip("/"), json={"model": "fast"})
                assert answer.status_code == 404
                assert "Invalid URL" in answer.json()["error"]["message"]
        other = ALL[0] if dialect is not ALL[0] else RERANK
        asks = (
            {"messages": [{"role": "user", "content": "Hi"}]} if other is ALL[0] else {"query": "q", "documents": ["d"]}
        )
        await client.post(other.path, body={"model": "fast", **asks}, cast_to=httpx.Response)
        assert len(provider.requests) == 1


async def test_defaults_of_a_deployment_are_written_where_they_mean_something() -> None:
    async with FakeProvider() as provider:
        at = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
        defaults = {"temperature": 0.5, "max_tokens": 9, "user": "us", "extra_body": {"truncate": True}}
        app = Gateway(
            model_list=[{"model_name": "served", "litellm_params": {**at, **defaults}}],
            keys=[{"id": "team", "secret": SECRET}],
        )
        async with serving(app) as url, openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET) as asking:
            await asking.embeddings.create(model="served", input="Hi", encoding_format="float")
            await asking.responses.create(model="served", input="Hi")
            await asking.completions.create(model="served", prompt="Hi")
        sent = [request.json for request in provider.requests]
    known = {"temperature", "max_tokens", "user", "truncate"}
    assert [known & each.keys() for each in sent] == [{"user", "truncate"}, known - {"max_tokens"}, known]


async def test_a_form_that_is_none_is_refused() -> None:
    async with gateway() as (client, provider, _):
        for answer in (
            await client._client.post("audio/transcriptions", headers=client.auth_headers, json={"model": "fast"}),
            await client._client.post(
                "audio/transcriptions", headers=client.auth_headers, files={"model": (None, "fast")}
            ),
        ):
            assert answer.status_code in (400, 415)
            assert answer.json()["error"]["message"]
        assert not provider.requests
