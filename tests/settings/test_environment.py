"""Values from the environment."""

from crplugins.config import parse_config

MODEL = """\
model_list:
  - model_name: m
    litellm_params:
      model: openai/m
      api_key: {}
"""


def api_key(config):
    return config.deployments()[0].api_key


def test_a_variable_is_read_from_the_environment(load):
    assert api_key(load(MODEL.format("${KEY}"), {"KEY": "sk-1"})) == "sk-1"


def test_a_variable_is_read_inside_a_longer_text(load):
    assert api_key(load(MODEL.format("Bearer ${A}-${B}!"), {"A": "1", "B": "2"})) == "Bearer 1-2!"


def test_litellms_spelling_is_read_as_a_whole_value_only(load):
    assert api_key(load(MODEL.format("os.environ/KEY"), {"KEY": "sk-1"})) == "sk-1"
    assert api_key(load(MODEL.format("x os.environ/KEY"), {"KEY": "sk-1"})) == "x os.environ/KEY"


def test_what_a_variable_holds_is_not_expanded_again(load):
    assert api_key(load(MODEL.format("${A}"), {"A": "${B}", "B": "no"})) == "${B}"


def test_two_dollars_write_the_reference_itself(load):
    assert api_key(load(MODEL.format("$${KEY}"))) == "${KEY}"


def test_numbers_and_booleans_come_from_the_environment_too(load):
    config = load("server:\n  port: ${PORT}\nguard:\n  strict: ${STRICT}\n", {"PORT": "8080", "STRICT": "true"})
    assert config.server.port == 8080
    assert config.guard.strict is True


def test_a_missing_variable_is_named_with_key_line_and_the_nearest_one(refuse):
    line = "line 5: model_list[0].litellm_params.api_key: the environment variable OPENAI_KEY is not set"
    assert refuse(MODEL.format("os.environ/OPENAI_KEY")) == [line]
    assert refuse(MODEL.format("${OPENAI_KEY}"), {"OPENAI_API_KEY": "sk-1"}) == [
        line + ", did you mean 'OPENAI_API_KEY'?",
    ]


def test_a_missing_variable_is_one_problem_and_hides_no_other(refuse):
    assert refuse("server:\n  port: ${PORT}\n  host: 5\n") == [
        "line 2: server.port: the environment variable PORT is not set",
        "line 3: server.host: must be text, not a number",
    ]


def test_a_default_inside_the_braces_is_refused_without_showing_it(refuse):
    assert refuse(MODEL.format("${KEY:-sk-topsecret}"), {"KEY": "x"}) == [
        "line 5: model_list[0].litellm_params.api_key: not the name of an environment variable; there is only ${NAME}",
    ]


def test_a_key_from_an_empty_variable_is_refused(refuse):
    assert refuse("keys:\n  - id: a\n    secret: ${KEY}\n", {"KEY": ""}) == [
        "line 3: keys[0].secret: must not be empty"
    ]


def test_lists_and_provider_parameters_are_expanded(load):
    config = load(
        "model_list:\n"
        "  - model_name: m\n"
        "    litellm_params: {model: openai/m, stop: ['${A}', b], extra_headers: {x-team: '${A}'}}\n",
        {"A": "1"},
    )
    assert config.deployments()[0].parameters == {"stop": ["1", "b"], "extra_headers": {"x-team": "1"}}


def test_python_values_are_expanded_alike(monkeypatch):
    config = parse_config({"keys": [{"id": "a", "secret": "os.environ/KEY"}]}, {"KEY": "sk-1"})
    assert config.keys[0]["secret"] == "sk-1"
