"""LitellmEstimator: litellm's tokenizers in place of the estimate by characters."""

from crplugins.core.body import Body
from crplugins.core.sse import Event
from crplugins.handlers.litellm.estimator import LitellmEstimator
from crplugins.testing import FakeProvider
from tests.litellm_setup import make_exchange

CALL = b'{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"name":"ping","arguments":"{}"}}]}}]}'


async def test_text_and_tool_calls_are_counted_by_a_tokenizer() -> None:
    exchange = make_exchange()
    exchange.body = Body(b'{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}')
    async with LitellmEstimator() as estimator:
        for data in (b'{"choices":[{"delta":{"content":"one two"}}]}', CALL):
            estimator.observe(exchange, Event.of(data))
        counted = await estimator.count(exchange)
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens) == (8, 4)  # one, two, ping, {}


async def test_an_estimate_downloads_no_pictures() -> None:
    async with FakeProvider() as provider, LitellmEstimator() as estimator:
        exchange = make_exchange()
        picture = f'{{"type":"image_url","image_url":{{"url":"{provider.base_url}/picture.png","detail":"high"}}}}'
        exchange.body = Body(f'{{"model":"gpt-4o","messages":[{{"role":"user","content":[{picture}]}}]}}'.encode())
        counted = await estimator.count(exchange)
        assert counted is not None
        assert counted.input_tokens > 80
        assert not provider.requests
