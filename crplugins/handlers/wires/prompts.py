"""Prompts that are texts or token numbers, alone or in a list, as completions and embeddings have them."""

from typing import Any


def prompts_of(given: Any) -> list[Any]:
    """Each prompt: a text, or a list of the numbers of its tokens. `[1, 2, 3]` is one prompt of three tokens.

    Raises TypeError for what is neither a text nor a list.
    """
    if not isinstance(given, str | list):
        raise TypeError("a prompt is a text or a list")
    if isinstance(given, list) and not all(isinstance(item, int) for item in given):
        return given
    return [given]


def prompt_text(prompt: Any) -> str:
    """The text of a prompt; "" of one in token numbers, which nobody here can read."""
    return prompt if isinstance(prompt, str) else ""


def prompt_tokens(given: Any) -> int:
    """One for each token number, and one for every four bytes of a text, rounded up."""
    return sum(len(prompt) if isinstance(prompt, list) else _quarter(str(prompt)) for prompt in prompts_of(given))


def _quarter(text: str) -> int:
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)
