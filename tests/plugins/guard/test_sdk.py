"""RequestGuard and the official SDK: what it sends passes, and what it reads of a refusal."""

import httpx
import openai
import pytest
from openai.types.chat import completion_create_params

from crplugins.asgi.middleware import PluginMiddleware
from crplugins.plugins.guard.parameters import PARAMETERS
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing import drive
from tests.plugins.guard.setup import check
from tests.schema.samples import EVERYTHING, HI


def sent_by_the_sdk(**parameters: object) -> bytes:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(request.content)
        return httpx.Response(400, json={"error": {"message": "seen"}})

    with httpx.Client(transport=httpx.MockTransport(answer)) as transport:
        client = openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=transport)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(**parameters)
    return bodies[0]


@pytest.mark.parametrize("strict", [False, True])
def test_all_documented_parameters_sent_by_the_sdk_pass(strict):
    assert check(sent_by_the_sdk(**EVERYTHING), strict=strict) is None


def test_the_guard_knows_exactly_the_parameters_of_the_sdk():
    base = completion_create_params.CompletionCreateParamsStreaming
    theirs = {name for kind in base.__mro__ for name in getattr(kind, "__annotations__", {})}
    theirs |= completion_create_params.CompletionCreateParamsBase.__annotations__.keys()
    assert theirs == {"model", "messages", *PARAMETERS}
    assert EVERYTHING.keys() == theirs


async def test_the_sdk_raises_a_refusal_with_all_its_fields():
    async def app(scope, receive, send):
        raise AssertionError("reached")

    raw = sent_by_the_sdk(model="m", messages=[HI], temperature=3)
    answer = await drive(PluginMiddleware(app, plugins=[RequestGuard()]), body=raw)
    response = httpx.Response(answer.status, content=answer.body, headers=answer.headers)

    transport = httpx.MockTransport(lambda request: response)
    client = openai.OpenAI(api_key="k", base_url="http://gateway/v1", http_client=httpx.Client(transport=transport))
    with client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="m", messages=[HI], temperature=3)
    assert (caught.value.param, caught.value.code) == ("temperature", "decimal_above_max_value")
    assert caught.value.type == "invalid_request_error"
