import asyncio

import aiohttp
import openai
import pytest

from crplugins.testing import FakeProvider, FrozenClock, Script

HELLO = {"model": "fake-model", "messages": [{"role": "user", "content": "Hello there"}]}


async def ask(client: openai.AsyncOpenAI, model: str = "m", text: str = "Hi") -> str | None:
    answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}])
    return answer.choices[0].message.content


async def test_by_default_it_is_the_fake_model(provider: FakeProvider, client: openai.AsyncOpenAI) -> None:
    answer = await client.chat.completions.create(**HELLO)
    assert answer.choices[0].message.content == "You said: Hello there"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 4)
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


async def test_it_streams_with_usage_to_the_official_client(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(**HELLO, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == "You said: Hello there"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 4


async def test_queued_scripts_come_first_then_those_of_the_model(
    provider: FakeProvider, client: openai.AsyncOpenAI
) -> None:
    provider.script("scripted", Script(text="of the model"))
    provider.enqueue(Script(text="first"), Script(text="second"))
    said = [await ask(client, "scripted") for _ in range(3)]
    assert said == ["first", "second", "of the model"]
    assert await ask(client, "openai/scripted") == "of the model"
    assert await ask(client, "other") == "You said: Hi"
    provider.default = Script(text="whatever")
    assert await ask(client, "other") == "whatever"


async def test_errors_reach_the_official_client(provider: FakeProvider, client: openai.AsyncOpenAI) -> None:
    provider.enqueue(Script.rate_limited(3), Script(status=500), Script.error(401, "bad key", code="invalid_api_key"))
    with pytest.raises(openai.RateLimitError) as limited:
        await ask(client)
    assert (limited.value.code, limited.value.response.headers["retry-after"]) == ("rate_limit_exceeded", "3")
    with pytest.raises(openai.InternalServerError):
        await ask(client)
    with pytest.raises(openai.AuthenticationError, match="bad key"):
        await ask(client)


async def test_a_request_that_cannot_be_answered_is_refused(provider: FakeProvider, connect) -> None:
    client = await connect(provider)
    assert (await client.post(b"{")).status == 400
    assert (await client.post({"messages": []})).status == 400
    assert (await client.post(path="/v1/nothing")).status == 404
    assert (await client.post(path="/deep/er/chat/completions?api-version=1")).status == 200
    nameless = {**HELLO, "tools": [{"type": "function", "function": {}}]}
    assert (await client.post(nameless)).status == 500


async def test_every_request_is_logged_with_its_key_and_its_outcome(
    provider: FakeProvider, client: openai.AsyncOpenAI
) -> None:
    await ask(client, "m", "Hi")
    (request,) = await provider.wait_for_requests(1)
    await request.wait_finished()
    assert (request.number, request.method, request.path) == (1, "POST", "/v1/chat/completions")
    assert request.json == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.bearer == "sk-test"
    assert (request.usage, request.completed, request.client_gone) == ((5, 3), True, False)
    provider.clear()
    assert (provider.requests, provider.received) == ([], 0)


async def test_the_log_is_bounded() -> None:
    async with FakeProvider(keep_requests=2) as provider, aiohttp.ClientSession() as session:
        for _ in range(3):
            await session.get(provider.base_url + "/models")
        assert [request.number for request in provider.requests] == [2, 3]
        assert len(await provider.wait_for_requests(3)) == 2


async def test_a_client_that_closes_its_stream_is_seen(provider: FakeProvider, client: openai.AsyncOpenAI) -> None:
    provider.enqueue(Script(text="word " * 100, frame_delay=0.01))
    stream = await client.chat.completions.create(**HELLO, stream=True)
    await anext(stream)
    assert provider.active == 1
    await stream.close()
    request = await provider.last_request.wait_finished()
    assert (request.client_gone, request.completed, request.usage) == (True, False, None)
    await provider.wait_idle()
    assert provider.active == 0


async def test_models_are_listed_and_looked_up() -> None:
    provider = FakeProvider(models=["a", "org/models/b"], now=FrozenClock(time=5.0).time)
    provider.script("c", Script())
    async with provider, openai.AsyncOpenAI(base_url=provider.base_url, api_key="k") as client:
        models = [model async for model in client.models.list()]
        assert [model.id for model in models] == ["a", "org/models/b", "c"]
        assert (models[0].created, models[0].object, models[0].owned_by) == (5, "model", "fake")
        assert (await client.models.retrieve("org/models/b")).id == "org/models/b"
        with pytest.raises(openai.NotFoundError):
            await client.models.retrieve("d")


async def test_it_can_stop_in_the_middle_and_start_again_on_its_port() -> None:
    provider = FakeProvider(default=Script(stall_after=1))
    async with provider, aiohttp.ClientSession() as session:
        url = provider.base_url
        response = await session.post(url + "/chat/completions", json={**HELLO, "stream": True})
        await response.content.readline()
        await provider.stop()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + "/models")
        assert not provider.last_request.client_gone
        await provider.start()
        assert provider.base_url == url
        assert (await session.get(url + "/models")).status == 200
    await provider.stop()


async def test_waiting_for_requests_is_bounded(provider: FakeProvider) -> None:
    with pytest.raises(TimeoutError, match="2 requests"):
        await provider.wait_for_requests(2, within=0.01)


async def test_many_slow_streams_at_once(provider: FakeProvider, connect) -> None:
    provider.default = Script(text="word " * 10, frame_delay=0.02)
    clients = [await connect(provider) for _ in range(200)]
    for client in clients:
        client.send({**HELLO, "stream": True})
    await provider.wait_for_requests(200)
    answers = await asyncio.gather(*(client.read() for client in clients))
    assert {answer.end for answer in answers} == {"done"}
    assert {len(answer.chunks) for answer in answers} == {14}


async def test_who_has_read_a_plain_answer_finds_its_usage_in_the_log(provider: FakeProvider, connect) -> None:
    client = await connect(provider)
    for _ in range(20):
        await client.post(HELLO)
        assert provider.last_request.usage == (7, 4)
        assert provider.last_request.completed


async def test_usage_is_in_the_log_once_it_is_sent_and_not_only_when_the_answer_is_over() -> None:
    counted = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":4,"total_tokens":11}}\n\n'
    script = Script(events=[counted, b"data: [DONE]\n\n"], stall_after=1)
    async with FakeProvider(default=script) as provider, aiohttp.ClientSession() as session:
        async with session.post(provider.base_url + "/chat/completions", json={**HELLO, "stream": True}) as response:
            await response.content.readline()
            assert provider.active == 1
            assert provider.last_request.usage == (7, 4)
        await provider.wait_idle()
        assert provider.last_request.usage == (7, 4)
