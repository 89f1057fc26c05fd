"""Every wrong key and value is named, with its line and the nearest known key, all at once and without its value."""

import pytest

from crplugins.config import Config, ConfigError, parse_config

MODEL = "model_list: [{model_name: m, litellm_params: {model: openai/m}}]\n"


def test_a_misspelt_parameter_is_named_with_its_line_and_the_nearest_key(refuse):
    text = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/m
      api_bse: https://api.example.com/v1
"""
    assert refuse(text) == ["line 5: model_list[0].litellm_params.api_bse: unknown key, did you mean 'api_base'?"]


def test_the_text_of_an_error_begins_with_the_file(load):
    with pytest.raises(ConfigError, match=r"^gateway\.yaml, line 2: server\.prot: unknown key, did you mean 'port'\?$"):
        load("server:\n  prot: 4000\n")


def test_a_key_near_no_known_one_gets_the_list_of_them(refuse):
    assert refuse(MODEL + "zzz: 1\n") == [
        "line 2: zzz: unknown key, known are " + ", ".join(sorted(Config.model_fields))
    ]


@pytest.mark.parametrize("key", ["sk-a-0123456789", "secret sk-abcdef", "hash9f86d081884c7d65", "a" * 60])
def test_a_key_that_is_no_name_is_not_shown_for_it_may_be_a_secret_whose_colon_was_forgotten(refuse, key):
    problems = refuse(f"{MODEL}keys: [{{id: a, {key}}}]\n")
    assert problems[0].startswith("line 2: keys[0]: has a key that is no name, known are admin, aliases")
    assert key not in "\n".join(problems)


def test_all_problems_come_at_once_in_the_order_of_the_file(refuse):
    text = """\
model_lst: []
model_list:
  - model_name: 5
    litellm_params: {modle: openai/m, timeout: 0}
    handler: drect
  - litellm_params: openai/m
keys:
  - {id: a, secret: 12345678}
  - {id: "", secret: "with space "}
