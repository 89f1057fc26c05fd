"""Which requests belong to a trace, and whether anybody samples it."""

import time

import pytest

from crplugins.asgi.scope import make_exchange
from crplugins.core.trace import trace_of
from crplugins.testing.asgi import http_scope

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def trace(*traceparents, made=None):
    exchange = make_exchange(http_scope("POST", "/v1/chat/completions", [("host", "x")]), time.monotonic, lambda: "id")
    exchange.headers = [*exchange.headers, *((b"traceparent", one.encode("latin-1")) for one in traceparents)]
    exchange.trace_headers = made
    return trace_of(exchange)


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
