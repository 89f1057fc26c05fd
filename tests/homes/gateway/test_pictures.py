"""Pictures that are edited or varied, by OpenAI's SDK through the own gateway, over real sockets."""

import base64
import json
from typing import Any

import httpx
import openai
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.conftest import serving
from tests.core.test_media import png
from tests.homes.gateway.test_counted import SECRET, gateway
from tests.homes.gateway.test_dialects import Records

pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI has no more variations

SQUARE = png(1024, 1024)
SEEN = 1399
"""Tokens of it, of a model that nobody knows."""

PICTURE: Any = ("cat.png", SQUARE, "image/png")
ADDRESS = {"image_url": "https://example.org/a.png"}
DATA = {"image_url": "data:image/png;base64," + base64.b64encode(SQUARE).decode()}
COUNTS = {
    "input_tokens": 201, "output_tokens": 272, "total_tokens": 473,
    "input_tokens_details": {"text_tokens": 7, "image_tokens": 194},
}  # fmt: skip
BY_TOKENS = {
    "input_cost_per_token": 5e-6, "input_cost_per_image_token": 1e-5, "output_cost_per_image_token": 4e-5,
    "mode": "image_edit",
}  # fmt: skip
BY_PICTURE = {"output_cost_per_image": 0.02, "mode": "image_generation"}


def stream(*events: dict[str, Any]) -> Script:
    raw = "".join([f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in events])
    return Script(body=raw.encode(), content_type="text/event-stream")


def edited(kind: str, **more: Any) -> dict[str, Any]:
    picture = {"b64_json": "AA", "created_at": 1, "size": "1024x1024", "quality": "low", "output_format": "png"}
    return {"type": f"image_edit.{kind}", "background": "opaque", **picture, **more}


async def edit_json(client: openai.AsyncOpenAI, **asked: Any) -> httpx.Response:
    """In the form that OpenAI documents besides, and no SDK speaks."""
    return await client._client.post("images/edits", json={"model": "fast", **asked}, headers=client.auth_headers)


async def test_a_picture_is_edited_in_its_form_with_the_models_name_in_it() -> None:
    async with gateway() as (client, provider, records):
        got = await client.images.edit(model="fast", image=PICTURE, mask=PICTURE, prompt="a hat", n=2)
        [request] = provider.requests
    assert len(got.data or ()) == 2
    assert request.json == {"model": "m", "prompt": "a hat", "n": 2}
    assert request.body.count(SQUARE) == 2
    [record] = records
    assert (record.endpoint, record.requested_model, record.served_model) == ("image_edits", "fast", "m")
    assert (record.outcome, record.usage_source) == ("ok", "provider")
    assert (record.usage.image_input_tokens, record.usage.image_output_tokens) == (194, 544)
    assert got.usage is not None
    assert record.usage.input_tokens == got.usage.input_tokens


async def test_several_pictures_pass_each_as_it_is() -> None:
    given: Any = [("a.png", SQUARE + b"a"), ("b.png", SQUARE + b"b")]
    async with gateway() as (client, provider, _):
        await client.images.edit(model="fast", image=given, prompt="a hat")
        [request] = provider.requests
    assert request.body.count(b'name="image[]"') == 2
    assert SQUARE + b"a\r\n" in request.body
    assert SQUARE + b"b\r\n" in request.body


async def test_pictures_at_an_address_are_edited_in_json() -> None:
    async with gateway() as (client, provider, records):
        got = await edit_json(client, prompt="a hat", images=[ADDRESS, {"file_id": "file-1"}], mask=ADDRESS)
        [request] = provider.requests
    assert got.status_code == 200, got.text
    sent = {"model": "m", "prompt": "a hat", "images": [ADDRESS, {"file_id": "file-1"}], "mask": ADDRESS}
    assert request.json == sent
    assert request.headers["content-type"] == "application/json"
    assert [(record.endpoint, record.served_model, record.outcome) for record in records] == [
        ("image_edits", "m", "ok")
    ]


async def test_variations_have_no_prompt_and_without_a_model_mean_dall_e_2() -> None:
    async with gateway(aliases={"dall-e-2": "served"}) as (client, provider, records):
        got = await client.images.create_variation(image=PICTURE, n=2)
        await client.images.create_variation(model="fast", image=PICTURE)
        first, second = provider.requests
    assert len(got.data or ()) == 2
    assert (first.json, second.json) == ({"n": 2, "model": "m"}, {"model": "m"})
    assert [(record.endpoint, record.requested_model) for record in records] == [
        ("image_variations", "dall-e-2"),
        ("image_variations", "fast"),
    ]
    assert {(record.outcome, record.usage_source) for record in records} == {("ok", "estimated")}
    assert [record.usage.image_input_tokens for record in records] == [SEEN, SEEN]


