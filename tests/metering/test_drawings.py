"""What the pictures of GPT Image take: OpenAI's table for the first ones, its calculator's figures for the second."""

import json
from typing import Any

import aiohttp
import pytest

from crplugins.core.body import Body
from crplugins.homes.gateway.app import Gateway
from crplugins.metering.drawings import drawn_tokens
from crplugins.testing import FakeProvider, Script


def tokens(model: str, **asked: Any) -> int:
    return drawn_tokens(model, Body.of_request(json.dumps({"model": "m", "prompt": "a cat", **asked}).encode()))


@pytest.mark.parametrize(
    ("model", "asked", "told"),
    [
        ("gpt-image-2", {"size": "1024x1024", "quality": "high"}, 7024),
        ("gpt-image-2", {"size": "1536x1024", "quality": "high"}, 5488),
        ("gpt-image-2", {"size": "1024x1536", "quality": "high"}, 5488),
        ("openai/gpt-image-2-2026-04-21", {"size": "1792x1024", "quality": "high"}, 5063),
        ("gpt-image-2", {"size": "3584x2048", "quality": "high"}, 12329),
        ("gpt-image-2", {"size": "1024x1024", "quality": "low", "n": 3}, 3 * 196),
        ("gpt-image-2", {}, 1756),
        ("gpt-image-2", {"size": "auto", "quality": "auto", "partial_images": 2}, 1756 + 200),
        ("gpt-image-1", {"size": "1024x1024", "quality": "high"}, 4160),
        ("azure/gpt-image-1.5", {"size": "1024x1536", "quality": "low"}, 408),
        ("gpt-image-1-mini", {"size": "1536x1024"}, 1568),
        ("dall-e-3", {"size": "1024x1024", "quality": "hd"}, 0),
    ],
)
def test_pictures_take_what_the_calculator_says(model: str, asked: dict[str, Any], told: int) -> None:
    assert tokens(model, **asked) == told


@pytest.mark.parametrize(
    "asked",
    [
        {"size": None, "quality": None, "n": None},
        {"size": 5, "quality": ["high"]},
        {"size": "0x0"},
        {"size": "9" * 5000 + "x1"},
        {"size": "1024x1024\n"},
        {"quality": "HIGH", "partial_images": "2"},
    ],
    ids=str,
)
def test_what_is_no_size_and_no_quality_is_left_to_the_model(asked: dict[str, Any]) -> None:
    assert tokens("gpt-image-2", **asked) == 1756


def test_no_number_of_pictures_is_beyond_what_a_request_can_have() -> None:
    assert tokens("gpt-image-2", n=128, partial_images=10**30) == 128 * (1756 + 300)
    assert tokens("gpt-image-2", n=-5) == 1756
    assert tokens("gpt-image-2", size="99999x1", quality="low") < 10_000_000


PRICES = {"mode": "image_generation", "input_cost_per_token": 0.000005, "output_cost_per_image_token": 0.00003}


@pytest.mark.parametrize("form", [True, False])
async def test_a_budget_admits_no_more_pictures_at_once_than_it_can_pay(serve: Any, form: bool) -> None:
    """Each costs 0.21 dollars. Before any of them is drawn, the second is refused."""
    async with FakeProvider(default=Script(body={"created": 1, "data": []}, delay=0.5)) as provider:
        params = {"model": "openai/gpt-image-2", "api_base": provider.base_url, "api_key": "sk-up"}
        model = {"model_name": "gpt-image-2", "litellm_params": params, "model_info": PRICES, "handler": "direct"}
        keys = [{"id": "a", "secret": "sk-a-0123456789", "budget": {"usd": 0.3, "period": "total"}}]
        app = Gateway(model_list=[model], keys=keys)
        headers = {"authorization": "Bearer sk-a-0123456789"}
        async with serve(app) as url, aiohttp.ClientSession(url, headers=headers) as session:

            async def draw() -> int:
                asked = {"model": "gpt-image-2", "prompt": "a cat", "size": "1024x1024", "quality": "high"}
                if form:
                    data = aiohttp.FormData(asked)
                    data.add_field("image", b"\x89PNG\r\n\x1a\n", filename="a.png", content_type="image/png")
                    async with session.post("/v1/images/edits", data=data) as answer:
                        return answer.status
                async with session.post("/v1/images/generations", json=asked) as answer:
                    return answer.status

            import asyncio

            assert sorted(await asyncio.gather(draw(), draw())) == [200, 429]
