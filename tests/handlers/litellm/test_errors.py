"""Failures inside litellm, as the client sees them."""

from typing import Any

import httpx
import pytest

from crplugins import Gateway
from crplugins.core.errors import GatewayError
from crplugins.handlers.litellm.errors import Failures
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving
from tests.litellm_setup import HELLO, KEY, asking

MODELS = ["openai/fake-model", "hosted_vllm/fake-model", "groq/fake-model", "anthropic/fake-model"]


@pytest.fixture(params=[False, True], ids=["plain", "stream"])
def stream(request):
    return request.param


@pytest.fixture(params=MODELS)
def model(request):
    return request.param


ANTHROPICS = {404: "not_found_error", 413: "request_too_large"}
"""Its own words for an error, which are passed on."""


@pytest.mark.parametrize("status", [400, 404, 408, 409, 413, 422, 429])
async def test_a_refusal_keeps_status_message_type_param_code_and_retry_hint(model, stream, status):
    script = Script.error(
        status, "No such thing.", "invalid_request_error", "top_p", "odd", headers={"retry-after": "7"}
    )
    async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
        provider.enqueue(script)
        error = await asked.refusal(stream=stream)
        assert error.status == status
        assert error.error.message == "No such thing."
        kind = ANTHROPICS.get(status, "") if model.startswith("anthropic") else ""
        assert error.error.type == ("requests" if status == 429 else kind or "invalid_request_error")
        assert (error.error.param, error.error.code) == ("top_p", "odd")
        assert error.headers == [(b"retry-after", b"7")]
        assert len(provider.requests) == 1


async def test_a_wait_with_words_outside_ascii_costs_neither_the_refusal_nor_its_seconds(model, stream):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        provider.enqueue(Script.rate_limited(None, {"retry-after": "5 s\xe9condes", "x-region": "\xcele-de-France"}))
        error = await asked.refusal(stream=stream)
        assert (error.status, error.headers) == (429, [(b"retry-after", b"5")])


async def test_other_headers_outside_ascii_change_nothing(model, stream):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        provider.enqueue(
            Script.error(503, "busy", headers={"x-region": "\xcele-de-France"}),
            Script.error(404, "No such thing.", headers={"x-region": "\xcele-de-France"}),
        )
        assert [(await asked.refusal(stream=stream)).status for _ in range(2)] == [503, 404]


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_of_our_own_credentials_is_not_the_clients_fault(model, stream, status):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        provider.enqueue(Script.error(status, f"Incorrect API key provided: {KEY}"))
        error = await asked.refusal(stream=stream)
        assert (error.status, error.error.code) == (502, "upstream_auth")
        assert KEY not in error.error.message


@pytest.mark.parametrize("status", [500, 502, 503, 504, 529])
async def test_a_failure_of_the_provider_gets_a_sentence_of_ours(model, stream, status):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        provider.enqueue(Script.error(status, "worker 10.0.0.7:8000 died", headers={"retry-after": "3"}))
        error = await asked.refusal(stream=stream)
        assert error.status == status
        assert (error.error.type, error.error.code) == ("server_error", "upstream_error")
        assert "10.0.0.7" not in error.error.message
        assert error.headers == [(b"retry-after", b"3")]


async def test_a_page_of_html_is_not_shown(model):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        provider.enqueue(Script(status=404, body=b"<html>nginx at 10.0.0.7</html>", content_type="text/html"))
        error = await asked.refusal()
        assert error.status == 404
        assert error.error.message == "The model provider does not know this model or path."


async def test_secrets_addresses_and_litellms_prefixes_are_scrubbed(model, stream):
    async with FakeProvider() as provider, asking(provider, model) as asked:
        leak = (
            f"litellm.BadRequestError: OpenAIException - bad call of {provider.base_url} with {KEY} at db.internal:5432"
        )
        provider.enqueue(Script.error(400, leak))
        message = (await asked.refusal(stream=stream)).error.message
        for secret in (KEY, "127.0.0.1", str(provider.port), "litellm", "OpenAIException", "db.internal"):
            assert secret not in message
        assert "bad call of" in message


