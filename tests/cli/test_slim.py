"""The command where litellm is not installed, as with the extra `slim`: what it serves, and what it says of the rest."""

import json
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

import tests.without_litellm
from crplugins.handlers.upstream import GATEWAY_EXTRA
from tests.cli.conftest import Serving, _greeting
from tests.conftest import CHECKOUT

QUESTION = [{"role": "user", "content": "hello"}]
GATEWAY = """
model_list:
  - {model_name: echo, litellm_params: {model: demo/echo}}
  - {model_name: mini, litellm_params: {model: openai/gpt-4o-mini, api_base: "PROVIDER"}}
  - {model_name: other, litellm_params: {model: groq/llama-3.3-70b-versatile, api_base: "PROVIDER"}, handler: direct}
  - {model_name: claude, litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: k}}
  - {model_name: forced, litellm_params: {model: openai/gpt-4o, api_key: k}, handler: litellm}
  - {model_name: shared, litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: k}}
  - {model_name: shared, litellm_params: {model: demo/echo}}
  - {model_name: saved, litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: k}}
fallbacks: [{saved: [echo]}]
keys: [{id: team-a, secret: sk-team-a-0123456789}]
"""
COMMAND = [sys.executable, tests.without_litellm.__file__]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, provider):
    folder = tmp_path_factory.mktemp("slim")
    (folder / "gateway.yaml").write_text(GATEWAY.replace("PROVIDER", provider))
    return folder


@pytest.fixture(scope="module")
def run_slim(environ, folder):
    def run(*arguments, cwd=folder):
        environment = environ | {"PYTHONPATH": str(CHECKOUT)}
        return subprocess.run(
            [*COMMAND, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


@contextmanager
def serving(environ, cwd):
    process = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"], cwd=cwd, env=environ | {"PYTHONPATH": str(CHECKOUT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            yield Serving(process, _greeting(process))
        finally:
            process.terminate()


@pytest.fixture(scope="module")
def gateway(environ, folder):
    with serving(environ, folder) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def client(gateway):
    with gateway.client("sk-team-a-0123456789") as client:
        yield client


@pytest.mark.parametrize("model", ["echo", "mini", "other", "shared", "saved"])
def test_what_speaks_openais_wire_is_served_and_so_are_names_that_another_can_answer(client, model):
    answer = client.chat.completions.create(model=model, messages=QUESTION)
    assert "hello" in answer.choices[0].message.content
    assert answer.model == model


@pytest.mark.parametrize("model", ["claude", "forced"])
@pytest.mark.parametrize("stream", [False, True])
def test_who_asks_for_a_model_that_needs_litellm_is_told_so_with_the_command(client, model, stream):
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=model, messages=QUESTION, stream=stream)
    assert (raised.value.status_code, raised.value.type, raised.value.code) == (
        503, "server_error", "model_not_installed"
    )  # fmt: skip
    assert raised.value.body["message"] == f"The model '{model}' needs litellm, which is not installed: {GATEWAY_EXTRA}"
    assert raised.value.response.headers["x-should-retry"] == "false"


def test_it_is_ready_and_says_which_models_are_not_installed_and_whose_prices_count(gateway, client):
    client.chat.completions.create(model="echo", messages=QUESTION)
    answer = httpx.get(f"{gateway.url}/readyz", timeout=60)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["not_installed"]) == ("ok", ["claude", "forced", "saved"])
    assert told["prices"].startswith("the list of genai-prices 0.")


def test_check_names_each_model_that_needs_it(run_slim):
    done = run_slim("check", "--json")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "needs litellm" in line]
    assert [line.partition(":")[0] for line in lines] == ["warning"] * 4
    for name, line in zip(("claude", "forced", "shared", "saved"), lines, strict=True):
        assert line.startswith(f"warning: model '{name}': ")
        assert GATEWAY_EXTRA in line
    handlers = {model["model_name"]: model["handler"] for model in json.loads(done.stdout)["model_list"]}
    assert (handlers["mini"], handlers["other"], handlers["claude"]) == ("direct", "direct", "none")


def test_explain_says_whose_price_it_is(run_slim):
    done = run_slim("explain", "--key", "team-a", "--model", "mini", "--json")
    (price,) = [step["text"] for step in json.loads(done.stdout)["steps"] if step["step"] == "price"]
    assert price.startswith(
        "$0.15 input, $0.6 output, $0.075 cached input per million tokens, says the list of genai-prices"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model_list: [{model_name: m, litellm_params: {model: anthropic/claude-sonnet-4-5}}]", "model 'm': "),
        ("usage: {estimator: litellm}", "usage.estimator: 'litellm' is not installed: "),
    ],
)
def test_a_configuration_of_which_nothing_is_left_does_not_start(run_slim, tmp_path, text, said):
    (tmp_path / "gateway.yaml").write_text(text)
    done = run_slim("serve", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert GATEWAY_EXTRA in done.stderr


def test_without_a_configuration_the_demo_model_is_the_one_that_needs_no_litellm(environ, tmp_path):
    with serving(environ, tmp_path) as gateway, gateway.client() as client:
        assert [model.id for model in client.models.list()] == ["demo/echo"]
        assert client.chat.completions.create(model="demo/echo", messages=QUESTION).usage.total_tokens > 0


def test_gateway_is_slim_and_litellm_alone():
    extras = tomllib.loads(Path(CHECKOUT, "pyproject.toml").read_text())["project"]["optional-dependencies"]
    own, litellm = extras["gateway"]
    assert (own, litellm.partition(">")[0]) == ("crplugins[slim]", "litellm")