server: {port: 70000, hosts: x, max_body_bytes: true, stream_keep_alive_seconds: soon}
guard: {strict: 3}
"""
    assert refuse(text) == [
        "line 1: model_lst: unknown key, did you mean 'model_list'?",
        "line 3: model_list[0].model_name: must be text, not a number",
        "line 4: model_list[0].litellm_params.modle: unknown key, did you mean 'model'?",
        "line 4: model_list[0].litellm_params.timeout: must be more than 0",
        "line 4: model_list[0].litellm_params.model: is missing",
        "line 5: model_list[0].handler: must be one of auto, direct, litellm, did you mean 'direct'?",
        "line 6: model_list[1].model_name: is missing",
        "line 6: model_list[1].litellm_params: must be a mapping, not text",
        "line 8: keys[0].secret: must be text, not a number",
        "line 9: keys[1].id: must not be empty",
        "line 9: keys[1].secret: must be printable ASCII without spaces around it, or no client could send it",
        "line 10: server.hosts: unknown key, did you mean 'host'?",
        "line 10: server.port: must be at most 65535",
        "line 10: server.max_body_bytes: must be a number, not true or false",
        "line 10: server.stream_keep_alive_seconds: must be a number, not text",
        "line 11: guard.strict: must be true or false, not a number",
    ]


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_a_port_out_of_range_is_refused(refuse, port):
    assert len(refuse(f"server: {{port: {port}}}\n")) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("model_list: []\n", "line 1: model_list: must not be empty"),
        ("model_list:\n", "line 1: model_list: must be a list, not empty"),
        ("keys: []\n", "line 1: keys: must not be empty"),
        (
            "keys: {a: sk-topsecret}\n",
            "line 1: keys: must be a list of keys, or a source: {file: ...}, {sql: ...} or {jwt: {...}}",
        ),
        ("server: {max_body_bytes: 0}\n", "line 1: server.max_body_bytes: must be more than 0"),
        ("server: {max_body_bytes: 1.5}\n", "line 1: server.max_body_bytes: must be a whole number"),
        (
            "server: {stream_keep_alive_seconds: .inf}\n",
            "line 1: server.stream_keep_alive_seconds: must be a finite number",
        ),
        (
            "server: {stream_keep_alive_seconds: 1.0e-300}\n",
            "line 1: server.stream_keep_alive_seconds: must be at least 0.05",
        ),
        ("health_check: {seconds: 0.001}\n", "line 1: health_check.seconds: must be 0, or 0.05 or more"),
        (
            "keys: {jwt: {issuer: i, audience: a, jwks: k, refresh_seconds: 0}}\n",
            "line 1: keys.jwt.refresh_seconds: must be 1 or more",
        ),
        ('ledger: {url: "sqlite:///a\\0b"}\n', "line 1: ledger.url: must not hold a NUL character"),
        ("server: 4000\n", "line 1: server: must be a mapping, not a number"),
    ],
)
def test_what_cannot_be_meant_is_refused(refuse, text, line):
    assert refuse(text) == [line]


def test_two_keys_with_one_id_or_one_secret_are_refused_without_showing_it(refuse):
    text = (
        "keys:\n  - {id: a, secret: sk-topsecret}\n  - {id: a, secret: sk-other}\n  - {id: b, secret: sk-topsecret}\n"
    )
    assert refuse(text) == [
        "line 3: keys[1].id: the same id as keys[0]",
        "line 4: keys[2].secret: the same secret as keys[0]",
    ]


def test_an_address_without_a_scheme_is_refused(refuse):
    text = "model_list: [{model_name: m, litellm_params: {model: openai/m, api_base: api.example.com}}]\n"
    assert refuse(text) == ["line 1: model_list[0].litellm_params.api_base: must begin with http:// or https://"]


@pytest.mark.parametrize(
    "url",
    ["http://u:p@[h/v1", "http://u:p@h]/v1", "http://[1:2:p]/v1", "http://u:p@h:x/v1", "https://u:p@h:99999/v1", "http://h:0", "http://u:p@a..b/v1",
     "http:///v1", "http://u:p@/v1", "https://", "http://?h", "http://u:p@h\u2100/v1"],
)  # fmt: skip
def test_an_address_that_leads_nowhere_is_refused_without_showing_it(refuse, url):
    text = f"model_list: [{{model_name: m, litellm_params: {{model: openai/m, api_base: '{url}'}}}}]\n"
    assert refuse(text) == [
        "line 1: model_list[0].litellm_params.api_base: must be a URL with a host, such as https://llm.example.com/v1"
    ]


def test_both_spellings_of_the_address_are_one_too_many(refuse):
    text = "model_list: [{model_name: m, litellm_params: {model: m, base_url: http://a, api_base: http://b}}]\n"
    assert refuse(text) == [
        "line 1: model_list[0].litellm_params: api_base and base_url are the same; give one of them",
    ]


def test_a_misspelt_price_is_refused_because_it_would_cost_nothing(refuse):
    text = MODEL.replace("}}]", "}, model_info: {input_cost_per_tokens: 1.0e-6}}]")
    assert refuse(text) == [
        "line 1: model_list[0].model_info.input_cost_per_tokens: unknown key, did you mean 'input_cost_per_token'?",
    ]


def test_from_python_the_same_is_refused_without_lines():
    with pytest.raises(ConfigError) as caught:
        parse_config({"server": {"prot": 1}, "model_list": [{"model_name": "m", "litellm_params": {}}]})
    assert str(caught.value) == (
        "server.prot: unknown key, did you mean 'port'?\nmodel_list[0].litellm_params.model: is missing"
    )
    assert [problem.path for problem in caught.value.problems] == [
        ("server", "prot"),
        ("model_list", 0, "litellm_params", "model"),
    ]