async def test_a_refused_connection_is_unreachable(model, stream):
    async with FakeProvider() as provider, asking(provider, model, api_base="http://127.0.0.1:9/v1") as asked:
        error = await asked.refusal(stream=stream)
        assert (error.status, error.error.code) == (502, "upstream_unreachable")
        assert "127.0.0.1" not in error.error.message


async def test_the_connection_breaks_before_the_answer(model, stream):
    async with FakeProvider(default=Script(refuse_connection=True)) as provider, asking(provider, model) as asked:
        provider.enqueue(*[Script(refuse_connection=True)] * 3)  # litellm's Anthropic client tries twice
        error = await asked.refusal(stream=stream)
        assert (error.status, error.error.code) == (502, "upstream_unreachable")


async def test_the_provider_does_not_answer_in_time(model, stream):
    async with FakeProvider() as provider, asking(provider, model, patience=0.5) as asked:
        provider.enqueue(Script(delay=3600))
        error = await asked.refusal(stream=stream)
        assert (error.status, error.error.code) == (504, "upstream_timeout")
        assert (await provider.requests[0].wait_finished()).client_gone


async def test_an_answer_that_is_no_json_is_malformed():
    async with FakeProvider() as provider, asking(provider) as asked:
        provider.enqueue(Script(body=b"<html>oops</html>"))
        error = await asked.refusal()
        assert (error.status, error.error.code) == (502, "upstream_malformed")


async def test_a_parameter_litellm_refuses_by_itself_is_named():
    async with FakeProvider() as provider, asking(provider, "anthropic/fake-model") as asked:
        error = await asked.refusal(logit_bias={"1": 2})
        assert error.status == 400
        assert error.error.message == "Unsupported parameter: 'logit_bias' is not supported with this model."
        assert (error.error.type, error.error.param) == ("invalid_request_error", "logit_bias")
        assert error.error.code == "unsupported_parameter"
        assert provider.requests == []


async def test_a_picture_that_cannot_be_downloaded_is_the_fault_of_its_address():
    async with FakeProvider() as provider, asking(provider, "gemini/fake-model") as asked:
        picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/picture.png"}}
        error = await asked.refusal(messages=[{"role": "user", "content": [picture]}])
        assert (error.status, error.error.type, error.error.code) == (400, "invalid_request_error", "invalid_image_url")
        assert "127.0.0.1" not in error.error.message
        assert provider.requests == []


def called(arguments: str, *, result: str = "a") -> list[Any]:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [{"role": "user", "content": "hi"}, said, {"role": "tool", "tool_call_id": result, "content": "r"}]


PICTURE_OF_NONE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "nonsense"}}]}]


@pytest.mark.parametrize(
    ("model", "messages"),
    [
        ("gemini/m", called("{no json")), ("gemini/m", called("{}", result="b")),
        ("gemini/m", PICTURE_OF_NONE), ("anthropic/m", called("{no json")), ("anthropic/m", PICTURE_OF_NONE),
        ("ollama_chat/m", called("{no json")), ("bedrock/amazon.nova-pro-v1:0", PICTURE_OF_NONE),
    ],
)  # fmt: skip
async def test_what_cannot_be_written_for_a_provider_is_the_fault_of_the_request(model, messages, stream):
    """Not the provider's, which was sent nothing: whoever took it for that would send nobody there for a while."""
    aws = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "eu-north-1"}
    async with FakeProvider() as provider, asking(provider, model, **(aws if "bedrock" in model else {})) as asked:
        error = await asked.refusal(messages=messages, stream=stream)
        assert (error.status, error.error.type, error.error.code) == (400, "invalid_request_error", "unsupported_value")
        assert error.error_type == "invalid_request"
        assert all(request.path.endswith("/api/show") for request in provider.requests)  # what a model of Ollama takes


async def test_an_address_that_bedrock_would_have_downloaded_is_the_fault_of_the_request():
    aws = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "aws_region_name": "eu-north-1"}
    async with FakeProvider() as provider, asking(provider, "bedrock/amazon.nova-pro-v1:0", **aws) as asked:
        picture = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/picture.png"}}
        error = await asked.refusal(messages=[{"role": "user", "content": [picture]}])
        assert (error.status, error.error.code) == (400, "invalid_image_url")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("model", ["openai/m", "anthropic/m", "azure/m"])
