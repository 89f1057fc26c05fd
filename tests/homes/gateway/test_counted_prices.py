"""What pictures, recordings and speech cost: by number where the price is by number, in exact micro-USD."""

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.metering.record import UsageRecord
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving
from tests.homes.gateway.test_dialects import Records

SECRET = "sk-test-of-counted-prices"
PICTURES = {"output_cost_per_image": 0.04, "mode": "image_generation"}
SPOKEN = {"input_cost_per_character": 1.5e-5, "mode": "audio_speech"}
HEARD = {"input_cost_per_second": 1e-4, "output_cost_per_second": 1e-4, "mode": "audio_transcription"}
BY_TOKENS = {
    "input_cost_per_token": 6e-7, "output_cost_per_token": 1e-5, "output_cost_per_audio_token": 1.2e-5,
    "mode": "audio_speech",
}  # fmt: skip


def wav(seconds: int, told: int = 16_000) -> tuple[str, bytes, str]:
    """8,000 samples a second, with what the head tells of its bytes."""
    head = b"RIFF" + bytes(4) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, told, 2, 16) + b"data" + bytes(4)
    return "a.wav", head + bytes(seconds * 16_000 - len(head)), "audio/wav"


@asynccontextmanager
async def gateway(
    info: dict[str, Any], script: Script | None = None, **words: Any
) -> AsyncIterator[tuple[openai.AsyncOpenAI, list[UsageRecord]]]:
    records = Records()
    async with FakeProvider(default=script) as provider:
        deployment = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[{"model_name": "m", "litellm_params": deployment, "model_info": info}],
            keys=[{"id": "team", "secret": SECRET}],
            plugins=[{"use": records, "before": "Auth"}],
            num_retries=0,
            **words,
        )
        async with (
            serving(app) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client,
        ):
            yield client, records.made


async def test_pictures_cost_what_was_made_and_not_what_was_asked_for() -> None:
    made = {"created": 1, "data": [{"b64_json": "aGVsbG8="}] * 3}
    async with gateway(PICTURES, Script(body=made)) as (client, records):
        await client.images.generate(model="m", prompt="a cat", n=4)
    assert [(record.cost_micro_usd, record.cost_source) for record in records] == [(120_000, "config")]


async def test_a_picture_that_is_refused_costs_nothing() -> None:
    refused = Script(status=400, body={"error": {"message": "No.", "type": "invalid_request_error"}})
    async with gateway(PICTURES, refused) as (client, records):
        with pytest.raises(openai.BadRequestError):
            await client.images.generate(model="m", prompt="a cat")
    assert [record.cost_micro_usd for record in records] == [0]


async def test_speech_costs_by_the_characters_of_its_text() -> None:
    async with gateway(SPOKEN) as (client, records):
        await client.audio.speech.create(model="m", voice="alloy", input="Grüße an alle")
    assert [record.cost_micro_usd for record in records] == [195]  # 13 characters, not 15 bytes


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ({"text": "Hi", "usage": {"type": "duration", "seconds": 7}}, 7),
        ({"text": "Hi", "duration": 2.5, "segments": []}, 2.5),
        ({"text": "Hi"}, 3),
        ({"text": "Hi", "usage": {"type": "duration", "seconds": -1}}, 3),
        ({"text": "Hi", "duration": "2.5", "segments": []}, 2.5),  # vLLM
        ({"text": "Hi", "duration": "nan"}, 3),
        ({"text": "Hi", "usage": {"prompt_audio_seconds": 7, "prompt_tokens": 4, "total_tokens": 4}}, 7),  # Mistral
    ],
)
async def test_a_recording_costs_by_the_seconds_that_its_provider_tells_else_by_its_own(
    told: dict[str, Any], seconds: float
) -> None:
    async with gateway(HEARD, Script(body=told)) as (client, records):
        await client.audio.transcriptions.create(model="m", file=wav(3))
    assert [record.cost_micro_usd for record in records] == [seconds * 100]


