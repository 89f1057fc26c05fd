"""The command where litellm is not installed, as with the extra `slim`: what it serves, and what it says of the rest."""

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

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


MEGABYTE = 2**20
MOST = 124
"""Megabytes of the packages, which `du` counts in a fresh environment beside its pip; 3 more on Python 3.14 than on 3.11."""


def needed(extra):
    """The distributions that `crplugins[extra]` brings, by their names; those that are installed here."""
    project = tomllib.loads(Path(CHECKOUT, "pyproject.toml").read_text())["project"]
    own = project["optional-dependencies"]
    todo, found, seen = [*project["dependencies"], *own[extra]], {}, set()
    while todo:
        wanted = Requirement(todo.pop())
        if (key := (wanted.name, *sorted(wanted.extras))) in seen:
            continue
        seen.add(key)
        if wanted.name == "crplugins":
            todo += [each for extra in wanted.extras for each in own[extra]]
            continue
        found[canonicalize_name(wanted.name)] = distribution = importlib.metadata.distribution(wanted.name)
        for text in distribution.requires or ():
            each = Requirement(text)
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                todo.append(text.partition(";")[0])
    return found


def on_disk(distribution):
    files = [Path(distribution.locate_file(file)) for file in distribution.files or ()]
    return sum(file.stat().st_blocks * 512 for file in files if file.is_file())


def test_slim_is_small_and_has_nothing_that_only_other_servers_and_developers_need():
    packages = needed("slim")
    assert not packages.keys() & {"litellm", "websockets", "watchfiles", "httpx", "cryptography", "certifi", "redis"}
    own = sum(file.stat().st_blocks * 512 for file in Path(CHECKOUT, "crplugins").rglob("*") if file.is_file())
    sizes = {name: on_disk(each) / MEGABYTE for name, each in packages.items()} | {"crplugins": own / MEGABYTE}
    print(*(f"{size:6.1f} MB {name}" for name, size in sorted(sizes.items(), key=lambda pair: -pair[1])), sep="\n")
    assert sum(sizes.values()) < MOST, sizes
