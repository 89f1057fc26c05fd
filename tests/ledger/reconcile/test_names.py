"""One model under its several names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.ledger.reconcile.names import ModelNames, one_name_each, parse_model

SAME = [
    ("gpt-5", "gpt-5-2025-08-07"),
    ("gpt-4", "gpt-4-0613"),
    ("gpt-3.5-turbo", "gpt-3.5-turbo-0125"),
    ("openai/gpt-4.1-mini", "gpt-4.1-mini-2025-04-14"),
    ("GPT-5-Mini", "gpt-5-mini-2025-08-07"),
    ("claude-sonnet-4", "claude-sonnet-4-20250514"),
    ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022"),
    ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
    ("claude-3-5-sonnet-20241022", "Claude 3.5 Sonnet 2024-10-22"),
    ("claude-opus-5", "Claude Opus 5"),
    ("anthropic/claude-opus-4.7", "claude-opus-4-7"),
    ("claude-3-5-sonnet@20241022", "claude-3-5-sonnet-20241022"),
    ("vertex_ai/claude-opus-4-1@default", "claude-opus-4-1-20250805"),
    ("models/gemini-2.5-flash", "gemini-2.5-flash"),
    ("gemini-2.0-flash", "models/gemini-2.0-flash-001"),
    ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("projects/p/locations/us/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("gemini-2.5-pro-preview", "gemini-2.5-pro-preview-05-06"),
    ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-09-2025"),
    ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", "anthropic.claude-sonnet-4-20250514-v1:0"),
    ("anthropic.claude-3-haiku-20240307-v1:0:200k", "claude-3-haiku-20240307"),
    ("global.anthropic.claude-haiku-4-5-20251001-v1:0", "Claude Haiku 4.5"),
    ("arn:aws:bedrock:eu-west-1:1234:inference-profile/eu.amazon.nova-pro-v1:0", "amazon.nova-pro-v1:0"),
    ("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/meta.llama3-70b-instruct-v1:0", "llama3-70b-instruct"),
    ("accounts/fireworks/models/deepseek-r1", "deepseek-r1-0528"),
    ("mistral-large-latest", "mistral-large-2411"),
    ("command-r", "command-r-08-2024"),
    ("glm-4", "glm-4-250414"),
    ("openai/gpt-oss-120b", "gpt-oss-120b"),
    ("ft:gpt-4o-mini:acme::abc123", "ft:gpt-4o-mini-2024-07-18:acme::abc123"),
    ("openai/ft:gpt-4o-mini-2024-07-18:acme::AbC123", "ft:gpt-4o-mini-2024-07-18:acme::AbC123"),
    ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "ft:gpt-4o-mini-2024-07-18"),
]

DIFFERENT = [
    ("gpt-5", "gpt-5-mini-2025-08-07"),
    ("gpt-5", "gpt-5.4-2026-03-05"),
    ("gpt-4o-2024-05-13", "gpt-4o-2024-08-06"),
    ("gpt-4-turbo-2024-04-09", "gpt-4-0613"),
    ("claude-opus-4", "claude-opus-4-1-20250805"),
    ("claude-sonnet-4-20250514", "Claude Sonnet 4.5"),
    ("gemini-2.0-flash-001", "gemini-2.0-flash-lite"),
    ("gpt-4o-mini-2024-07-18", "ft:gpt-4o-mini-2024-07-18:acme::abc123"),
    ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "ft:gpt-4o-mini-2024-07-18:acme::xyz789"),
    ("anthropic.claude-v2:1", "claude-3-haiku-20240307"),
    ("my-deployment", "gpt-4o-2024-08-06"),
    ("", "gpt-5"),
    ("gpt-5", ""),
]


@pytest.mark.parametrize(("ours", "theirs"), SAME)
def test_names_of_one_model_are_found(ours, theirs):
    assert list(ModelNames([theirs, "another-model"], {}).find(ours)) == [theirs]


@pytest.mark.parametrize(("ours", "theirs"), DIFFERENT)
def test_names_of_different_models_are_not(ours, theirs):
    assert not ModelNames([theirs], {}).find(ours)


def test_the_name_in_the_answer_goes_before_the_configured_one():
    names = ModelNames(["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"], {})
    assert names.find("gpt-4o-2024-08-06", "gpt-4o") == ("gpt-4o-2024-08-06",)
    assert names.find("", "my-deployment") == ()


def test_a_name_as_it_is_goes_before_one_that_is_only_alike():
    names = ModelNames(["gpt-4o", "my-deployment"], {})
    assert names.find("gpt-4o-2024-08-06", "my-deployment") == ("my-deployment",)
    assert names.find("gpt-4o-2024-08-06", "another-deployment") == ["gpt-4o"]


def test_a_map_goes_before_every_name_with_the_provider_or_without():
    for configured in ("azure/my-deployment", "my-deployment"):
        names = ModelNames(["gpt-4o-2024-08-06", "gpt 4o 0806 glbl"], {configured: "gpt 4o 0806 glbl"})
        assert names.find("gpt-4o-2024-08-06", "my-deployment") == ("gpt 4o 0806 glbl",)


def test_a_name_of_several_releases_makes_them_one():
    names = ModelNames(["gpt-4o-2024-05-13", "gpt-4o-2024-08-06", "gpt-5-2025-08-07"], {})
    known = [("gpt-4o-2024-05-13", "gpt-4o"), ("", "gpt-4o"), ("", "gpt-5")]
    labels, joined = one_name_each(names, known)
    both = "gpt-4o-2024-05-13 + gpt-4o-2024-08-06"
    assert labels == {known[0]: both, known[1]: both, known[2]: "gpt-5-2025-08-07"}
    assert joined == {"gpt-4o-2024-05-13": both, "gpt-4o-2024-08-06": both}


def test_releases_stay_apart_where_every_answer_said_which_it_was():
    names = ModelNames(["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"], {})
    labels, joined = one_name_each(names, [("gpt-4o-2024-05-13", "gpt-4o"), ("gpt-4o-2024-08-06", "gpt-4o")])
    assert list(labels.values()) == ["gpt-4o-2024-05-13", "gpt-4o-2024-08-06"]
    assert not joined


@given(st.text(max_size=80))
def test_any_name_is_read_and_found_as_itself(name):
    assert parse_model(name) == parse_model(name.strip())
    if name:
        assert ModelNames([name], {}).find(name) == (name,)
