"""OpenAI's SDK speaks Responses through a gateway as it does to OpenAI: made, streamed, parsed, read, gone on from."""

from collections.abc import AsyncIterator

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from pydantic import BaseModel

from crplugins.homes.gateway.app import Gateway
from tests.conftest import serving
from tests.core.dialects.responses_streams import WORDS
from tests.homes.gateway.test_stored_responses import KEYS, words
from tests.homes.keeping_provider import KeepingProvider

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def provider() -> KeepingProvider:
    return KeepingProvider()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def url(provider: KeepingProvider) -> AsyncIterator[str]:
    async with serving(provider) as upstream, serving(Gateway(**words([upstream]))) as url:
        yield f"{url}/v1"


@pytest_asyncio.fixture(loop_scope="module")
async def client(url: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=url, api_key=KEYS["ann"], max_retries=0) as client:
        yield client


async def test_a_response_is_made_read_gone_on_from_and_deleted(client: AsyncOpenAI, url: str) -> None:
    made = await client.responses.create(model="fast", input="Hello")
    assert (made.output_text, made.model, made.status) == (WORDS, "fast", "completed")
    assert made.usage is not None
    assert (made.usage.input_tokens, made.usage.output_tokens) == (70, 50)
    after = await client.responses.create(model="fast", input="And then?", previous_response_id=made.id)
    assert after.previous_response_id == made.id
    assert (await client.responses.retrieve(after.id)).previous_response_id == made.id
    assert (await client.responses.retrieve(made.id)).id == made.id
    assert [item.id async for item in client.responses.input_items.list(made.id)] == ["msg_0"]
    assert (await client.responses.cancel(made.id)).status == "cancelled"
    async with AsyncOpenAI(base_url=url, api_key=KEYS["bob"], max_retries=0) as other:
        with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found."):
            await other.responses.retrieve(made.id)
        with pytest.raises(openai.BadRequestError) as refused:
            await other.responses.create(model="fast", input="Hello", previous_response_id=made.id)
    assert refused.value.code == "previous_response_not_found"
    await client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await client.responses.retrieve(made.id)


async def test_a_response_is_streamed_and_taken_up_again(client: AsyncOpenAI) -> None:
    async with client.responses.stream(model="fast", input="Hello") as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert (final.output_text, final.model) == (WORDS, "fast")
    again = await client.responses.retrieve(final.id, stream=True, starting_after=2)
    events = [event async for event in again]
    assert [event.sequence_number for event in events] == list(range(3, len(kinds)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.id == final.id


class City(BaseModel):
    name: str


async def test_a_response_is_parsed(client: AsyncOpenAI) -> None:
    with pytest.raises(ValueError, match="JSON"):  # the words are none
        await client.responses.parse(model="fast", input="Hello", text_format=City)
    with pytest.raises(openai.BadRequestError) as refused:
        await client.responses.create(model="fast", input="Hello", conversation="conv_1")
    assert refused.value.param == "conversation"


async def test_a_response_in_the_background_is_awaited_and_cancelled(
    client: AsyncOpenAI, provider: KeepingProvider
) -> None:
    made = await client.responses.create(model="fast", input="Hello", background=True)
    assert (made.status, made.background) == ("queued", True)
    assert (await client.responses.retrieve(made.id)).status == "in_progress"
    provider.end()
    done = await client.responses.retrieve(made.id)
    assert (done.id, done.status, done.output_text) == (made.id, "completed", WORDS)
    other = await client.responses.create(model="fast", input="Hello", background=True)
    assert (await client.responses.cancel(other.id)).status == "cancelled"
