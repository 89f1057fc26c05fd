"""Which handler a deployment gets, and where its upstream is."""

import pytest

from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.loading import load_litellm
from crplugins.handlers.upstream import (
    LitellmMissing,
    Upstream,
    UpstreamUnknown,
    can_wait,
    native_upstream,
    resolve,
)


def deployment(model: str, **fields) -> Deployment:
    return Deployment("name", model, **fields)


def test_openai_is_known_with_its_address_and_the_key_of_the_environment():
    upstream = resolve(deployment("openai/gpt-4o"), "auto", {"OPENAI_API_KEY": "sk-env"})
    assert upstream == Upstream("openai", "gpt-4o", "https://api.openai.com/v1", "sk-env")


def test_an_api_base_and_key_of_the_deployment_win():
    upstream = resolve(
        deployment("openai/x", api_base="http://h/v1/", api_key="k"), "auto", {"OPENAI_BASE_URL": "http://other"}
    )
    assert upstream == Upstream("openai", "x", "http://h/v1", "k")


def test_a_model_name_may_hold_slashes():
    assert resolve(deployment("hosted_vllm/org/model", api_base="http://h"), "auto", {}).model == "org/model"


def test_vllm_without_an_address_is_refused_by_name():
    with pytest.raises(UpstreamUnknown, match="'name'.*needs an api_base"):
        resolve(deployment("hosted_vllm/x"), "auto", {})


@pytest.mark.parametrize("url", ["http://u:p@[h/v1", "https://", "h/v1", "http://h:99999/v1"])
def test_an_address_of_the_environment_that_leads_nowhere_is_refused_and_not_shown(url):
    with pytest.raises(UpstreamUnknown) as caught:
        resolve(deployment("openai/x"), "auto", {"OPENAI_BASE_URL": url})
    assert str(caught.value) == "model 'name': the address in the environment is no URL with a host"


@pytest.mark.parametrize("kind", ["auto", "direct", "litellm"])
def test_the_demo_model_is_litellms(kind):
    assert resolve(deployment("demo/echo"), kind, {}) is None


def test_what_only_litellm_understands_is_litellms():
    assert resolve(deployment("openai/x", parameters={"api_version": "1"}), "auto", {}) is None
    assert resolve(deployment("openai/x"), "litellm", {}) is None


@pytest.mark.parametrize(
    ("model", "base"),
    [
        ("groq/llama-3", "https://api.groq.com/openai/v1"),
        ("deepinfra/x", "https://api.deepinfra.com/v1/openai"),
        ("gpt-4o-mini", "https://api.openai.com/v1"),
    ],
)
def test_litellms_tables_know_the_compatible_providers(model, base):
    assert resolve(deployment(model), "auto", {}).base_url == base


@pytest.mark.parametrize(
    "model", ["anthropic/claude-x", "gemini/gemini-2.0-flash", "azure/x", "bedrock/anthropic.claude-v2"]
)
def test_providers_with_a_wire_of_their_own_are_litellms(model):
    assert resolve(deployment(model), "auto", {}) is None


def test_an_address_does_not_make_another_wire_openais():
    assert resolve(deployment("anthropic/claude-x", api_base="http://h"), "auto", {}) is None


def test_a_name_no_table_knows_is_refused():
    with pytest.raises(UpstreamUnknown, match="litellm knows no provider for 'no-such-thing'"):
        resolve(deployment("no-such-thing"), "auto", {})


def test_each_bare_name_that_waits_for_litellm_is_one_that_it_knows():
    """Else a mistake in the configuration would be found when the gateway listens already."""
    litellm = load_litellm()
    waiting = [name for name in litellm.model_cost if "/" not in name and can_wait(Deployment("m", name), "auto")]
    assert len(waiting) > 100
    assert {"gpt-4o", "gpt-4o-mini", "claude-sonnet-4-5"} <= set(waiting)
    for name in waiting:
        assert litellm.get_llm_provider(name)[1] in ("openai", "anthropic", "text-completion-openai"), name
    assert not any(can_wait(Deployment("m", name), "auto") for name in ("nobody-has-it", "ft:gpt-4o:x", "gpt-4o/", ""))


@pytest.mark.parametrize(
    ("base", "found"),
    [
        (None, "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
        ("https://api.anthropic.com/v1/", "https://api.anthropic.com/v1"),
        ("https://api.deepseek.com/anthropic", "https://api.deepseek.com/anthropic/v1"),
        ("https://open.bigmodel.cn/api/anthropic/v1/messages", "https://open.bigmodel.cn/api/anthropic/v1"),
    ],
)
def test_anthropic_is_asked_directly_under_each_spelling_of_its_address(base, found):
    upstream = resolve(deployment("anthropic/claude-5", api_base=base, api_key="k"), "direct", {})
    assert upstream == Upstream("anthropic", "claude-5", found, "k")


def test_the_environment_names_anthropics_address_and_key():
    environ = {"ANTHROPIC_BASE_URL": "http://h/anthropic", "ANTHROPIC_API_KEY": "sk-env\n"}
    upstream = resolve(deployment("anthropic/claude-5"), "direct", environ)
    assert upstream == Upstream("anthropic", "claude-5", "http://h/anthropic/v1", "sk-env")
    with pytest.raises(UpstreamUnknown, match="no URL with a host"):
        resolve(deployment("anthropic/claude-5"), "direct", {"ANTHROPIC_BASE_URL": "h"})


@pytest.mark.parametrize(
    ("model", "kind", "parameters", "speaks"),
    [
        ("anthropic/claude-5", "auto", {}, True),
        ("anthropic/claude-5", "litellm", {}, False),
        ("anthropic/claude-5", "auto", {"mock_response": "x"}, False),
        ("bedrock/claude-5", "auto", {}, False),
        ("anthropic", "auto", {}, False),
    ],
)
def test_what_litellm_translates_for_is_asked_in_its_own_protocol_where_nothing_else_is_said(
    model, kind, parameters, speaks
):
    found = native_upstream(deployment(model, parameters=parameters), kind, {})
    assert (found is not None) is speaks


def test_without_litellm_anthropic_is_asked_directly_where_that_is_said(monkeypatch):
    monkeypatch.setattr("crplugins.handlers.upstream.litellm_is_installed", lambda: False)
    claude = deployment("anthropic/claude-5")
    assert resolve(claude, "direct", {}) == Upstream("anthropic", "claude-5", "https://api.anthropic.com/v1")
    with pytest.raises(LitellmMissing):
        resolve(claude, "auto", {})
