"""What is learnt of providers that refuse `stream_options`, where LiteLLM's hooks cannot repeat a request."""

import json
from typing import Any

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Timings
from crplugins.homes.litellm_proxy.unasked import UnaskedStreams


def request(**body: Any) -> Exchange:
    sent = {"model": "m", "messages": [], "stream": True, **body}
    return Exchange("r", "POST", "/", [], None, lambda: 0.0, Timings(0.0), body=Body(json.dumps(sent).encode()))


def test_a_refused_request_is_sent_without_when_its_client_repeats_it() -> None:
    unasked = UnaskedStreams()
    unasked.suspect(request(temperature=7))
    assert unasked.has(request(temperature=7))
    assert not unasked.has(request(temperature=1))
    assert not unasked.has(request())


def test_it_is_remembered_for_others_once_the_repeated_request_has_succeeded() -> None:
    unasked = UnaskedStreams()
    unasked.suspect(request(user="a"))
    unasked.succeeded(request(user="b"))
    assert not unasked.has(request(user="b"))
    unasked.succeeded(request(user="a"))
    assert unasked.has(request(user="b"))
    assert not unasked.has(request(user="b", model="n"))
    assert not unasked.has(request())
