"""Which requests link to a trace."""

import pytest

from crplugins.plugins.metrics_traces import exemplar_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


@pytest.mark.parametrize(
    "traceparent",
    [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-ff", f" 00-{TRACE}-{SPAN}-03 ", f"01-{TRACE}-{SPAN}-01-later"],
)
def test_a_sampled_trace_is_linked(traceparent):
    assert exemplar_of([(b"host", b"x"), (b"traceparent", traceparent.encode())]) == {"trace_id": TRACE}


@pytest.mark.parametrize(
    "traceparent",
    [
        f"00-{TRACE}-{SPAN}-00",
        f"00-{TRACE}-{SPAN}-02",
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
    assert exemplar_of([(b"traceparent", traceparent.encode("latin-1"))]) is None


def test_two_traces_are_none():
    header = (b"traceparent", f"00-{TRACE}-{SPAN}-01".encode())
    assert exemplar_of([header, header]) is None
    assert exemplar_of([]) is None
