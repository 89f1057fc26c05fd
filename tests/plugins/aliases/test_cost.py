"""What ModelAliases costs, in microseconds. `pytest -m bench -n 0 -s tests/plugins/aliases/test_cost.py`."""

import timeit

import msgspec
import pytest

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.sse import Event
from crplugins.plugins.aliases.plugin import ModelAliases

TEXT = 'Lorem ipsum dolor sit amet, "quoted" text\n and more. ' * 36
REQUEST = msgspec.json.encode({"messages": [{"role": "user", "content": TEXT}] * 10, "model": "fast", "stream": True})
HEAD = b'{"id":"chatcmpl-0000000000000001","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-mini-2024-07-18",'
CHUNK = HEAD + (
    b'"service_tier":"default","system_fingerprint":"fp_07871e2ad8","choices":[{"index":0,"delta":{"content":" word"},'
    b'"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"abcdefgh"}'
)


def microseconds(call, count):
    return min(timeit.repeat(call, number=count, repeat=40)) / count * 1e6


@pytest.mark.bench
def test_the_cost_of_a_request_and_of_a_chunk(capsys):
    plugin = ModelAliases(aliases={"fast": "gpt-4o-mini", "gpt-3.5*": "gpt-4o-mini"})
    body = Body(REQUEST)
    exchange = Exchange(
        "id", "POST", "/v1/chat/completions", [], None, lambda: 0.0, Timings(0.0), requested_model="fast"
    )
    body.get("model")

    def begin():
        exchange.body, exchange.slots = body.copy(), {}

    def request():
        begin()
        plugin.on_request(exchange)

    whole = microseconds(request, 2000) - microseconds(begin, 2000)
    setting = microseconds(lambda: body.copy().set("model", "gpt-4o-mini"), 2000)
    request()
    event = Event.of(CHUNK)
    assert plugin.on_event(exchange, event).data == CHUNK.replace(b"gpt-4o-mini-2024-07-18", b"fast")
    chunk = microseconds(lambda: plugin.on_event(exchange, event), 5000)
    with capsys.disabled():
        print(
            f"\nModelAliases, {len(REQUEST)} B request: {whole:.2f} us, of which Body.set {setting:.2f}; chunk: {chunk:.2f} us"
        )
