"""Spellings of a chat path, before applications in six frameworks: what reaches the handler, the plugins have seen."""

import asyncio
import gc
import json
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.middleware import Middleware

from crplugins import HostPrincipalMiddleware, Plugin, PluginMiddleware
from crplugins.testing import drive, lifespan
from tests.homes.host_apps import APPS, CHAT
from tests.homes.host_model import HostModel

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # requests left half read

ASK = {"model": "llama", "messages": [{"role": "user", "content": "hi"}]}


class Seen(Plugin):
    """Counts what passes it."""

    def __init__(self) -> None:
        self.count = 0

    async def on_request(self, exchange: Any) -> None:
        self.count += 1


@pytest.fixture(autouse=True)
def blockbuster():
    """Nothing: what a framework does on the event loop is its own affair."""


@pytest.fixture(autouse=True)
def hosts_may_complain():
    """What a framework logs of requests that its handler cannot read is its own."""
    logging.disable(logging.ERROR)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module", autouse=True)
def nothing_half_read_is_left():
    """It is collected here, where what is said of it is ignored, and not in a later file."""
    yield
    gc.collect()


@pytest.fixture(params=list(APPS))
async def host(request) -> AsyncIterator[Any]:
    """An application that has started, with a plugin that sees chat completions, and its model."""
    pytest.importorskip(request.param)
    model, seen = HostModel(), Seen()
    app = APPS[request.param](model, [Middleware(PluginMiddleware, plugins=[seen])])
    async with lifespan(app):
        yield SimpleNamespace(app=app, model=model, seen=seen)


@pytest.fixture(params=list(APPS))
async def signed_out(request) -> AsyncIterator[Any]:
    """An application whose callers nobody has authenticated, and its model."""
    pytest.importorskip(request.param)
    model = HostModel()
    app = APPS[request.param](model, [Middleware(HostPrincipalMiddleware)])
    async with lifespan(app):
        yield SimpleNamespace(app=app, model=model)


async def knock(app: Any, target: bytes, method: str = "POST", **scope: Any) -> int:
    """The status of a request for a target as it stands on the wire, 500 if the app fails; the path is uvicorn's."""
    raw = target.partition(b"?")[0]
    parts = {"raw_path": raw, "path": unquote(raw.decode("latin-1")), **scope}
    headers = {"content-type": "application/json", "x-http-method-override": "POST"}
    try:
        return (await drive(app, method, body=ASK, headers=headers, scope=parts)).status
    except Exception:
        return 500


BETWEEN = [
    b"/", b"//", b"/.", b"/./", b"/..", b"/x/..", b"/x/../", b".", b" ", b"%0A", b"%0D%0A", b"%00", b"%09", b"%20", b";",
    b";a=b", b"?a", b"%3F", b"%3Fa", b"#", b"%23a", b"\\", b"%5C", b"%2F", b"%252F", b"%2e", b"%2e%2e/", b"*", b"+", b"%",
    b"%2", b"%E2%80%8B", b"%CC%81", b"%FF", b"%C0%AF", b"%EF%BC%8F",
]  # fmt: skip
ENCODED = st.binary(min_size=1, max_size=2).map(lambda raw: b"".join(b"%%%02X" % byte for byte in raw))
JUNK = st.one_of(st.sampled_from(BETWEEN), ENCODED)
PREFIX = st.sampled_from([b"", b"", b"", b"/", b"//host", b"http://host", b"/ai", b"."])
METHODS = st.sampled_from(
    ["POST", "POST", "POST", "post", "Post", "GET", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE", "QUERY"]
)


def _spelt(character: int, how: str) -> bytes:
    text = chr(character)
    other = {
        "upper": text.upper(),
        "encoded": f"%{character:02x}",
        "twice": f"%25{character:02x}",
        "wide": f"%EF%BC%{0x80 + character - 0x20:02X}" if 0x40 > character - 0x20 >= 0 else text,
        "dotless": "%C4%B1" if text == "i" else text,
        "long": "%C5%BF" if text == "s" else text,
    }
    return other.get(how, text).encode()


@st.composite
def spellings(draw: Any) -> bytes:
    """A chat path with up to three of its characters written differently, and up to three things between them."""
    letters = [bytes([character]) for character in CHAT.encode()]
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(letters) - 1))
        how = draw(st.sampled_from(["upper", "encoded", "twice", "wide", "dotless", "long"]))
        letters[at] = _spelt(CHAT.encode()[at], how)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.sampled_from([len(letters), draw(st.integers(0, len(letters)))]))
        letters.insert(at, draw(JUNK))
    return draw(PREFIX) + (b"".join(letters).upper() if draw(st.integers(0, 9)) == 0 else b"".join(letters))


@given(target=spellings(), method=METHODS)
async def test_no_request_reaches_the_handler_that_the_plugins_did_not_see(host, target, method):
    asked, seen = len(host.model.asked), host.seen.count
    await knock(host.app, target, method)
    assert len(host.model.asked) - asked <= host.seen.count - seen, f"{method} {target!r}"


@given(target=spellings(), root=st.sampled_from(["/ai", "/ai/", "/v1", "/v1/chat"]), inside=st.booleans())
async def test_nor_does_one_behind_a_root_path(host, target, root, inside):
    asked, seen = len(host.model.asked), host.seen.count
    await knock(host.app, root.encode() + target if inside else target, root_path=root)
    assert len(host.model.asked) - asked <= host.seen.count - seen, f"{target!r} behind {root}"


@given(path=spellings(), raw=spellings())
async def test_nor_does_one_whose_path_another_layer_has_rewritten(host, path, raw):
    asked, seen = len(host.model.asked), host.seen.count
    await knock(host.app, path, raw_path=raw)
    assert len(host.model.asked) - asked <= host.seen.count - seen, f"{path!r}, before it {raw!r}"


async def test_the_path_itself_is_answered_and_seen(host):
    assert await knock(host.app, CHAT.encode()) == 200
    assert (len(host.model.asked), host.seen.count) == (1, 1)


@given(target=spellings(), method=METHODS)
async def test_nobody_gets_in_by_another_spelling(signed_out, target, method):
    await knock(signed_out.app, target, method)
    assert signed_out.model.asked == [], f"{method} {target!r}"


@pytest.mark.parametrize("name", list(APPS))
async def test_it_is_the_same_on_a_socket(name, serve):
    """Targets as a client may write them, which an HTTP library would tidy up."""
    pytest.importorskip(name)
    model, seen = HostModel(), Seen()
    app = APPS[name](model, [Middleware(PluginMiddleware, plugins=[seen])])
    body = json.dumps(ASK).encode()
    answers = {}
    async with serve(app) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        for target in SOCKET_TARGETS:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(
                b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (target, len(body), body)
            )
            answers[target] = int((await reader.read()).split(b" ", 2)[1])
            writer.close()
    assert answers[CHAT.encode()] == 200
    assert len(model.asked) == list(answers.values()).count(200) <= seen.count
    assert set(answers.values()) <= {200, 404}, answers


SOCKET_TARGETS = [
    CHAT.encode(), b"/v1/chat/completions%0A", b"/v1/chat/completions/", b"/V1/chat/completions", b"//v1/chat/completions",
    b"/v1/chat%2Fcompletions", b"/v1/chat/completions;x", b"/v1/chat/completions%20", b"/v1/x/../chat/completions",
]  # fmt: skip
