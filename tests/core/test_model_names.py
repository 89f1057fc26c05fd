"""What a client may write in place of the `*` of a model's name."""

import pytest

from crplugins.core.patterns import LONGEST_MODEL, Pattern, is_model_name


@pytest.mark.parametrize(
    "name",
    [
        "gpt-4o-mini-2024-07-18", "meta-llama/Llama-3.1-70B-Instruct", "anthropic.claude-3-sonnet-20240229-v1:0",
        "ft:gpt-4o:acme::7qTVM5AR", "claude-3-5-sonnet@20240620", "claude-opus-4@default", "qwen2.5:7b-q4_K_M",
        "@cf/meta/llama-2-7b-chat-int8", "accounts/fireworks/models/deepseek-v3", "hf.co/bartowski/Llama-3.2:Q4_K_M",
        "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-v1:0", "learn-lm:1.5", "x",
        "openrouter/auto", "gpt-4o+search", "a" * LONGEST_MODEL,
    ],
)  # fmt: skip
def test_names_of_models_are_names(name: str) -> None:
    assert is_model_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "http://10.0.0.1/x", "HTTP://10.0.0.1", "https:/host", "https:host", "//host/x", "/x", "x/", "a//b", "",
        "../../x", "a/../b", "a/./b", "..", ".", "...", "x?y=", "x#y", "x%2f..", "%2e%2e/x", "a\\b", "..\\x", "a b",
        "a\nb", "a\r\nHost: x", "a\x00", "a\x7f", "x@evil.example/y", "user@host:80/y", "user:pw@host.example/y",
        "\uff0e\uff0e/x", "a\u2024\u2024/b", "a\u2028b", "\uff0f\uff0fhost", "mod\u00e8le", "a;b", "a&b", "a'b", 'a"b',
        "{x}", "[::1]:80", "$x", "~/x", "x/arn:aws:bedrock:host.example/y:1:z", "arn:aws:bedrock:a.b:1:z", "arn:x",
        "file:x", "x/https:y", "ws://x", "-x/..", "a" * (LONGEST_MODEL + 1), "a/" * 1_000_000,
    ],
)  # fmt: skip
def test_addresses_queries_and_what_leads_elsewhere_are_none(text: str) -> None:
    assert not is_model_name(text)


@pytest.mark.parametrize(
    ("pattern", "name", "completed"),
    [
        ("gpt-4o*", "gpt-4o", True),
        ("gpt-4o*", "gpt-4o-mini", True),
        ("gpt-4o*", "gpt-4o/../../x", False),
        ("openrouter/*:free", "openrouter/a/b:free", True),
        ("local/http://10.0.0.1:5000/*", "local/http://10.0.0.1:5000/x", True),  # the operator's own address
        ("local/http://10.0.0.1:5000/*", "local/http://10.0.0.1:5000/../x", False),
        ("*", "http://10.0.0.1/", False),
        ("a.*", "a..", True),
        ("x/.*", "x/..", False),
        ("*", "", False),
    ],
)
def test_what_a_star_stands_for_completes_a_name(pattern: str, name: str, completed: bool) -> None:
    assert Pattern.of(pattern).matches(name)
    assert Pattern.of(pattern).completes(name) is completed