@pytest.mark.parametrize("told", [{"type": "duration", "seconds": 7}, {"prompt_audio_seconds": 7}])
async def test_a_streamed_transcription_costs_by_the_seconds_that_its_last_event_tells(told: dict[str, Any]) -> None:
    last = {"type": "transcript.text.done", "text": "Hi", "usage": told}
    stream = f'data: {{"type": "transcript.text.delta", "delta": "Hi"}}\n\ndata: {json.dumps(last)}\n\n'
    async with gateway(HEARD, Script(body=stream.encode(), content_type="text/event-stream")) as (client, records):
        events = await client.audio.transcriptions.create(model="m", file=wav(3), stream=True)
        assert [event.type async for event in events] == ["transcript.text.delta", "transcript.text.done"]
    assert [record.cost_micro_usd for record in records] == [700]


async def test_no_client_makes_a_recording_cheaper_that_its_provider_does_not_measure() -> None:
    answer = Script(body=b"Hi there", content_type="text/plain")
    async with gateway(HEARD, answer) as (client, records):
        await client.audio.transcriptions.create(model="m", file=wav(60, 2**32 - 1), response_format="text")
        form = {"model": (None, "m"), "url": (None, "https://example.org/a.mp3"), "response_format": (None, "text")}
        sent = await client._client.post("audio/transcriptions", files=form, headers=client.auth_headers)
    assert sent.text == "Hi there"
    assert [record.cost_micro_usd for record in records] == [6_000, 360_000]


QUERY = {"input_cost_per_query": 0.002, "input_cost_per_token": 0, "output_cost_per_token": 0, "mode": "rerank"}


@pytest.mark.parametrize(
    ("documents", "meta", "queries"),
    [
        (100, {}, 1), (101, {}, 2), (1000, {}, 10), (3, {"billed_units": {"search_units": 4}}, 4),
        (0, {}, 1), (1000, {"billed_units": {"search_units": 1}}, 1), (3, {"billed_units": {"search_units": -1}}, 1),
    ],
)  # fmt: skip
async def test_a_rerankers_query_costs_as_many_as_it_is_billed_as(
    documents: int, meta: dict[str, Any], queries: int
) -> None:
    answer = {"results": [{"index": 0, "relevance_score": 0.5}], "meta": meta}
    async with gateway(QUERY, Script(body=answer), budgets={"per_key": {"usd": 0.02, "period": "day"}}) as (
        client,
        records,
    ):
        given = ["a"] * documents or {"content": [{"type": "text", "text": "a"}]}  # vLLM's
        asked: dict[str, Any] = {"model": "m", "query": "x", "documents": given}
        await client.post("/rerank", body=asked, cast_to=object)
        with pytest.raises(openai.APIStatusError):
            await client.post("/rerank", body={**asked, "documents": ["a"] * 1001}, cast_to=object)
    assert [record.cost_micro_usd for record in records] == [2000 * queries, 0]


async def test_the_sound_that_was_made_is_counted_by_how_long_it_lasts() -> None:
    frame = b"\xff\xfb\x94\x00" + bytes(380)  # MP3 at 128 kbit/s and 48 kHz: 24 ms
    sound = frame * 250  # 6 s, at 1,250 tokens a minute
    async with gateway(BY_TOKENS, Script(body=sound, content_type="audio/mpeg")) as (client, records):
        await client.audio.speech.create(model="m", voice="alloy", input="Hello")
    [record] = records
    assert (record.usage.output_tokens, record.usage.audio_output_tokens) == (125, 125)
    assert record.usage_source == "estimated"
    assert record.cost_micro_usd == round(record.usage.input_tokens * 0.6 + 125 * 12)


async def test_a_budget_reserves_for_pictures_before_they_are_made() -> None:
    budgets = {"per_key": {"usd": 0.1, "period": "day"}}
    async with gateway(PICTURES, budgets=budgets) as (client, records):
        with pytest.raises(openai.APIStatusError) as refused:
            await client.images.generate(model="m", prompt="a cat", n=3)
        assert refused.value.status_code in (402, 429)
        await client.images.generate(model="m", prompt="a cat", n=2)
        with pytest.raises(openai.APIStatusError):
            await client.images.generate(model="m", prompt="a cat", n=1)
    assert [record.cost_micro_usd for record in records] == [0, 80_000, 0]
