"""No secret is shown by an error or a repr."""

import traceback

import pytest

from crplugins.config import ConfigError, parse_config

SECRET = "sk-topsecret-0123456789"


def whole_text(error):
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize(
    "mapping",
    [
        {"keys": [{"id": "a", "secret": [SECRET]}]},
        {"keys": [{"id": "a", "secret": SECRET + "\t"}]},
        {"keys": [{"id": "a", "secret": SECRET, "expires": SECRET}]},
        {"keys": SECRET},
        {"keys": [SECRET]},
        {"keys": [{"id": "a", "secret": SECRET}, {"id": "b", "secret": SECRET}]},
        {"server": {"port": SECRET, "host": {SECRET: 1}}},
        {"guard": {"strict": SECRET}},
        {"model_list": [{"model_name": "m", "litellm_params": {"model": "m", "api_base": SECRET}}]},
        {"model_list": [{"model_name": "m", "litellm_params": {"model": "m", "api_key": {"k": SECRET}}}]},
        {"model_list": [{"model_name": "m", "litellm_params": {"model": "m"}, "handler": SECRET}]},
        {"model_list": [{"model_name": "m", "litellm_params": SECRET}]},
        {"plugins": [{"use": {"x": SECRET}}]},
    ],
)
def test_an_error_never_shows_a_value(mapping):
    with pytest.raises(ConfigError) as caught:
        parse_config(mapping)
    assert SECRET not in whole_text(caught.value)


def test_a_repr_shows_no_credential_declared_or_not():
    config = parse_config(
        {
            "keys": [{"id": "a", "secret": SECRET}],
            "model_list": [
                {
                    "model_name": "m",
                    "litellm_params": {
                        "model": "bedrock/m",
                        "api_key": SECRET,
                        "aws_secret_access_key": SECRET,
                        "extra_headers": {"authorization": SECRET},
                    },
                }
            ],
            "plugins": [{"use": "crplugins.core.plugin.Plugin", "token": SECRET}],
        }
    ).with_run_key(SECRET)
    assert "bedrock/m" in repr(config)
    assert SECRET not in repr(config) + str(config)