async def test_no_redirection_is_followed(model, status, stream):
    """It would be sent the prompt, and the operator's key in the headers of Anthropic and Azure."""
    async with FakeProvider() as elsewhere:
        script = Script(status=status, headers={"location": f"{elsewhere.base_url}/chat/completions"}, body={})
        async with FakeProvider(default=script) as provider, asking(provider, model) as asked:
            error = await asked.refusal(stream=stream)
            assert (error.status, error.error_type) == (502, "upstream_5xx")
            assert len(provider.requests) == 1
        assert elsewhere.requests == []


async def test_a_setting_of_the_operators_that_litellm_refuses_is_no_fault_of_the_request():
    async with FakeProvider() as provider, asking(provider, "bedrock/m", aws_region_name="no region!") as asked:
        assert (await asked.refusal()).status == 500


async def test_what_one_provider_cannot_be_sent_is_sent_to_another_and_the_first_stays_well():
    async with FakeProvider() as gemini, FakeProvider() as openai:
        models = [
            {"model_name": "m", "litellm_params": {"model": name, "api_base": base, "api_key": KEY, "order": order}}
            for order, (name, base) in enumerate((("gemini/m", gemini.base_url), ("openai/m", openai.base_url)))
        ]
        app = Gateway(model_list=models, keys=[{"id": "a", "secret": KEY}], num_retries=0, cooldown_time=600)
        async with serving(app) as url, httpx.AsyncClient(base_url=url, headers={"x-api-key": KEY}) as client:
            await app.loaded()
            for _ in range(4):
                body = {"model": "m", "messages": called("{no json")}
                assert (await client.post("/v1/chat/completions", json=body)).status_code == 200
            assert (len(gemini.requests), len(openai.requests)) == (0, 4)
            await client.post("/v1/chat/completions", json={"model": "m", "messages": HELLO})
            assert len(gemini.requests) == 1


async def test_drop_params_of_the_deployment_drops_it_instead(cassettes):
    async with (
        FakeProvider(cassettes=cassettes) as provider,
        asking(provider, "anthropic/replay-anthropic-cache-ping", drop_params=True) as asked,
    ):
        assert (await asked.stream(logit_bias={"1": 2})).done
        assert "logit_bias" not in provider.last_request.json


async def test_a_context_that_overflows_has_openais_code_whatever_the_provider_calls_it():
    async with FakeProvider() as provider, asking(provider, "anthropic/fake-model") as asked:
        message = "prompt is too long: 204807 tokens > 200000 maximum"
        error = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
        provider.enqueue(Script(status=400, body=error))
        refusal = await asked.refusal()
        assert (refusal.status, refusal.error.code) == (400, "context_length_exceeded")
        assert refusal.error.message == message


def test_the_cause_is_unwrapped_from_litellms_mid_stream_error():
    class MidStreamFallbackError(Exception):
        original_exception = GatewayError(429, "slow down", type="requests")

    assert Failures("m", ()).of(MidStreamFallbackError()) is MidStreamFallbackError.original_exception


def test_a_list_around_googles_error_object_is_opened():
    class VertexError(Exception):
        status_code = 400
        message = '[{"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT"}}]'

    error = Failures("m", ()).of(VertexError())
    assert (error.status, error.error.message, error.error.code) == (400, "Invalid value", None)


@pytest.mark.parametrize(("type", "status"), [("overloaded_error", 529), ("rate_limit_error", 429), ("api_error", 500)])
def test_anthropics_error_types_stand_for_a_status(type, status):
    assert Failures("m", ()).in_stream({"type": type, "message": "x"}).status == status


def test_a_bug_in_litellm_is_not_shown():
    error = Failures("m", ()).of(AttributeError("'NoneType' object has no attribute 'secret_name'"))
    assert error.status == 502
    assert "secret_name" not in error.error.message
