"""Files of any name reach the provider as they were sent, by curl and as browsers write them, on every path for forms."""

import asyncio
import json
import shutil
from pathlib import Path

import aiohttp
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script

KEY = "sk-client-0123456789"
ANSWERS = {
    "/v1/images/edits": {"created": 1, "data": [{"b64_json": "aaaa"}]},
    "/v1/images/variations": {"created": 1, "data": [{"b64_json": "aaaa"}]},
    "/v1/audio/transcriptions": {"text": "hi", "usage": {"type": "duration", "seconds": 1}},
    "/v1/audio/translations": {"text": "hi"},
}


def field_of(path: str) -> str:
    return "image" if "images" in path else "file"


@pytest.mark.parametrize(("option", "quote"), [("--form-escape", b'\\"'), ("--no-form-escape", b"%22")])
@pytest.mark.parametrize("path", ANSWERS)
async def test_a_quote_in_a_files_name_passes_from_curl(
    serve, tmp_path: Path, path: str, option: str, quote: bytes
) -> None:
    curl = shutil.which("curl") or pytest.skip("without curl")
    (tmp_path / "given").write_bytes(b"RIFF\x00\xff" * 50)
    async with FakeProvider() as provider, serve(gateway(provider)) as url:
        provider.enqueue(Script(body=ANSWERS[path]))
        words = ["-sS", option, "-H", f"Authorization: Bearer {KEY}"]
        words += [
            "-F",
            "model=m",
            "-F",
            "prompt=p",
            "-F",
            f'{field_of(path)}=@{tmp_path}/given;filename="a\\"b\\\\c.png"',
        ]
        told = await asyncio.create_subprocess_exec(curl, *words, url + path, stdout=asyncio.subprocess.PIPE)
        out, _ = await told.communicate()
        assert "error" not in json.loads(out), out
        [request] = provider.requests
        assert b'filename="a%bb' % quote in request.body
        assert b"RIFF\x00\xff" * 50 in request.body


@pytest.mark.parametrize("path", ANSWERS)
@pytest.mark.parametrize("name", [b'"a%22b.png"', b'"C:\\a.png"', b'"a\\"b.png"', b"a.png; filename*=UTF-8''%22a.png"])
async def test_a_form_is_the_providers_byte_for_byte(serve, path: str, name: bytes) -> None:
    form = b'--xYz\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    form += b'--xYz\r\nContent-Disposition: form-data; name="prompt"\r\n\r\np\r\n'
    form += b'--xYz\r\nContent-Disposition: form-data; name="%b"; filename=%b\r\n' % (field_of(path).encode(), name)
    form += b"Content-Type: application/octet-stream\r\n\r\n" + bytes(range(256)) + b"\r\n--xYz--\r\n"
    headers = {"authorization": f"Bearer {KEY}", "content-type": "multipart/form-data; boundary=xYz"}
    async with FakeProvider() as provider, serve(gateway(provider)) as url, aiohttp.ClientSession() as session:
        provider.enqueue(Script(body=ANSWERS[path]))
        async with session.post(url + path, data=form, headers=headers) as answer:
            assert answer.status == 200, await answer.text()
        [request] = provider.requests
        assert request.body == form


def gateway(provider: FakeProvider) -> Gateway:
    params = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-up"}
    models = [{"model_name": "m", "litellm_params": params, "handler": "direct"}]
    return Gateway(model_list=models, keys=[{"id": "a", "secret": KEY}])
