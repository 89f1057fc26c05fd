"""What the table of providers says holds for the litellm that is installed."""

import asyncio

import pytest

from crplugins.handlers.litellm.loading import close_litellm, load_litellm, open_litellm, quiet
from crplugins.handlers.litellm.providers import CONFIGURED, PROVIDERS
from crplugins.handlers.litellm.survey import is_configured
from tests.long import LONG


@pytest.fixture(scope="module")
def litellm():
    """Opened: only then what it sends can be caught."""
    yield asyncio.run(open_litellm())
    asyncio.run(close_litellm())


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_litellm_knows_every_provider_that_a_start_does_not_ask_it_about(provider):
    litellm = load_litellm()
    with quiet():
        assert litellm.get_llm_provider(f"{provider}/any")[:2] == ("any", provider)


@pytest.mark.parametrize("provider", sorted(CONFIGURED if LONG else CONFIGURED & {"anthropic", "mistral"}))
def test_a_provider_that_is_asked_through_its_configuration_is_sent_what_litellm_sends(litellm, provider):
    assert is_configured(litellm, f"{provider}/any")


def test_a_provider_is_not_asked_through_its_configuration_if_that_needs_more_than_the_request(litellm):
    assert not is_configured(litellm, "huggingface/any")


def test_providers_that_sign_what_they_send_are_litellms_own():
    assert not {"bedrock", "sagemaker", "sagemaker_chat", "vertex_ai", "watsonx", "oci", "sap", "gigachat"} & CONFIGURED


def test_providers_whose_look_up_signs_in_somewhere_are_asked_about_before_anything_listens():
    assert not {"chatgpt", "github_copilot"} & PROVIDERS
