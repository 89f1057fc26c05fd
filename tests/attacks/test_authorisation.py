"""Authentication is taken for authorisation: a key opens what it is for, whatever it calls it by."""

import json

import pytest

from tests.attacks.house import KEY, METRICS_TOKEN, NARROW, Door, House, http, json_bytes, question, send

# Names that a key with `models: [m, l, narrow-name]` may not call.
OTHERS = [
    "w/a", "w/m", "v/l", "M", "m ", " m", "m\u0000", "m\u200b", "\uff4d", "m/", "m/../w/a", "./m", "*", "m*", "w/*", "narrow-name/x",
    "Narrow-Name", "openai/m", "openai/served", "served", "m,w/a", "m\nw/a", "m?model=w/a", "m#w/a", "", "null", "m|w/a", "[m]",
]  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_a_key_with_a_list_of_models_calls_no_other(home: House, name: str) -> None:
    answer = home.doors["direct"].post(question(name), key=NARROW)
    assert answer.status in {400, 403, 404}
    assert home.provider.asked == []


# Fields and headers in which another gateway would look for a model or for somebody else.
ELSEWHERE: list[dict[str, object]] = [
    {"models": ["w/a"]}, {"fallbacks": ["w/a"]}, {"extra_body": {"model": "w/a"}}, {"engine": "w/a"}, {"deployment_id": "w/a"},
    {"custom_llm_provider": "w"}, {"base_url": "http://127.0.0.1:1"}, {"api_base": "http://127.0.0.1:1"}, {"api_key": "x"},
    {"litellm_params": {"model": "w/a"}}, {"router_settings_override": {"fallbacks": [{"m": ["w/a"]}]}}, {"mock_response": "x"},
    {"model_list": [{"model_name": "m"}]}, {"route": "fallback"}, {"provider": {"order": ["w"]}}, {"extra_headers": {"x": "y"}},
]  # fmt: skip


@pytest.mark.parametrize("more", ELSEWHERE, ids=lambda more: next(iter(more)))
@pytest.mark.parametrize("handler", ["direct", "litellm"])
def test_no_other_field_names_a_model_an_address_or_a_key(home: House, handler: str, more: dict[str, object]) -> None:
    door = home.doors[handler]
    answer = door.post(
        question(door.model, **more), key=NARROW, headers=b"x-model: w/a\r\nx-api-base: http://127.0.0.1:1\r\n"
    )
    assert answer.status in {200, 400, 404}
    for asked in home.provider.asked:
        assert asked.model == "served"
        assert b"127.0.0.1:1\r" not in asked.head
        assert asked.head.lower().count(b"authorization: bearer sk-upstream") == 1
        assert b"x-api-base" not in asked.head.lower()
    assert len(home.provider.asked) == (1 if answer.status == 200 else 0)


