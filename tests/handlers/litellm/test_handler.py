"""The litellm handler as its callers see it."""

import asyncio

import pytest

from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.handler import LitellmHandler
from crplugins.handlers.upstream import UpstreamUnknown
from crplugins.testing import FakeProvider, Script
from tests.litellm_setup import ASKING, asking


async def test_a_plain_answer_has_its_length_and_a_stream_has_none():
    async with FakeProvider() as provider, asking(provider) as asked:
        plain = await asked.reply()
        assert plain.status == 200
        assert plain.headers == [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(plain.body)).encode()),
        ]
        stream = await asked.reply(stream=True)
        assert stream.headers == [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
        ]
        await stream.body.aclose()


async def test_the_exchange_learns_the_model_and_the_attempts():
    async with FakeProvider() as provider, asking(provider, "openrouter/openai/fake-model") as asked:
        await asked.plain()
        assert asked.exchange.served_model == "openai/fake-model"
        assert len(asked.exchange.attempts) == 1


async def test_a_wildcard_is_replaced_by_the_requested_model():
    async with FakeProvider() as provider, asking(provider, "openai/*", name="any-*") as asked:
        await asked.plain(model="any-gpt")
        assert provider.last_request.model == "gpt"


async def test_a_model_whose_provider_litellm_does_not_know_is_not_found():
    async with FakeProvider() as provider, asking(provider, "*", name="*") as asked:
        refusal = await asked.refusal(model="nobody-knows-this")
        assert (refusal.status, refusal.error.code) == (404, "model_not_found")


async def test_a_model_litellm_cannot_place_is_found_out_at_start_up():
    with pytest.raises(UpstreamUnknown, match="odd-name"):
        async with LitellmHandler(Deployment("odd-name", "what-is-this")):
            pass


@pytest.mark.parametrize("status", [400, 422])
async def test_a_provider_that_refuses_stream_options_is_asked_again_without_them_and_remembered(status):
    async with FakeProvider(default=Script(refuse_stream_options=status)) as provider, asking(provider) as asked:
        for attempts in (2, 1):
            told = await asked.stream(**ASKING)
            assert told.done
            assert len(asked.exchange.attempts) == attempts
        assert ["stream_options" in r.json for r in provider.requests] == [True, False, False]


async def test_another_refusal_is_not_answered_with_a_second_attempt():
    async with FakeProvider() as provider, asking(provider) as asked:
        provider.enqueue(Script.error(400, "Bad temperature.", param="temperature"))
        assert (await asked.refusal(stream=True, **ASKING)).error.param == "temperature"
        assert len(provider.requests) == 1


async def test_failures_are_not_retried():
    async with (
        FakeProvider(default=Script(status=503)) as provider,
        asking(provider, max_retries=3, num_retries=3) as asked,
    ):
        assert (await asked.refusal()).status == 503
        assert len(provider.requests) == 1


async def test_an_upstream_refusal_before_the_first_byte_of_a_stream_is_a_status():
    async with FakeProvider() as provider, asking(provider) as asked:
        provider.enqueue(Script.rate_limited(20))
        refusal = await asked.refusal(stream=True)
        assert refusal.status == 429
        assert (b"retry-after", b"20") in refusal.headers


async def test_behind_a_gateway_a_cut_stream_ends_with_an_error_frame_and_done(behind):
    async with behind(handler="litellm") as gateway:
        gateway.provider.enqueue(Script(text="one two three", cut_after=3))
        answer = await gateway.post(stream=True)
        *_, error, done = answer.text.removesuffix("\n\n").split("\n\n")
        assert '"code":"upstream_incomplete"' in error
        assert done == "data: [DONE]"


async def test_behind_a_gateway_a_client_that_leaves_ends_the_providers_work(behind):
    async with behind(handler="litellm") as gateway:
        gateway.provider.default = Script(stall_after=2)
        async with gateway.open(stream=True) as response:
            await response.content.readany()
        request = await gateway.provider.requests[0].wait_finished()
        assert request.client_gone
        gateway.provider.default = Script(delay=3600)
        plain = asyncio.create_task(gateway.post())
        [_, request] = await gateway.provider.wait_for_requests(2)
        plain.cancel()
        assert (await request.wait_finished()).client_gone
