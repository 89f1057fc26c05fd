"""The example packages: installed as pip does it, tested by their own tests, and those of a cache and of a redactor at work."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from crplugins.homes.gateway.app import Gateway
from crplugins.testing import FakeProvider, Script
from tests.conftest import Serve
from tests.examples.conftest import EXAMPLES, PACKAGES
from tests.warm import LITELLM

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.mark.parametrize("package", PACKAGES)
def test_its_own_tests_pass_on_what_was_installed(package: str, installed: Path, tmp_path: Path) -> None:
    """With no plugins of pytest but the one its `test` extra asks for."""
    options = ["-q", "-p", "pytest_asyncio.plugin", "-p", "no:cacheprovider"]
    folder = EXAMPLES / package
    done = subprocess.run(
        [*LITELLM.command, "-m", "pytest", *options, "-c", folder / "pyproject.toml", folder / "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_types_of_all_are_strict(installed: Path, tmp_path: Path) -> None:
    """All at once, without what crplugins imports of others: nearly all the time goes into what they import."""
    (tmp_path / "mypy.ini").write_text("[mypy]\nfollow_imports = skip\n[mypy-crplugins.*]\nfollow_imports = silent\n")
    packages = [word for name in PACKAGES.values() for word in ("-p", name)]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir=/dev/null", *packages],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def gateway(
    serve: Serve, provider: FakeProvider, plugin: str, tmp_path: Path, **words: object
) -> AsyncIterator[tuple[openai.AsyncOpenAI, str]]:
    """A client of a gateway with one plugin."""
    params = {"model": "openai/m", "api_base": provider.base_url, "api_key": "sk-up"}
    prices = {"input_cost_per_token": 0.001, "output_cost_per_token": 0.001}
    model = {"model_name": "m", "litellm_params": params, "model_info": prices, "handler": "direct"}
    limits = {"requests_per_day": 10, "tokens_per_day": 100_000}
    keys = [{"id": "a", "secret": "sk-a-0123456789abcdef", "limits": limits}]
    ledger = {"url": f"sqlite:///{tmp_path}/usage.db"}
    app = Gateway(model_list=[model], keys=keys, ledger=ledger, plugins=[{"use": plugin}], **words)  # type: ignore[arg-type]
    async with serve(app) as url:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk-a-0123456789abcdef", max_retries=0) as client:
            yield client, url


async def asked(url: str, path: str) -> dict[str, object]:
    headers = {"authorization": "Bearer sk-a-0123456789abcdef"}
    async with aiohttp.ClientSession() as session, session.get(url + path, headers=headers) as answer:
        return json.loads(await answer.text())  # type: ignore[no-any-return]


async def test_an_answer_of_the_cache_costs_nothing_and_fills_no_limit_of_tokens(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "cache_package")
    async with (
        FakeProvider() as provider,
        gateway(serve, provider, "exact_cache.ExactCache", tmp_path) as (client, url),
    ):
        texts = []
        for stream in (False, True):
            for _ in range(2):
                answer = await client.chat.completions.create(model="m", messages=HELLO, stream=stream)
                if stream:
                    chunks = [chunk async for chunk in answer]
                    texts.append("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices))
                else:
                    texts.append(answer.choices[0].message.content)
        assert len(set(texts)) == 1
        assert len(provider.requests) == 2
        used: Any
        [used] = (await asked(url, "/v1/usage?by="))["data"]  # type: ignore[misc]
        assert (used["requests"], used["errors"]) == (4, 0)
        of_one = used["cost_usd"] / 2
        limits = {limit["name"]: limit["used"] for limit in (await asked(url, "/v1/limits"))["limits"]}  # type: ignore[attr-defined]
        assert limits["requests_per_day"] == 4
        assert limits["tokens_per_day"] == round(of_one * 1000) * 2  # of the two that were asked of the provider


async def test_the_redactor_works_on_prompts_and_streams_of_a_gateway(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(EXAMPLES / "redactor_package")
    script = Script(text="Ask ann@example.com, or card 4111 1111 1111 1111 now", chunk_size=3)
    async with FakeProvider(default=script) as provider:
        async with gateway(serve, provider, "pii_redactor.PiiRedactor", tmp_path) as (client, _):
            messages = [{"role": "user", "content": "I am bob@example.org"}]
            stream = await client.chat.completions.create(
                model="m", messages=messages, stream=True, n=2, stream_options={"include_usage": True}
            )
            texts, usage = ["", ""], None
            async for chunk in stream:
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    texts[choice.index] += choice.delta.content or ""
            assert set(filter(None, texts)) == {"Ask [email], or card [card] now"}
            assert usage is not None
            assert provider.last_request.json["messages"] == [{"role": "user", "content": "I am [email]"}]
