"""Providers whose users sign in with a code: nobody is asked for one while a configuration is read or served."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from crplugins.core.network import Network
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.litellm.asking import ConfiguredCalls
from crplugins.handlers.litellm.client import LitellmClient
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.handlers.litellm.sign_in import sign_in_model
from crplugins.handlers.upstream import ProviderUnknown, Upstream, resolve


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The requests for a code that litellm makes where GitHub's address is this one."""
    paths: list[str] = []

    class Page(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("GITHUB_COPILOT_DEVICE_CODE_URL", f"http://127.0.0.1:{server.server_port}/code")
        yield paths
        server.shutdown()


@pytest.mark.parametrize(
    ("model", "named", "file", "variable"),
    [
        ("github_copilot/gpt-4", None, "access-token", "GITHUB_COPILOT_TOKEN_DIR"),
        ("gpt-4", "github_copilot", "access-token", "GITHUB_COPILOT_TOKEN_DIR"),
        ("chatgpt/gpt-5.4", None, "auth.json", "CHATGPT_TOKEN_DIR"),
    ],
)
def test_a_model_that_nobody_has_signed_in_to_says_so_and_no_code_is_asked_for(
    model: str, named: str | None, file: str, variable: str, tmp_path: Path, asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(variable, str(tmp_path))
    parameters = {"custom_llm_provider": named} if named else {}
    with pytest.raises(ProviderUnknown) as caught:
        resolve(Deployment("name", model, parameters=parameters), "auto", {variable: str(tmp_path)})
    said = str(caught.value)
    assert said.startswith("model 'name': nobody has signed in to ")
    assert str(tmp_path / file) in said
    assert asked == []


def test_a_model_is_served_by_litellm_where_a_token_is_kept(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "access-token").write_text("gho_kept")
    environ = {"GITHUB_COPILOT_TOKEN_DIR": str(tmp_path)}
    assert resolve(Deployment("name", "github_copilot/gpt-4"), "auto", environ) is None
    direct = Deployment("name", "github_copilot/gpt-4", api_base="http://h/v1", api_key="k")
    assert resolve(direct, "direct", environ) == Upstream("github_copilot", "gpt-4", "http://h/v1", "k")
    assert asked == []


def test_what_litellm_knows_of_such_a_model_is_looked_up_without_a_code(
    tmp_path: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_COPILOT_TOKEN_DIR", str(tmp_path))
    model = "github_copilot/gpt-4"
    calls = ConfiguredCalls(HttpClient(Network()))
    LitellmClient(load_litellm(), Deployment("name", model), Network(), calls).learn(model)
    assert asked == []


@pytest.mark.parametrize("model", ["gpt-4", "openai/github_copilot/x", "github_copilot"])
def test_other_models_are_asked_for_as_ever(model: str) -> None:
    assert sign_in_model(model) is None
