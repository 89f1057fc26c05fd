"""LitellmClient: what it knows of a model, and litellm's own mock responses."""

import msgspec
import pytest

from crplugins.core.body import Body
from crplugins.core.network import Network
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.client import LitellmClient
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.testing import FakeProvider
from tests.litellm_setup import ASKING, asking


@pytest.mark.parametrize(
    "model", ["mistral/mistral-small", "openrouter/x/y", "azure/gpt", "xai/grok", "perplexity/sonar"]
)
def test_providers_of_openais_wire_get_parameters_litellm_does_not_list(model):
    client = LitellmClient(load_litellm(), Deployment("m", model), Network())
    arguments = client.learn(model).map.arguments(_body(verbosity="low", x=1))
    assert arguments == {"verbosity": "low", "allowed_openai_params": ["verbosity"], "extra_body": {"x": 1}}


def test_bedrock_and_claude_on_vertex_get_no_extra_body():
    for model in ("bedrock/anthropic.claude-3-5-sonnet-20240620-v1:0", "vertex_ai/claude-sonnet-4"):
        client = LitellmClient(load_litellm(), Deployment("m", model), Network())
        assert "extra_body" not in client.learn(model).map.arguments(_body(x=1, top_k=4))


@pytest.mark.parametrize("provider", ["anthropic", "bedrock", "bedrock/converse", "vertex_ai"])
def test_how_much_claude_is_to_think_reaches_each_of_its_providers(provider):
    name = "claude-opus-4-6" if provider in ("anthropic", "vertex_ai") else "anthropic.claude-opus-4-6-v1"
    client = LitellmClient(load_litellm(), Deployment("m", f"{provider}/{name}"), Network())
    thinks = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}
    arguments = client.learn(f"{provider}/{name}").map.arguments(_body(**thinks))
    assert {name: arguments.get(name) for name in thinks} == thinks


def test_what_is_known_of_a_model_is_looked_up_once():
    client = LitellmClient(load_litellm(), Deployment("m", "openai/*"), Network())
    assert client.learn("openai/a") is client.learn("openai/a")


async def test_a_mock_response_of_the_deployment_ends_as_complete():
    async with FakeProvider() as provider, asking(provider, mock_response="hello there") as asked:
        told = await asked.stream(**ASKING)
        assert told.said("content") == "hello there"
        assert told.finish_reasons() == ["stop"]
        assert told.done
        assert (await asked.plain())["choices"][0]["message"]["content"] == "hello there"
        assert provider.requests == []


def _body(**fields):
    return Body(msgspec.json.encode(fields))
