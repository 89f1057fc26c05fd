"""ModelAliases in a whole gateway, on real sockets, before a scripted provider."""

import json
from contextlib import asynccontextmanager

import aiohttp
import pytest

from crplugins.core.plugin import Plugin
from crplugins.core.principal import Principal
from crplugins.homes.gateway.app import Gateway
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.testing import FakeProvider, Script
from tests.core.dialects.responses_streams import frames
from tests.core.doubles import Watcher
from tests.gateway_setup import CLIENT_KEY, UPSTREAM_KEY, Setup

ALIASES = {"fast": "m", "gpt-3.5*": "m", "lost": "not-served", "canary": [{"model": "m"}, {"model": "m2"}]}


class Restrict(Plugin):
    """Stands for a key with a list of models."""

    async def on_request(self, exchange):
        exchange.principal = Principal("team-a", models=("fast", "gpt-3.5*", "lost"))


@pytest.fixture
def aliased(serve):
    @asynccontextmanager
    async def start(*plugins, script=None):
        async with FakeProvider() as provider:
            if script is not None:
                provider.default = script
            base = {"api_base": provider.base_url, "api_key": UPSTREAM_KEY}
            models = [
                {"model_name": name, "litellm_params": {"model": f"openai/{model}", **base}, "handler": "direct"}
                for name, model in (("m", "vendor/upstream-1"), ("m2", "vendor/upstream-2"))
            ]
            app = Gateway(model_list=models, keys=[{"id": "team-a", "secret": CLIENT_KEY}],
                          plugins=[*plugins, ModelAliases(aliases=ALIASES)])  # fmt: skip
            async with serve(app) as url, aiohttp.ClientSession() as session:
                yield Setup(provider, url, session)

    return start


@pytest.mark.parametrize("model", ["fast", "gpt-3.5-turbo", "m"])
async def test_the_provider_gets_its_own_name_and_the_client_its_own(aliased, model):
    watcher = Watcher()
    async with aliased(watcher) as gateway:
        answer = await gateway.post(model=model)
        stream = await gateway.post(model=model, stream=True)
        assert [json.loads(request.body)["model"] for request in gateway.provider.requests] == ["vendor/upstream-1"] * 2
    assert json.loads(answer.body)["model"] == model
    chunks = [json.loads(line[6:]) for line in stream.text.split("\n") if line.startswith("data: {")]
    assert {chunk["model"] for chunk in chunks} == {model}
    assert "upstream-" not in answer.text + stream.text + str(answer.headers) + str(stream.headers)
    assert (watcher.exchange.requested_model, watcher.exchange.served_model) == (model, "vendor/upstream-1")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_of_the_provider_names_the_requested_model(aliased, stream):
    script = Script.error(404, "The model `vendor/upstream-1` does not exist", code="model_not_found")
    async with aliased(script=script) as gateway:
        answer = await gateway.post(model="fast", stream=stream)
    assert (answer.status, json.loads(answer.body)["error"]["message"]) == (404, "The model `fast` does not exist")


async def test_an_error_in_mid_stream_names_the_requested_model(aliased):
    chunk = b'data: {"model":"vendor/upstream-1","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
    error = b'data: {"error":{"message":"vendor/upstream-1 is overloaded","code":400}}\n\n'
    async with aliased(script=Script(events=[chunk, error])) as gateway:
        answer = await gateway.post(model="fast", stream=True)
    assert answer.text.startswith(chunk.decode().replace("vendor/upstream-1", "fast"))
    assert "fast is overloaded" in answer.text
    assert "upstream-1" not in answer.text


async def test_an_error_behind_the_first_word_of_a_response_names_the_requested_model(aliased):
    told = {"code": "invalid_prompt", "message": "vendor/upstream-1 cannot do it"}
    state = {"object": "response", "id": "r", "model": "vendor/upstream-1", "output": []}
    said = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "i", "delta": "Hi"}
    for failure in (
        {"type": "error", "param": None, **told},
        {"type": "response.failed", "response": state | {"status": "failed", "error": told}},
    ):
        begun = {"type": "response.created", "response": state | {"status": "in_progress"}}
        events = [frames([event]) for event in (begun, said, failure)]
        async with aliased(script=Script(events=events)) as gateway:
            asked = {"model": "fast", "input": "hi", "stream": True}
            async with gateway.session.post(gateway.url + "/v1/responses", json=asked, headers=gateway.headers) as sent:
                answer = await sent.text()
        assert answer.count("fast cannot do it") == 2  # at the top of the event, and in its `error`
        assert "upstream-1" not in answer


async def test_hidden_unknown_and_unserved_names_get_the_same_bytes(aliased):
    async with aliased(Restrict()) as gateway:
        answers = [
            await gateway.post(model=name, stream=stream) for name in ("m2", "nope", "lost") for stream in (False, True)
        ]
        allowed = await gateway.post(model="fast")
    bodies = {a.text.replace("m2", "X").replace("nope", "X").replace("lost", "X") for a in answers}
    assert {answer.status for answer in answers} == {404}
    assert len(bodies) == 1
    assert {tuple(sorted(answer.headers)) for answer in answers} == {tuple(sorted(answers[0].headers))}
    assert allowed.status == 200