# What OpenRouter and LiteLLM's proxy, as upstreams, take for models besides.
FURTHER: list[tuple[str, object]] = [
    ("models", ["openai/o1-pro"]), ("models", "openai/o1-pro"), ("fallbacks", ["w/a"]), ("fallbacks", [{"m": ["w/a"]}]),
    ("context_window_fallbacks", [{"m": ["w/a"]}]), ("content_policy_fallbacks", [{"m": ["w/a"]}]),
    ("router_settings_override", {"fallbacks": [{"m": ["w/a"]}]}), ("extra_body", {"model": "w/a"}),
    ("deployment_id", "w/a"), ("deploymentId", "w/a"), ("context_window_fallback_dict", {"m": "w/a"}),
    ("extra_body", {"models": ["w/a"]}), ("Models", ["w/a"]), ("extraBody", {"model": "w/a"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), FURTHER, ids=str)
@pytest.mark.parametrize(
    ("path", "asked"),
    [(b"chat/completions", "messages"), (b"completions", "prompt"), (b"responses", "input"), (b"messages", "messages")],
)
def test_no_provider_is_told_of_a_model_besides_the_one_that_was_judged(
    home: House, path: bytes, asked: str, name: str, value: object
) -> None:
    said = [{"role": "user", "content": "hi"}] if asked == "messages" else "hi"
    for model in ("m", "l"):
        body = json_bytes({"model": model, asked: said, "max_tokens": 9, name: value})
        answer = home.doors["direct"].post(body, target=b"/v1/" + path)
        assert answer.status == 400
        assert name.encode() in answer.body
        assert home.provider.asked == []


def test_no_further_model_is_none(home: House) -> None:
    nothing = {"models": None, "fallbacks": [], "extra_body": {}}
    assert home.doors["direct"].post(question("m", **nothing)).status == 200
    chosen = json_bytes({**json.loads(question("m")), "max_tokens": 9, "fallbacks": "default"})
    assert home.doors["direct"].post(chosen, target=b"/v1/messages").status != 400
    assert len(home.provider.asked) == 2
    assert home.doors["direct"].post(chosen).status == 400


# Paths of the gateway that are not every key's, with what a client may show there.
OPERATORS = [
    "/metrics",
    "/admin/keys",
    "/admin/keys/client",
    "/admin/usage",
    "/admin/audit",
    "/admin/limits?key=client",
    "/admin/keys/../../v1/usage",
]
SHOWN = [b"authorization: Bearer " + KEY.encode(), b"authorization: Bearer " + METRICS_TOKEN[:-1].encode(), b"x-api-key: " + KEY.encode(), b""]  # fmt: skip


@pytest.mark.parametrize("path", OPERATORS)
@pytest.mark.parametrize("line", SHOWN)
def test_a_clients_key_is_no_operators_token(home: House, path: str, line: bytes) -> None:
    request = http(path.encode(), b"", line + b"\r\n" if line else b"", key=None, method=b"GET")
    assert send(home.doors["direct"].port, request).status in {401, 403, 404}


QUERIES = [
    b"key=narrow", b"key_id=narrow", b"by=key", b"by=key,model", b"by=model%27--", b"by=model;drop%20table%20usage", b"key=narrow&key=client",
    b"by=model&by=key", b"since=1d%27%20or%20%271%27=%271", b"since=99999999999999999999d", b"since=-1d", b"until=9999-99-99", b"by=", b"by=%00",
    b"by=" + b"model," * 5000,
]  # fmt: skip


@pytest.mark.parametrize("query", QUERIES)
def test_a_key_reads_its_own_usage_alone(home: House, query: bytes) -> None:
    home.doors["direct"].post()
    answer = send(home.doors["direct"].port, http(b"/v1/usage?" + query, b"", key=NARROW, method=b"GET"))
    assert answer.status in {200, 400}
    assert len(answer.body) < 2000
    if answer.status == 200:
        assert all(line.get("key_id") in (None, "narrow") for line in json.loads(answer.body)["data"])


VLLM = [
    (b"POST", b"/v1/load_lora_adapter"), (b"POST", b"/v1/unload_lora_adapter"), (b"POST", b"/sleep"), (b"POST", b"/wake_up"),
    (b"GET", b"/server_info"), (b"POST", b"/reset_prefix_cache"), (b"POST", b"/collective_rpc"), (b"POST", b"/start_profile"),
    (b"POST", b"/update_weights"), (b"GET", b"/docs"), (b"GET", b"/openapi.json"), (b"POST", b"/v1/models/../load_lora_adapter"),
    (b"GET", b"/v1/models/../../server_info"), (b"GET", b"/v1/models/%2e%2e/%2e%2e/server_info"), (b"POST", b"/v1/models/x"),
    (b"GET", b"/hello"), (b"DELETE", b"/v1/chat/completions"), (b"POST", b"/abort_requests"), (b"POST", b"/pause"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), VLLM)
def test_a_key_changes_no_model_server(home: House, method: bytes, path: bytes) -> None:
    door: Door = home.doors["vllm"]
    assert send(door.port, http(path, b"", method=method)).status in {403, 405}
