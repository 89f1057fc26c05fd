"""What the table of providers says holds for the litellm that is installed."""

import pytest

from crplugins.handlers.litellm.loading import load_litellm, quiet
from crplugins.handlers.litellm.providers import PROVIDERS


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_litellm_knows_every_provider_that_a_start_does_not_ask_it_about(provider):
    litellm = load_litellm()
    with quiet():
        assert litellm.get_llm_provider(f"{provider}/any")[:2] == ("any", provider)


def test_providers_whose_look_up_signs_in_somewhere_are_asked_about_before_anything_listens():
    assert not {"chatgpt", "github_copilot"} & PROVIDERS
