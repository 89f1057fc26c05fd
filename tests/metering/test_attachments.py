"""Tokens of pictures and recordings by the documented rules: each expectation is an example of a provider's page."""

import pytest

from crplugins.core.media import Size
from crplugins.metering.attachments import Attachment, image_tokens

SQUARE = Size(1024, 1024)


@pytest.mark.parametrize(
    ("model", "size", "low", "tokens"),
    [
        ("gpt-4o", SQUARE, False, 765),
        ("gpt-4o-2024-08-06", Size(2048, 4096), False, 1105),
        ("openai/gpt-4o", Size(4096, 8192), True, 85),
        ("azure/gpt-4.1", Size(128, 64), False, 255),
        ("gpt-4o-mini", Size(128, 64), False, 8500),
        ("gpt-4o-mini", SQUARE, True, 2833),
        ("gpt-5", SQUARE, False, 70 + 4 * 140),
        ("o1", SQUARE, False, 75 + 4 * 150),
        ("o3-2025-04-16", SQUARE, True, 75),
        ("gpt-4.1-mini", SQUARE, False, 1659),  # 1024 patches
        ("gpt-4.1-nano-2025-04-14", SQUARE, True, 2520),  # a low detail changes nothing
        ("gpt-4.1-mini", Size(1800, 2400), False, 2353),  # 1452 patches
        ("o4-mini", Size(32, 32), False, 2),
        ("gpt-5-mini", Size(512, 512), False, 308),
        ("gpt-5.4-mini", Size(2048, 768), False, 1844),
        ("gpt-5.5", SQUARE, False, 1229),
        ("claude-sonnet-4-5", Size(1000, 1000), False, 1334),
        ("anthropic/claude-3-7-sonnet-latest", Size(200, 200), False, 54),
        ("bedrock/us.anthropic.claude-sonnet-4-20250514-v1:0", Size(8000, 8000), False, 1600),
        ("claude-opus-4-7", Size(8000, 8000), False, 4784),
        ("gemini/gemini-2.0-flash", Size(384, 384), False, 258),
        ("vertex_ai/gemini-2.5-pro", Size(1500, 800), False, 4 * 258),
        ("gemini-3-pro-preview", Size(100, 100), False, 1120),
        ("gpt-image-1", SQUARE, False, 65 + 129),
        ("openai/gpt-image-1-mini", Size(1025, 1024), False, 65 + 2 * 129),
        ("gpt-image-1.5", Size(1920, 1080), False, 65 + 2 * 129),
        ("gpt-image-2", SQUARE, False, 1024),
        ("openai/gpt-image-2-2026-04-21", Size(512, 512), False, 1024),  # made twice as large
        ("gpt-image-2", Size(256, 256), False, 256),
        ("gpt-image-2", Size(1536, 1024), False, 1536),
        ("gpt-image-2", Size(4000, 4000), False, 1521),
        ("gpt-image-2", Size(1024, 64), False, 32 * 11),  # as wide as three times its height
        ("some-model", Size(750, 100), False, 100),
    ],
)
def test_a_picture_takes_what_its_provider_documents(model: str, size: Size, low: bool, tokens: int) -> None:
    assert image_tokens(model, size, low=low) == tokens


@pytest.mark.parametrize(("size", "more"), [(SQUARE, 4160), (Size(1024, 1536), 6240)])
def test_a_picture_that_is_to_be_kept_as_it_is_takes_more_of_a_model_that_edits_it(size: Size, more: int) -> None:
    picture = Attachment("image", size)
    assert picture._replace(faithful=True).tokens("gpt-image-1.5") - picture.tokens("gpt-image-1.5") == more
    assert picture._replace(faithful=True).tokens("gpt-4o") == picture.tokens("gpt-4o")


@pytest.mark.parametrize("size", [Size(1, 1), Size(1, 2**20), Size(2**20, 2**20), Size(2**20, 1)])
@pytest.mark.parametrize(
    "model",
    ["gpt-4o", "gpt-4o-mini", "gpt-4.1-mini", "gpt-5.5", "claude-x", "gemini-3", "gpt-image-1", "gpt-image-2", "m"],
)
def test_no_picture_takes_more_than_the_largest_that_a_provider_accepts(model: str, size: Size) -> None:
    assert 1 <= image_tokens(model, size) <= 50_000


def test_a_picture_of_unknown_size_counts_as_one_of_a_million_pixels() -> None:
    assert Attachment("image").tokens("GPT-4o") == 765


def test_speech_takes_tokens_by_the_second() -> None:
    assert Attachment("audio", seconds=4.0).tokens("gpt-4o-audio-preview") == 40
    assert Attachment("audio", seconds=4.0).tokens("gemini/gemini-2.5-flash") == 128
