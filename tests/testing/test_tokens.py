from crplugins.handlers.wires.completion import pieces
from crplugins.testing.tokens import attachments, prompt_tokens, text_of


def test_a_token_is_up_to_eight_characters_with_the_space_before_them() -> None:
    assert pieces("Hello  wonderful you\n") == ["Hello", "  wonderfu", "l", " you", "\n"]


def test_the_tokens_joined_are_the_text() -> None:
    text = '{"name": "你好", "n": [1,2]}\n\n  x '
    assert "".join(pieces(text)) == text
    assert pieces("") == []


def test_a_prompt_costs_four_per_message_and_one_per_four_bytes() -> None:
    assert prompt_tokens({"messages": [{"role": "user", "content": "12345"}]}) == 4 + 2
    assert prompt_tokens({"messages": [{"role": "user", "content": "12345"}] * 2}) == 2 * (4 + 2)
    assert prompt_tokens({"messages": [{"role": "user", "content": "你好"}]}) == 4 + 2


def test_tools_and_images_cost_tokens() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert prompt_tokens({"messages": [{"role": "user", "content": None}], "tools": tools}) > 4
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    assert prompt_tokens({"messages": [{"role": "user", "content": [image]}]}) == 4 + 85


def test_text_is_read_from_strings_and_from_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {}}, {"type": "text", "text": "b"}]
    assert text_of({"content": parts}) == "a b"
    assert text_of({"content": "plain"}) == "plain"
    assert text_of({"content": None}) == ""
    assert attachments({"content": parts}) == 1