async def test_an_edit_without_a_model_or_a_picture_is_refused_as_openai_does() -> None:
    async with gateway() as (client, provider, _):
        for asked in ({"prompt": "a hat"}, {"prompt": "a hat", "images": []}, {"images": [ADDRESS]}):
            got = await edit_json(client, **asked)
            assert got.status_code == 400, got.text
        assert "images" in (await edit_json(client, prompt="a hat")).json()["error"]["param"]
        with pytest.raises(openai.BadRequestError, match="model"):
            await client.images.edit(image=PICTURE, prompt="a hat")
        with pytest.raises(openai.BadRequestError, match="Missing required parameter: 'prompt'"):
            await client.images.edit(model="fast", image=PICTURE, prompt=openai.omit)  # type: ignore[arg-type]
        with pytest.raises(openai.BadRequestError, match="Invalid 'n'"):
            await client.images.edit(model="fast", image=PICTURE, prompt="a hat", n=0)
        assert not provider.requests


async def test_an_edit_is_streamed_event_by_event_and_counted() -> None:
    script = stream(edited("partial_image", partial_image_index=0), edited("completed", usage=COUNTS))
    async with gateway(default=script) as (client, provider, records):
        events = await client.images.edit(model="fast", image=PICTURE, prompt="a hat", stream=True, partial_images=1)
        kinds = [event.type async for event in events]
        [request] = provider.requests
    assert kinds == ["image_edit.partial_image", "image_edit.completed"]
    assert (request.json["stream"], request.json["partial_images"]) == (True, 1)
    [record] = records
    assert (record.stream, record.outcome, record.usage_source) == (True, "ok", "provider")
    assert (record.usage.input_tokens, record.usage.image_input_tokens, record.usage.image_output_tokens) == (
        201,
        194,
        272,
    )


async def test_a_server_that_names_its_model_is_read_with_the_name_that_was_asked_for() -> None:
    document = Script(body={"created": 1, "model": "m", "data": [{"b64_json": "AA"}]})
    async with gateway(default=document) as (client, provider, _):
        whole = [await edit_json(client, prompt="a hat", images=[ADDRESS])]
        varied = await client.images.with_raw_response.create_variation(model="fast", image=PICTURE)
        provider.default = stream(edited("completed", model="m", usage=COUNTS))
        streamed = await edit_json(client, prompt="a hat", images=[ADDRESS], stream=True)
    assert [each.json()["model"] for each in (*whole, varied.http_response)] == ["fast", "fast"]
    assert json.loads(streamed.text.partition("data: ")[2])["model"] == "fast"


async def test_a_stream_of_half_a_picture_is_a_failure() -> None:
    async with gateway(default=stream(edited("partial_image", partial_image_index=0))) as (client, _, records):
        got = await edit_json(client, prompt="a hat", images=[ADDRESS], stream=True)
    assert "upstream_incomplete" in got.text
    assert [record.outcome for record in records] == ["server_error"]


async def test_a_document_in_the_place_of_a_stream_is_one_to_the_sdk() -> None:
    async with gateway() as (client, _, records):
        events = await client.images.edit(model="fast", image=PICTURE, prompt="a hat", stream=True)
        drawn = [(event.type, bool(event.b64_json), event.type == "image_edit.completed") async for event in events]
    assert drawn == [("image_edit.completed", True, True)]
    assert [(record.outcome, record.usage.output_tokens) for record in records] == [("ok", 272)]


async def test_a_provider_that_fails_is_told_of() -> None:
    refused = {"error": {"message": "Too large.", "type": "invalid_request_error", "param": "image", "code": "large"}}
    async with gateway(default=Script(status=400, body=refused)) as (client, provider, records):
        with pytest.raises(openai.BadRequestError, match="Too large") as told:
            await client.images.edit(model="fast", image=PICTURE, prompt="a hat")
        assert told.value.param == "image"
        provider.default = Script.rate_limited(1)
        with pytest.raises(openai.RateLimitError):
            await client.images.create_variation(model="fast", image=PICTURE)
    assert [record.outcome == "ok" for record in records] == [False, False]


@pytest.mark.parametrize("as_json", [False, True])
async def test_another_deployment_is_sent_the_same_pictures(as_json: bool) -> None:
    records = Records()
    async with FakeProvider(default=Script(status=500, body={})) as broken, FakeProvider() as whole:
        params = [
            {"model": f"openai/{name}", "api_base": at.base_url, "api_key": "sk-upstream", "order": order}
            for order, (name, at) in enumerate((("a", broken), ("longer-name", whole)), 1)
        ]
        app = Gateway(
            model_list=[{"model_name": "fast", "litellm_params": each} for each in params],
            keys=[{"id": "team", "secret": SECRET}],
            plugins=[{"use": records, "before": "Auth"}],
            num_retries=0,
        )
        async with (
            serving(app) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client,
        ):
            if as_json:
                assert (await edit_json(client, prompt="a hat", images=[DATA])).status_code == 200
            else:
                await client.images.edit(model="fast", image=PICTURE, prompt="a hat")
        [first], [second] = broken.requests, whole.requests
    assert (first.json["model"], second.json["model"]) == ("a", "longer-name")
    assert as_json or (SQUARE in first.body and SQUARE in second.body)
    [record] = records.made
    assert (record.outcome, record.served_model) == ("ok", "longer-name")


