"""What a configuration may say and hardly means is a warning."""

import importlib
import sys

import pytest


def model(**params):
    pairs = ", ".join(f"{key}: '{value}'" for key, value in params.items())
    return f"model_list: [{{model_name: m, litellm_params: {{{pairs}}}}}]"


@pytest.mark.parametrize(
    "key", ["$OPENAI_API_KEY", "$key", "$(KEY)", "os.environ.KEY", 'os.environ["KEY"]', "$env:KEY"]
)
def test_a_variable_in_another_notation_is_told_and_kept(load, key):
    config = load(model(model="openai/m", api_key=key))
    assert config.warnings == (
        "model_list[0].litellm_params.api_key is taken as it stands; a variable of the environment is ${NAME}",
    )
    assert config.deployments()[0].api_key == key


@pytest.mark.parametrize("value", ['"sk-of-docker"', "'sk-of-docker'", '"sk-of-docker"\n'])
def test_quotation_marks_around_the_value_of_a_variable_are_told_and_kept(load, value):
    config = load(model(model="openai/m", api_key="${KEY}"), {"KEY": value})
    assert config.warnings == (
        "model_list[0].litellm_params.api_key is taken with the quotation marks that stand around it in the environment "
        "variable KEY, as `docker run --env-file` has them",
    )
    assert config.deployments()[0].api_key == value.strip()


@pytest.mark.parametrize("value", ["sk-'of'-docker", '"sk', "sk'", '"'])
def test_a_quotation_mark_elsewhere_is_not(load, value):
    assert load(model(model="openai/m", api_key="${KEY}"), {"KEY": value}).warnings == ()


@pytest.mark.parametrize("key", ["pa$$word", "$1", "a $NAME b", "$${NAME}"])
def test_other_texts_are_not(load, key):
    assert load(model(model="openai/m", api_key=key)).warnings == ()


@pytest.mark.parametrize("end", ["/chat/completions", "/v1/chat/completions/", "/v1/responses"])
def test_an_address_that_ends_in_a_route_is_told_except_of_azure(load, end):
    [warning] = load(model(model="openai/m", api_key="x", api_base=f"http://host{end}")).warnings
    assert warning.startswith("model_list[0].litellm_params.api_base ends in a route")
    assert load(model(model="azure_ai/m", api_key="x", api_base=f"http://host{end}")).warnings == ()


def test_a_price_that_reads_like_that_of_a_million_tokens_is_told(load):
    entry = "model_list: [{model_name: m, litellm_params: {model: demo/echo}, model_info: {%s}}]"
    info = "input_cost_per_token: 2.5, output_cost_per_token: 10, cache_read_input_token_cost: 0.2"
    assert load(entry % info).warnings == tuple(
        f"model_list[0].model_info.{kind}_cost_per_token is above $10,000 for a million tokens: it is what one token "
        "costs, in US dollars"
        for kind in ("input", "output")
    )
    assert load(entry % "input_cost_per_token: 0.00015, output_cost_per_token: 0.0006").warnings == ()


@pytest.mark.parametrize(
    ("environ", "told"),
    [({}, 1), ({"ANTHROPIC_API_KEY": " "}, 1), ({"ANTHROPIC_API_KEY": "x"}, 0), ({"ANTHROPIC_AUTH_TOKEN": "x"}, 0)],
)
def test_a_key_that_is_nowhere_is_told(load, environ, told):
    assert len(load(model(model="anthropic/claude"), environ).warnings) == told


@pytest.mark.parametrize(
    "params", [{"api_key": "x"}, {"api_base": "http://host"}, {"azure_ad_token": "x"}, {"model": "bedrock/claude"}]
)
def test_a_model_that_may_need_none_is_not_told(load, params):
    assert load(model(**{"model": "anthropic/claude", **params})).warnings == ()


def test_keys_that_belong_beside_litellm_params_are_told_and_not_sent(load):
    config = load(model(model="openai/m", api_key="x", handler="litellm", forward_trace="true"))
    assert [warning.partition(" ")[2] for warning in config.warnings] == [
        "is ignored: it belongs beside litellm_params"
    ] * 2
    assert dict(config.deployments()[0].parameters) == {}


@pytest.mark.parametrize(
    ("params", "package", "command"),
    [
        ({"model": "vertex_ai/gemini-2.5-pro"}, "google.auth", "google-auth requests"),
        (
            {"model": "azure/gpt", "api_base": "http://h", "tenant_id": "t", "client_id": "c", "client_secret": "s"},
            "azure.identity", "azure-identity",
        ),
    ],
)  # fmt: skip
def test_a_package_that_the_sign_in_to_a_provider_needs_is_told_where_it_is_missing(
    load, monkeypatch, tmp_path, params, package, command
):
    missing = f"model_list[0].litellm_params: litellm signs in to its provider with what `pip install {command}` brings"
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, package.partition(".")[0], raising=False)
    assert load(model(**params)).warnings == (f"{missing}: it is missing",)
    (tmp_path / package.replace(".", "/")).mkdir(parents=True)
    importlib.invalidate_caches()
    monkeypatch.delitem(sys.modules, package.partition(".")[0], raising=False)
    assert load(model(**params)).warnings == ()


@pytest.mark.parametrize("name", ["azure/gpt", "vertex_ai", "openrouter/vertex_ai/m"])
def test_no_package_is_told_of_where_nobody_signs_in(load, name):
    assert load(model(model=name, api_key="x", api_base="http://h")).warnings == ()
