"""Which requests belong to a trace, and whether anybody samples it."""

import time

import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.trace import LONGEST, trace_headers, trace_of
from crplugins.testing.asgi import http_scope

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def sent(*headers, made=None):
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions", [("host", "x")]), time.monotonic, lambda: "id")
    exchange.headers = [*exchange.headers, *((name.encode(), value.encode("latin-1")) for name, value in headers)]
    exchange.trace_headers = made
    return exchange


def trace(*traceparents, made=None):
    return trace_of(sent(*(("traceparent", one) for one in traceparents), made=made))


@pytest.mark.parametrize(
    ("traceparent", "sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True), (f"00-{TRACE}-{SPAN}-ff", True), (f" 00-{TRACE}-{SPAN}-03 ", True),
        (f"01-{TRACE}-{SPAN}-01-later", True), (f"00-{TRACE}-{SPAN}-00", False), (f"00-{TRACE}-{SPAN}-02", False),
    ],
)  # fmt: skip
def test_a_valid_trace_is_read(traceparent, sampled):
    assert trace(traceparent) == (TRACE, sampled)


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-1",
        f"x00-{TRACE}-{SPAN}-01",
        f'00-{TRACE}-{SPAN}-01"\n',
        "",
        "é",
    ],
)
def test_no_other_is(traceparent):
    assert trace(traceparent) is None


def test_two_traces_are_none():
    assert trace(f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01") is None
    assert trace() is None


def test_what_tracing_has_made_of_it_comes_first():
    own = "0" * 31 + "1"
    assert trace(f"00-{TRACE}-{SPAN}-01", made={"traceparent": f"00-{own}-{SPAN}-00"}) == (own, False)
    assert trace(f"00-{TRACE}-{SPAN}-01", made={}) is None


GOOD = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1", "baggage": "user=u1"}


def test_the_context_of_a_client_goes_to_an_upstream_as_it_is():
    assert trace_headers(sent(*GOOD.items())) == GOOD


@pytest.mark.parametrize("traceparents", [[], ["junk"], [GOOD["traceparent"]] * 2], ids=["none", "junk", "two"])
def test_without_one_valid_traceparent_there_is_no_tracestate(traceparents):
    headers = [("traceparent", each) for each in traceparents] + [("tracestate", "vendor=1"), ("baggage", "user=u1")]
    assert trace_headers(sent(*headers)) == {"baggage": "user=u1"}


@pytest.mark.parametrize("bad", ["é", "a=\x00", "a=1\tb", "x" * (LONGEST + 1)], ids=["latin", "nul", "tab", "long"])
@pytest.mark.parametrize("name", ["tracestate", "baggage"])
@pytest.mark.parametrize("by_tracing", [False, True])
def test_no_upstream_is_sent_what_it_would_refuse(name, bad, by_tracing):
    headers = GOOD | {name: bad}
    exchange = sent(*GOOD.items(), made=headers) if by_tracing else sent(*headers.items())
    assert trace_headers(exchange) == {key: value for key, value in GOOD.items() if key != name}
