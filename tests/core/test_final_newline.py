"""Every door through which a secret or an address comes in takes its final newline off."""

from pathlib import Path

import pytest

from crplugins.config import ConfigError, parse_config
from crplugins.core.final_newline import without_final_newline
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.loading import take_final_newlines_off
from crplugins.handlers.upstream import resolve
from crplugins.homes.token_digest import TokenDigest
from crplugins.keys.inline import InlineKey, InlineKeys
from crplugins.keys.jwt import read_settings
from crplugins.keys.opening import open_source
from crplugins.keys.secrets import Digester
from crplugins.limits.memory import MemoryStore
from crplugins.limits.opening import open_limit_store
from crplugins.sql.url import read_database_url

SECRET = "secret-0123456789-abcdef"
ENDS = ["\n", "\r\n", "\n\n"]
FORMS = [*((("${VALUE}", end)) for end in ENDS), ("os.environ/VALUE", "\n"), (SECRET + "\n", ""), (SECRET + "\r\n", "")]


def config_with(end, **words):
    model = {"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": "http://h/v1"}}
    return parse_config({"model_list": [model], **words}, {"VALUE": SECRET + end})


def test_only_the_end_is_taken_off():
    assert without_final_newline(" a\nb \r\n\n") == " a\nb "


@pytest.mark.parametrize(("written", "end"), FORMS)
@pytest.mark.parametrize("name", ["api_key", "aws_secret_access_key", "azure_ad_token"])
def test_the_credential_of_an_upstream(written, end, name):
    params = {"model": "openai/m", name: written}
    (deployment,) = config_with(end, model_list=[{"model_name": "m", "litellm_params": params}]).deployments()
    assert (deployment.api_key if name == "api_key" else deployment.parameters[name]) == SECRET


@pytest.mark.parametrize(("written", "end"), FORMS)
def test_the_address_and_the_headers_of_an_upstream(written, end):
    params = {"model": "openai/m", "api_base": f"http://{written}" if "os." not in written else "http://h", "x": "1"}
    params["extra_headers"] = {"x-tenant": written}
    (deployment,) = config_with(end, model_list=[{"model_name": "m", "litellm_params": params}]).deployments()
    assert deployment.api_base in (f"http://{SECRET}", "http://h")
    assert deployment.parameters["extra_headers"] == {"x-tenant": SECRET}


def test_a_parameter_that_is_no_secret_keeps_its_newline():
    params = {"model": "openai/m", "stop": ["\n"], "extra_body": {"suffix": "x\n"}}
    (deployment,) = config_with("", model_list=[{"model_name": "m", "litellm_params": params}]).deployments()
    assert deployment.parameters == {"stop": ["\n"], "extra_body": {"suffix": "x\n"}}


@pytest.mark.parametrize(("written", "end"), FORMS)
async def test_the_tokens_and_keys_of_the_gateway(written, end):
    words = {"metrics": {"token": written}, "admin": {"token": written}, "keys": [{"id": "a", "secret": written}]}
    config = config_with(end, **words)
    assert config.metrics.secret == SECRET
    assert config.admin.token.get_secret_value() == SECRET
    assert await open_source(config.keys).find(SECRET)


@pytest.mark.parametrize(("written", "end"), FORMS)
async def test_a_keys_file_and_its_pepper(written, end, tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys:\n- id: a\n  secret: |\n    {written.strip()}\n- {{id: b, secret: {written!r}x}}\n")
    text = f'keys:\n- id: a\n  secret: "{written.encode("unicode_escape").decode()}"\n'
    file.write_text(text)
    spec = config_with(end, keys={"file": str(file), "pepper": written}).keys
    async with open_source(spec, environ={"VALUE": SECRET + end}) as keys:
        found = await keys.find(SECRET)
    assert found.secret.digest == Digester(SECRET).digest(SECRET)


async def test_a_block_of_a_keys_file_ends_with_a_newline_that_is_none_of_the_secret(tmp_path):
    file = tmp_path / "keys.yaml"
    file.write_text(f"keys:\n- id: a\n  secret: |\n    {SECRET}\n")
    async with open_source({"file": str(file)}) as keys:
        assert await keys.find(SECRET)


@pytest.mark.parametrize("end", ENDS)
async def test_what_python_gives(end):
    assert await InlineKeys([InlineKey("a", SECRET + end)]).find(SECRET)
    assert await InlineKeys([{"id": "a", "secret": SECRET + end}]).find(SECRET)
    assert TokenDigest(SECRET + end, "admin").matches(SECRET)
    assert Digester(SECRET + end).digest("x") == Digester(SECRET).digest("x")
    assert isinstance(open_limit_store(f"memory{end}"), MemoryStore)
    assert read_database_url(f"sqlite:///gw.db{end}").file == Path("gw.db")
    settings = read_settings({"issuer": f"https://i/{end}", "audience": None, "jwks": f"keys.json{end}"})
    assert (settings.issuer, settings.jwks) == ("https://i/", "keys.json")


@pytest.mark.parametrize("end", ENDS)
def test_the_addresses_of_stores(end):
    config = config_with(
        end,
        limits={"store": f"memory{end}"},
        ledger={"url": f"sqlite:///u.db{end}"},
        keys={"sql": f"sqlite:///k.db{end}"},
    )
    assert (config.limits.store, config.ledger.url) == ("memory", "sqlite:///u.db")


def test_the_variables_that_providers_keys_are_read_from():
    environ = {
        "OPENAI_API_KEY": f"{SECRET}\n",
        "OPENAI_BASE_URL": "http://h/v1\r\n",
        "PS1": "$\n",
        "NONE_API_KEY": "\n",
    }
    upstream = resolve(Deployment("m", "openai/m"), "auto", environ)
    assert (upstream.api_key, upstream.base_url) == (SECRET, "http://h/v1")
    take_final_newlines_off(environ)
    assert environ == {
        "OPENAI_API_KEY": SECRET, "OPENAI_BASE_URL": "http://h/v1", "PS1": "$\n", "NONE_API_KEY": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "path"),
    [
        ({"metrics": {"token": "\n"}}, "metrics.token"),
        ({"admin": {"token": "x" * 15 + "\n"}}, "admin.token"),
        ({"keys": [{"id": "a", "secret": "\n"}]}, "keys[0].secret"),
        ({"keys": {"file": "k.yaml", "pepper": "\n"}}, "pepper"),
        ({"ledger": {"url": "\n"}}, "ledger.url"),
        ({"metrics": {"token": "two\nlines-0123456789"}}, "metrics.token"),
        ({"model_list": [{"model_name": "m", "litellm_params": {"model": "m", "api_key": "é"}}]}, "api_key"),
        (
            {"model_list": [{"model_name": "m", "litellm_params": {"model": "m", "extra_headers": {"x": "a\nb"}}}]},
            "extra_headers.x",
        ),
        (
            {"model_list": [{"model_name": "m", "litellm_params": {"model": "m", "extra_headers": {"x y": "a"}}}]},
            "extra_headers.x y",
        ),
    ],
)
def test_nothing_but_a_newline_is_no_secret_and_what_no_header_can_carry_is_refused(words, path):
    with pytest.raises(ConfigError, match="must") as caught:
        config_with("", **words)
    assert path in str(caught.value)
