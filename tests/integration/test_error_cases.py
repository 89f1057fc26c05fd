"""Requests that OpenAI refuses, sent over a real socket; the exact body of each answer."""

import io
import json

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway

KEY = "sk-errors-0123456789"
HI = [{"role": "user", "content": "hi"}]
PARSE = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library "
    "correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble "
    "figuring out how to fix this, please contact us through our help center at help.openai.com.)"
)
NO_KEY = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. "
    "Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your "
    "browser and are prompted for a username and password. You can obtain an API key from whoever runs this gateway."
)
WRONG_KEY = "Incorrect API key provided: sk-****0000. You can obtain an API key from whoever runs this gateway."
"""No more of the key than its end."""
NO_MODEL = "The model `gpt-nope` does not exist or you do not have access to it."


def bad_value(name: str, rest: str) -> str:
    return f"Invalid '{name}': {rest}"


ABOVE, BELOW = "decimal above maximum value. Expected a value <=", "decimal below minimum value. Expected a value >="
INT_ABOVE, INT_BELOW = (
    "integer above maximum value. Expected a value <=",
    "integer below minimum value. Expected a value >=",
)
ONE_ITEM = "empty array. Expected an array with minimum length 1, but got an empty array instead."

# what is added to a good request (None takes a key out) -> param, code, message
PARAMETERS = {
    "no-model": ({"model": None}, None, None, "you must provide a model parameter"),
    "no-messages": ({"messages": None}, "messages", "missing_required_parameter", "Missing required parameter: 'messages'."),
    "messages-empty": ({"messages": []}, "messages", "empty_array", bad_value("messages", ONE_ITEM)),
    "temperature-high": ({"temperature": 3}, "temperature", "decimal_above_max_value",
                         bad_value("temperature", f"{ABOVE} 2, but got 3 instead.")),
    "temperature-low": ({"temperature": -1}, "temperature", "decimal_below_min_value",
                        bad_value("temperature", f"{BELOW} 0, but got -1 instead.")),
    "temperature-string": ({"temperature": "hot"}, "temperature", "invalid_type",
                           "Invalid type for 'temperature': expected a decimal, but got a string instead."),
    "top_p-high": ({"top_p": 1.5}, "top_p", "decimal_above_max_value", bad_value("top_p", f"{ABOVE} 1, but got 1.5 instead.")),
    "penalty-low": ({"presence_penalty": -3}, "presence_penalty", "decimal_below_min_value",
                    bad_value("presence_penalty", f"{BELOW} -2, but got -3 instead.")),
    "n-zero": ({"n": 0}, "n", "integer_below_min_value", bad_value("n", f"{INT_BELOW} 1, but got 0 instead.")),
    "n-129": ({"n": 129}, "n", "integer_above_max_value", bad_value("n", f"{INT_ABOVE} 128, but got 129 instead.")),
    "max_tokens": ({"max_tokens": -1}, "max_tokens", "integer_below_min_value",
                   bad_value("max_tokens", f"{INT_BELOW} 1, but got -1 instead.")),
    "stop-5": ({"stop": list("abcde")}, "stop", "array_above_max_length", bad_value(
        "stop", "array too long. Expected an array with maximum length 4, but got an array with length 5 instead.")),
    "top_logprobs-alone": ({"top_logprobs": 3}, "top_logprobs", None,
                           "The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled."),
    "stream_options-alone": ({"stream_options": {"include_usage": True}}, "stream_options", None,
                             "The 'stream_options' parameter is only allowed when 'stream' is enabled."),
    "parallel-null": ({"parallel_tool_calls": Ellipsis}, "parallel_tool_calls", "invalid_type",
                      "Invalid type for 'parallel_tool_calls': expected a boolean, but got null instead."),
    "bad-role": ({"messages": [{"role": "bot", "content": "hi"}]}, "messages[0].role", "invalid_value",
                 "Invalid value: 'bot'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and "
                 "'developer'."),
    "empty-tool_calls": ({"messages": [*HI, {"role": "assistant", "content": "x", "tool_calls": []}, *HI]},
                         "messages[1].tool_calls", "empty_array", bad_value("messages[1].tool_calls", ONE_ITEM)),
}  # fmt: skip


