"""Which file is read, and what a good one gives."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from crplugins.config import ConfigError, find_config, load_config, parse_config
from crplugins.handlers.deadlines import NO_DEADLINES

SAMPLE = """\
model_list:                                  # LiteLLM's own format: a LiteLLM user's file works
  - model_name: gpt-4o-mini                  # what clients ask for
    litellm_params:
      model: openai/gpt-4o-mini
      api_base: https://api.example.com/v1
      api_key: ${OPENAI_API_KEY}
    model_info: {input_cost_per_token: 1.5e-7, output_cost_per_token: 6.0e-7}   # optional; else litellm's table
keys:
  - id: team-a
    secret: ${TEAM_A_KEY}
server: {host: 127.0.0.1, port: 4000, max_body_bytes: 10485760}
plugins: [crplugins.core.plugin.Plugin]
"""


def test_the_documented_sample_is_read(load):
    config = load(SAMPLE, {"OPENAI_API_KEY": "sk-up", "TEAM_A_KEY": "sk-team"})
    (deployment,) = config.deployments()
    assert (deployment.name, deployment.model) == ("gpt-4o-mini", "openai/gpt-4o-mini")
    assert (deployment.api_base, deployment.api_key) == ("https://api.example.com/v1", "sk-up")
    assert (deployment.deadlines, deployment.parameters) == (NO_DEADLINES, {})
    assert config.model_list[0].handler == "auto"
    assert config.model_list[0].model_info.input_cost_per_token == 1.5e-7
    assert config.keys == [{"id": "team-a", "secret": "sk-team"}]
    assert config.server.model_dump() == {
        "max_in_flight": None,
        "host": "127.0.0.1",
        "uds": None,
        "tls": None,
        "watch": False,
        "port": 4000,
        "max_body_bytes": 10485760,
        "stream_keep_alive_seconds": None,
        "access_log": True,
        "max_header_bytes": 65536,
        "header_timeout_seconds": 10,
        "body_timeout_seconds": 30,
        "idle_timeout_seconds": 75,
        "max_connections": 4096,
        "root_path": "",
        "cors": None,
        "shutdown_seconds": 30,
        "endpoints": (),
        "unmetered_paths": (),
    }
    assert [entry.name for entry in config.plugins] == ["Plugin"]
    assert config.warnings == ()


def test_what_python_writes_is_the_same_as_the_file(load):
    environ = {"OPENAI_API_KEY": "sk-up", "TEAM_A_KEY": "sk-team"}
    written = parse_config(
        {
            "model_list": [
                {
                    "model_name": "gpt-4o-mini",
                    "litellm_params": {
                        "model": "openai/gpt-4o-mini",
                        "api_base": "https://api.example.com/v1",
                        "api_key": "sk-up",
                    },
                    "model_info": {"input_cost_per_token": 1.5e-7, "output_cost_per_token": 6.0e-7},
                }
            ],
            "keys": ({"id": "team-a", "secret": "sk-team"},),
            "server": {"host": "127.0.0.1", "port": 4000, "max_body_bytes": 10485760},
            "plugins": ["crplugins.core.plugin.Plugin"],
            "guard": None,
        }
    )
    assert written.model_dump() == load(SAMPLE, environ).model_dump()


def test_a_configuration_cannot_be_changed_once_read():
    config = parse_config({})
    with pytest.raises(ValidationError):
        config.server.port = 1  # type: ignore[misc]


def test_the_run_key_is_added_to_a_copy():
    config = parse_config({"server": {"port": 1}})
    with_key = config.with_run_key("sk-run")
    assert config.keys == ()
    assert with_key.keys == ({"id": "run-key", "secret": "sk-run"},)
    assert with_key.server.port == 1


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "there is no such file"),
        (Path.mkdir, "cannot be read (Is a directory)"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, make, reason):
    path = tmp_path / "gw.yaml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert str(caught.value) == f"{path}: {reason}"


def test_the_option_comes_before_the_variable_and_that_before_the_file_of_the_folder(tmp_path):
    (tmp_path / "gateway.yaml").touch()
    environ = {"CRPLUGINS_CONFIG": "other.yaml"}
    assert find_config(Path("my.yaml"), environ, tmp_path) == Path("my.yaml")
    assert find_config(None, environ, tmp_path) == Path("other.yaml")
    assert find_config(None, {"CRPLUGINS_CONFIG": ""}, tmp_path) == tmp_path / "gateway.yaml"


def test_without_any_file_there_is_none(tmp_path):
    assert find_config(None, {}, tmp_path) is None


def test_a_later_finding_is_told_with_the_line_of_its_key(load):
    from crplugins.config import Problem

    config = load("model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n")
    error = config.source.error([Problem(("model_list", 0, "litellm_params", "api_base"), "is needed")])
    assert str(error) == "gateway.yaml, line 3: model_list[0].litellm_params.api_base: is needed"
