"""A company's network: the provider is reached through a proxy, and has a certificate of the company's own."""

import asyncio
import base64
from contextlib import asynccontextmanager

import pytest

from crplugins.config import parse_config
from crplugins.handlers.upstream import UpstreamUnknown, resolve
from crplugins.testing import FakeProvider
from tests.tls_setup import in_two_files, self_signed, tls_before

pytestmark = pytest.mark.filterwarnings("ignore:::litellm", "ignore:::pydantic")

HANDLERS = [("direct", "openai"), ("litellm", "openai"), ("litellm", "hosted_vllm")]
"""The direct one; OpenAI's SDK inside litellm, and litellm's own client."""

VARIABLES = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "SSL_VERIFY",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERTIFICATE",
)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Proxy:
    """Reaches one port, whatever it is asked for. `asked` has the first line and the authorization of each request."""

    def __init__(self, port):
        self.port, self.asked = port, []

    async def __call__(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        line, *headers = head.decode().splitlines()
        authorization = [h.partition(" ")[2] for h in headers if h.lower().startswith("proxy-authorization:")]
        self.asked.append((line, *authorization))
        others = await asyncio.open_connection("127.0.0.1", self.port)
        if line.startswith("CONNECT"):
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            method, target, version = line.split()
            path = "/" + target.split("/", 3)[3]
            others[1].write(
                head.replace(f"{method} {target} {version}".encode(), f"{method} {path} {version}".encode())
            )
        await asyncio.gather(_copy(reader, others[1]), _copy(others[0], writer), return_exceptions=True)


async def _copy(reader, writer):
    try:
        while data := await reader.read(1 << 16):
            writer.write(data)
    finally:
        writer.close()  # also where the other side was reset


@asynccontextmanager
async def proxy_before(port):
    proxy = Proxy(port)
    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        proxy.url = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield proxy


def port_of(provider):
    return int(provider.base_url.removesuffix("/v1").rpartition(":")[2])


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_provider_is_reached_through_the_proxy_of_the_environment(behind, monkeypatch, handler, prefix):
    async with FakeProvider() as provider, proxy_before(port_of(provider)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://us:pa%20ss@{proxy.url}\n")
        options = {"handler": handler, "prefix": prefix, "api_base": "http://only.there.example/v1"}
        async with behind(provider, **options) as gateway:
            assert (await gateway.post()).status == 200
            assert (await gateway.post(stream=True)).status == 200
    credentials = f"Basic {base64.b64encode(b'us:pa ss').decode()}"
    assert set(proxy.asked) == {("POST http://only.there.example/v1/chat/completions HTTP/1.1", credentials)}


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_provider_that_no_proxy_lists_is_reached_without(behind, monkeypatch, handler, prefix):
    async with FakeProvider() as provider:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", f"other.example,127.0.0.0/8:{port_of(provider)}")
        async with behind(provider, handler=handler, prefix=prefix) as gateway:
            assert (await gateway.post()).status == 200


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_certificate_of_the_companys_own_is_good_where_its_file_is_named(
    behind, monkeypatch, tmp_path, handler, prefix
):
    certificate = str(self_signed(tmp_path))
    async with FakeProvider() as provider, tls_before(port_of(provider), certificate) as port:
        base = {"handler": handler, "prefix": prefix, "api_base": f"https://localhost:{port}/v1"}
        async with behind(provider, **base) as gateway:
            assert (await gateway.post()).status == 502
        for ssl_verify in (certificate, False, "false"):
            async with behind(provider, **base, ssl_verify=ssl_verify) as gateway:
                assert (await gateway.post()).status == 200
        for name, value in (
            ("SSL_CERT_FILE", certificate),
            ("REQUESTS_CA_BUNDLE", certificate),
            ("SSL_VERIFY", "False"),
        ):
            with monkeypatch.context() as patch:
                patch.setenv(name, value)
                async with behind(provider, **base) as gateway:
                    assert (await gateway.post(stream=True)).status == 200
    assert not any("ssl_verify" in request.json for request in provider.requests)


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_a_certificate_is_judged_behind_a_proxy_too(behind, monkeypatch, tmp_path, handler, prefix):
    certificate = str(self_signed(tmp_path))
    async with (
        FakeProvider() as provider,
        tls_before(port_of(provider), certificate) as port,
        proxy_before(port) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.url}")
        base = {"handler": handler, "prefix": prefix, "api_base": "https://localhost/v1"}
        async with behind(provider, **base, ssl_verify=certificate) as gateway:
            assert (await gateway.post()).status == 200
        async with behind(provider, **base) as gateway:
            assert (await gateway.post()).status == 502
    assert {asked[0] for asked in proxy.asked} == {"CONNECT localhost:443 HTTP/1.1"}


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_an_upstream_that_asks_for_a_certificate_is_shown_the_one_that_is_named(
    behind, monkeypatch, tmp_path, handler, prefix
):
    certificate, clients = str(self_signed(tmp_path)), self_signed(tmp_path, "client")
    alone, key = in_two_files(clients)
    async with FakeProvider() as provider, tls_before(port_of(provider), certificate, str(clients)) as port:
        base = {
            "handler": handler,
            "prefix": prefix,
            "api_base": f"https://localhost:{port}/v1",
            "ssl_verify": certificate,
        }
        async with behind(provider, **base) as gateway:
            assert (await gateway.post()).status == 502
        for named in ({"ssl_certificate": str(clients)}, {"ssl_certificate": alone, "ssl_key": key}):
            async with behind(provider, **base, **named) as gateway:
                assert (await gateway.post()).status == 200
                assert (await gateway.post(stream=True)).status == 200
        monkeypatch.setenv("SSL_CERTIFICATE", f"{clients}\n")
        async with behind(provider, **base) as gateway:
            assert (await gateway.post()).status == 200
        async with behind(provider, **base, ssl_certificate=certificate) as gateway:  # one that it does not know
            assert (await gateway.post()).status == 502
    assert not any("ssl" in key for request in provider.requests for key in request.json)


@pytest.mark.parametrize(("handler", "prefix"), HANDLERS)
async def test_it_is_shown_behind_a_proxy_too(behind, monkeypatch, tmp_path, handler, prefix):
    certificate, clients = str(self_signed(tmp_path)), str(self_signed(tmp_path, "client"))
    async with (
        FakeProvider() as provider,
        tls_before(port_of(provider), certificate, clients) as port,
        proxy_before(port) as proxy,
    ):
        monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy.url}")
        base = {"handler": handler, "prefix": prefix, "api_base": "https://localhost/v1", "ssl_verify": certificate}
        async with behind(provider, **base, ssl_certificate=clients) as gateway:
            assert (await gateway.post()).status == 200
        async with behind(provider, **base) as gateway:
            assert (await gateway.post()).status == 502


def model(**params):
    return {"model_list": [{"model_name": "m", "litellm_params": {"model": "openai/m", **params}}]}


def test_a_file_that_is_not_there_is_refused_before_anything_is_served():
    (deployment,) = parse_config(model(ssl_verify="/is/not/there.pem")).deployments()
    with pytest.raises(UpstreamUnknown, match="model 'm': ssl_verify must be true, false or a file"):
        resolve(deployment, "auto", {})


def test_a_proxy_that_cannot_be_used_is_refused_before_anything_is_served():
    (deployment,) = parse_config(model()).deployments()
    for handler in ("direct", "litellm", "auto"):
        with pytest.raises(UpstreamUnknown, match="model 'm': ALL_PROXY must be an http"):
            resolve(deployment, handler, {"ALL_PROXY": "socks5://h:1"})