@pytest.fixture
async def call(serve):
    models = [{"model_name": "m", "litellm_params": {"model": "openai/x", "api_base": "http://127.0.0.1:1/v1"}}]
    app = Gateway(model_list=models, keys=[{"id": "k", "secret": KEY}], guard={"strict": True})
    async with serve(app) as url, aiohttp.ClientSession() as session:

        async def send(data=None, method="POST", path="/v1/chat/completions", authorization=f"Bearer {KEY}", **headers):
            if authorization is not None:
                headers["authorization"] = authorization
            headers.setdefault("content-type", "application/json")
            async with session.request(method, url + path, data=data, headers=headers) as answer:
                assert answer.headers["content-type"] == "application/json"
                assert answer.headers["x-request-id"]
                body = await answer.json()
                assert body.keys() == {"error"}
                assert body["error"].keys() == {"message", "type", "param", "code"}
                return answer.status, body["error"]

        yield send


def invalid(message, param=None, code=None):
    return {"message": message, "type": "invalid_request_error", "param": param, "code": code}


def body(**changes) -> bytes:
    document = {"model": "m", "messages": HI, **changes}
    return json.dumps({k: None if v is Ellipsis else v for k, v in document.items() if v is not None}).encode()


@pytest.mark.parametrize("case", PARAMETERS)
async def test_a_bad_parameter_has_openais_exact_body(call, case):
    changes, param, code, message = PARAMETERS[case]
    assert await call(body(**changes)) == (400, invalid(message, param, code))


async def test_an_unknown_parameter_is_refused_in_strict_mode(call):
    expected = invalid("Unknown parameter: 'conformance_xyz'.", "conformance_xyz", "unknown_parameter")
    assert await call(body(conformance_xyz=1)) == (400, expected)


@pytest.mark.parametrize("raw", [b'{"model": ', b"", b"[]", b'{"model":"\xff"', b"null", b"[" * 50_000, b'{"a":NaN}'])
async def test_a_body_that_is_no_json_object_has_openais_exact_body(call, raw):
    assert await call(raw) == (400, invalid(PARSE))


async def test_missing_and_wrong_keys_have_openais_exact_bodies(call):
    assert await call(body(), authorization=None) == (401, invalid(NO_KEY))
    assert await call(body(), authorization="Basic dXNlcjpwYXNz") == (401, invalid(NO_KEY))
    wrong = "Bearer sk-conformance-wrong-key-0000"
    assert await call(body(), authorization=wrong) == (401, invalid(WRONG_KEY, code="invalid_api_key"))
    status, error = await call(None, "GET", "/v1/models", authorization=wrong)
    assert (status, error) == (401, invalid(WRONG_KEY, code="invalid_api_key"))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unknown_model_is_a_404_also_for_a_stream(call, stream):
    assert await call(body(model="gpt-nope", stream=stream)) == (404, invalid(NO_MODEL, code="model_not_found"))


async def test_a_key_is_asked_for_before_the_body_is_looked_at(call):
    assert (await call(b"{", authorization=None))[0] == 401


async def test_32_mib_are_refused_with_a_413_that_the_client_can_read(call):
    status, error = await call(io.BytesIO(b" " * 33_554_432))
    assert status == 413
    assert error["message"] == "Maximum content size limit (10485760) exceeded (33554432 bytes read)"


async def test_unknown_paths_and_methods_are_told(call):
    assert await call(body(), path="/v1/chat/completion") == (404, invalid("Invalid URL (POST /v1/chat/completion)"))
    assert (await call(None, "DELETE"))[0] == 405