@pytest.mark.parametrize("as_json", [False, True])
async def test_what_nobody_counts_is_estimated_with_its_pictures(as_json: bool) -> None:
    async with gateway(default=Script(body={"created": 1, "data": [{"b64_json": "AA"}]})) as (client, _, records):
        if as_json:
            await edit_json(client, prompt="a hat", images=[DATA, ADDRESS], mask=DATA)
        else:
            await client.images.edit(model="fast", image=[PICTURE, PICTURE], mask=PICTURE, prompt="a hat")
    [record] = records
    assert record.usage_source == "estimated"
    assert record.usage.image_input_tokens == 3 * SEEN
    assert 3 * SEEN < record.usage.input_tokens < 3 * SEEN + 20


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_limit_of_tokens_reserves_for_pictures_before_they_are_sent_on(as_json: bool) -> None:
    limits = {"per_key": {"tokens_per_minute": 2 * SEEN}}
    async with gateway(limits=limits) as (client, provider, _):
        if as_json:
            got = await edit_json(client, prompt="a hat", images=[DATA, DATA])
            assert got.status_code == 429, got.text
            assert (await edit_json(client, prompt="a hat", images=[DATA])).status_code == 200
        else:
            with pytest.raises(openai.RateLimitError):
                await client.images.edit(model="fast", image=[PICTURE, PICTURE], prompt="a hat")
            await client.images.edit(model="fast", image=PICTURE, prompt="a hat")
        assert len(provider.requests) == 1


def priced(info: dict[str, Any], provider: FakeProvider, records: Records, **words: Any) -> Gateway:
    deployment = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
    return Gateway(
        model_list=[{"model_name": "fast", "litellm_params": deployment, "model_info": info}],
        keys=[{"id": "team", "secret": SECRET}],
        plugins=[{"use": records, "before": "Auth"}],
        num_retries=0,
        **words,
    )


@pytest.mark.parametrize(
    ("info", "cost"),
    [(BY_TOKENS, 7 * 5 + 194 * 10 + 272 * 40), (BY_PICTURE, 3 * 20_000)],
    ids=["by token", "by picture"],
)
async def test_edits_cost_by_their_tokens_or_by_the_pictures_that_are_made(info: dict[str, Any], cost: int) -> None:
    records = Records()
    made = {"created": 1, "data": [{"b64_json": "AA"}] * 3, "usage": COUNTS}
    async with FakeProvider(default=Script(body=made)) as provider:
        async with (
            serving(priced(info, provider, records)) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client,
        ):
            await client.images.edit(model="fast", image=PICTURE, prompt="a hat", n=4)
    assert [(record.cost_micro_usd, record.cost_source) for record in records.made] == [(cost, "config")]


async def test_a_budget_reserves_for_the_pictures_of_a_request_at_their_own_price() -> None:
    records = Records()
    usd = 1.5 * SEEN * 1e-5  # more than one costs, and less than two; as text both would be paid
    async with FakeProvider() as provider:
        app = priced(BY_TOKENS, provider, records, budgets={"per_key": {"usd": usd, "period": "day"}})
        async with (
            serving(app) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client,
        ):
            with pytest.raises(openai.APIStatusError) as refused:
                await client.images.edit(model="fast", image=[PICTURE, PICTURE], prompt="a hat")
            assert refused.value.status_code in (402, 429)
            await client.images.edit(model="fast", image=PICTURE, prompt="a hat")
        assert len(provider.requests) == 1


async def test_a_key_of_some_models_gets_no_drawing_of_another_author() -> None:
    async with FakeProvider() as provider:
        deployment = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-upstream"}
        app = Gateway(
            model_list=[{"model_name": name, "litellm_params": deployment} for name in ("fast", "author")],
            keys=[{"id": "team", "secret": SECRET, "models": ["fast"]}],
        )
        async with (
            serving(app) as url,
            openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=SECRET, max_retries=0) as client,
        ):
            svg: Any = {"model": "author"}
            for asking in (
                client.images.edit(model="fast", image=PICTURE, prompt="a hat", svg=svg),
                client.images.generate(model="fast", prompt="a hat", svg=svg),
            ):
                with pytest.raises(openai.APIStatusError) as refused:
                    await asking
                assert (refused.value.status_code, refused.value.code) == (404, "model_not_found")
            for name in ("SVG", "svg_model"):
                with pytest.raises(openai.BadRequestError, match="Unknown parameter"):
                    await client.images.generate(model="fast", prompt="a hat", extra_body={name: svg})
        assert not provider.requests
