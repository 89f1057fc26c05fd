"""The official OpenAI SDK against the gateway, over real sockets, through both handlers."""

import openai
import pydantic
import pytest

from crplugins.testing import Script
from tests.gateway_setup import CLIENT_KEY, HELLO, behind

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture(params=["direct", "litellm"])
async def gateway(serve, request):
    async with behind(serve)(handler=request.param) as setup:
        yield setup


@pytest.fixture
async def client(gateway):
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=CLIENT_KEY, max_retries=0) as sdk:
        yield sdk.chat.completions


async def collect(stream):
    return [chunk async for chunk in stream]


async def test_a_plain_answer_has_text_usage_and_a_request_id(client):
    answer = await client.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "You said: hi"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert len(answer._request_id) == 36


async def test_a_stream_joins_to_the_same_text_under_one_id(client):
    chunks = await collect(await client.create(model="m", messages=HELLO, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "You said: hi"
    assert [c.choices[0].finish_reason for c in chunks][-1] == "stop"
    assert len({(c.id, c.created, c.model, c.object) for c in chunks}) == 1
    assert not [c for c in chunks if c.usage is not None]


async def test_usage_comes_on_exactly_one_chunk_for_a_client_that_asked(client):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = await collect(await client.create(model="m", messages=HELLO, **options))
    plain = await client.create(model="m", messages=HELLO)
    *others, last = chunks
    assert (last.choices, last.usage.total_tokens) == ([], plain.usage.total_tokens)
    assert all("usage" in c.model_fields_set and c.usage is None for c in others)


async def test_a_tool_is_called_plain_and_streamed(client):
    options = {"model": "m", "messages": HELLO, "tools": [WEATHER], "tool_choice": "required"}
    answer = await client.create(**options)
    call = answer.choices[0].message.tool_calls[0]
    assert (call.function.name, answer.choices[0].finish_reason) == ("get_weather", "tool_calls")
    async with client.stream(**options) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("stream", [False, True])
async def test_three_choices_each_have_their_text_and_their_end(client, stream):
    answer = await client.create(model="m", messages=HELLO, n=3, stream=stream)
    if not stream:
        assert [c.index for c in answer.choices] == [0, 1, 2]
        assert all(c.message.content and c.finish_reason == "stop" for c in answer.choices)
        return
    choices = [choice for chunk in await collect(answer) for choice in chunk.choices]
    for index in range(3):
        own = [c for c in choices if c.index == index]
        assert [c.delta.role for c in own if c.delta.role] == ["assistant"]
        assert [c.finish_reason for c in own if c.finish_reason] == ["stop"]
        assert "".join(c.delta.content or "" for c in own)


async def test_logprobs_arrive(client):
    answer = await client.create(model="m", messages=HELLO, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert content
    assert all(len(token.top_logprobs) == 2 for token in content)


async def test_structured_output_is_parsed(client):
    answer = await client.parse(model="m", messages=HELLO, response_format=Person)
    assert isinstance(answer.choices[0].message.parsed, Person)


async def test_a_length_limit_shows_as_finish_reason(client):
    answer = await client.create(model="m", messages=[{"role": "user", "content": "count to 50"}], max_tokens=3)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        (400, ("bad", "invalid_request_error", "temperature"), openai.BadRequestError),
        (401, ("Incorrect API key provided",), openai.InternalServerError),
        (404, ("no model", "invalid_request_error", None, "model_not_found"), openai.NotFoundError),
        (422, ("bad",), openai.UnprocessableEntityError),
        (429, ("slow", "requests", None, "rate_limit_exceeded"), openai.RateLimitError),
        (500, ("boom", "server_error"), openai.InternalServerError),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_of_the_upstream_is_the_right_exception_with_a_request_id(
    gateway, client, status, error, raised, stream
):
    gateway.provider.enqueue(Script.error(status, *error))
    with pytest.raises(raised) as caught:
        await client.create(model="m", messages=HELLO, stream=stream)
    assert caught.value.request_id
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert "litellm" not in str(caught.value).lower()


async def test_a_wrong_key_and_an_unknown_model_are_the_right_exceptions(gateway, client):
    with pytest.raises(openai.NotFoundError, match="`nope` does not exist"):
        await client.create(model="nope", messages=HELLO)
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key="sk-wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.chat.completions.create(model="m", messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.request_id


@pytest.mark.parametrize("fault", [{"cut_after": 3}, {"reset_after": 3}, {"close_after": 3}])
async def test_a_stream_that_breaks_raises_after_its_first_chunks(gateway, client, fault):
    gateway.provider.enqueue(Script(text="one two three four five six", frame_delay=0.01, **fault))
    stream = await client.create(model="m", messages=HELLO, stream=True)
    seen = []
    with pytest.raises(openai.APIError):
        async for chunk in stream:
            seen.append(chunk)  # the point is how far it came
    assert seen


async def test_models_are_listed_and_found(client, gateway):
    async with openai.AsyncOpenAI(base_url=gateway.url + "/v1", api_key=CLIENT_KEY) as sdk:
        assert [m.id async for m in sdk.models.list()] == ["m"]
        assert (await sdk.models.retrieve("m")).id == "m"
