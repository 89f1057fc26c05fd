"""LiteLLM's real proxy in a process of its own, with our callback or inside our entry."""

import asyncio
import importlib.util
import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import openai
import pytest
import yaml

from crplugins.handlers.litellm.loading import ENVIRONMENT
from tests.ports import free_port
from tests.warm import WarmPython

MASTER_KEY = "sk-master-0123456789abcdef"
_NEEDED = (
    "litellm", "fastapi", "orjson", "apscheduler", "backoff", "multipart", "mcp", "expression", "fastapi_sso",
    "soundfile", "nacl",
)  # fmt: skip
"""What the proxy imports to start, of the 480 MB of its extra."""


MISSING = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
needs_proxy = pytest.mark.skipif(bool(MISSING), reason=f"litellm[proxy] is not installed: no {', '.join(MISSING)}")

CALLBACK = "litellm.proxy.proxy_server:app"
ENTRY = "crplugins.homes.litellm_proxy:app"

QUIET = {
    **ENVIRONMENT,
    "LITELLM_MASTER_KEY": MASTER_KEY,
    "PYTHONFAULTHANDLER": "1",  # a crash leaves its stack in the log
    "PYTHONDONTWRITEBYTECODE": "",  # compiled once, a proxy starts in half the time
    "INITIAL_RETRY_DELAY": "0.01",  # LiteLLM's own pauses between retries would add up to minutes
    "MAX_RETRY_DELAY": "0.05",
}

_SERVED = {
    "fake-model": "openai/fake-model",
    "other-model": "openai/other-model",
    "adapted": "hosted_vllm/fake-model",  # other APIs are translated for it
}
_UNPRICED = "unpriced-model"

PRICES = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
"""Of a model that has none in its `litellm_params`."""

_JOURNAL = '''
"""Writes a line for every request that is over: one too many would show."""
import json, msgspec
from crplugins.core.plugin import Plugin
from crplugins.metering.record import record_of

class Journal(Plugin):
    observes = True
    async def on_request(self, exchange): ...
    def on_finish(self, exchange):
        with open({path!r}, "ab") as file:
            file.write(msgspec.json.encode(record_of(exchange), enc_hook=dict) + b"\\n")
'''


@dataclass(frozen=True)
class Proxy:
    """A running proxy. `provider_port` is where it looks for its provider: each test starts one there."""

    url: str
    provider_port: int
    folder: Path
    log: Path

    def client(self, key: str, **options: Any) -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **options)

    def records(self) -> list[dict[str, Any]]:
        file = self.folder / "journal.jsonl"
        if not file.exists():
            return []
        *whole, _unfinished = file.read_bytes().split(b"\n")  # the proxy may be writing one
        return [json.loads(line) for line in whole]

    async def record(self, request_id: str | None, within: float = 60.0) -> dict[str, Any]:
        """The record of a request; waits for it. That no second one comes is seen at the end, in `running_proxy`."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            found = [record for record in self.records() if record["request_id"] == request_id]
            if found:
                assert len(found) == 1, found
                return found[0]
            await asyncio.sleep(0.05)
        raise AssertionError(f"no record of {request_id}; there are {[r['request_id'] for r in self.records()]}")

    async def next_record(self, seen: int, within: float = 60.0) -> dict[str, Any]:
        """The record after the first `seen`, for a request whose id nobody was told."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if len(records := self.records()) > seen:
                await asyncio.sleep(0.5)
                assert len(self.records()) == seen + 1, self.records()[seen:]
                return records[seen]
            await asyncio.sleep(0.05)
        raise AssertionError("no further record")


@contextmanager
def running_proxy(
    folder: Path,
    app: str,
    *,
    ours: Mapping[str, Any],
    custom_auth: bool = True,
    litellm: Mapping[str, Any] | None = None,
    callbacks: Sequence[str] = ("crplugins.homes.litellm_proxy.callback",),
    served: Mapping[str, Mapping[str, Any] | Sequence[Mapping[str, Any]]] | None = None,
    journal: bool = True,
    cache: bool = False,
    fallbacks: Mapping[str, Sequence[str]] | None = None,
    retries: int = 0,
    environ: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Proxy]:
    """`ours` is the configuration of the plugins, `litellm` goes into LiteLLM's `general_settings`.

    `served` are the `litellm_params` of other models than the usual three, by name; several of one name are one group,
    and one without a price is always there.
    `environ` are more variables of its environment.
    Without `journal` the plugins are only those of `ours`, and `Proxy.records` has none. `cache`, `fallbacks` and
    `retries` are LiteLLM's own.
    """
    provider_port, port = free_port(), free_port()
    general: dict[str, Any] = {"disable_model_info_refresh": True, **(litellm or {})}
    if custom_auth:
        general["custom_auth"] = "crplugins.homes.litellm_proxy.user_api_key_auth"
    base = {"api_base": f"http://127.0.0.1:{provider_port}/v1", "api_key": "sk-upstream", "max_retries": 0}
    models = served if served is not None else {name: {"model": model} for name, model in _SERVED.items()}
    document = {
        "model_list": [
            {"model_name": name, "litellm_params": {**base, **params}, "model_info": PRICES}
            for name, group in models.items()
            for params in ([group] if isinstance(group, Mapping) else group)
        ]
        + [{"model_name": _UNPRICED, "litellm_params": {**base, "model": f"openai/{_UNPRICED}"}}],
        "litellm_settings": {
            "callbacks": list(callbacks),
            "num_retries": 0,
            **({"cache": True, "cache_params": {"type": "local"}} if cache else {}),
        },
        "router_settings": {
            "disable_cooldowns": True,
            "num_retries": retries,
            "fallbacks": [{name: list(others)} for name, others in (fallbacks or {}).items()],
        },
        "general_settings": general,
    }
    if journal:
        (folder / "journal.py").write_text(_JOURNAL.format(path=str(folder / "journal.jsonl")))
        ours = {**ours, "plugins": _with_journal(ours)}
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    (folder / "crplugins.yaml").write_text(yaml.safe_dump(dict(ours)))
    files = {"CONFIG_FILE_PATH": str(folder / "config.yaml"), "CRPLUGINS_CONFIG": str(folder / "crplugins.yaml")}
    with _started_proxy(folder, app, port, {**files, **environ}) as url:
        proxy = Proxy(url, provider_port, folder, folder / "proxy.log")
        yield proxy
        often = Counter(record["request_id"] for record in proxy.records())
        assert [request_id for request_id, times in often.items() if times > 1] == []


def _with_journal(ours: Mapping[str, Any]) -> list[Any]:
    return [*ours.get("plugins", ()), {"use": "journal.Journal", "before": "Auth"}]


@contextmanager
def _started_proxy(folder: Path, app: str, port: int, environ: Mapping[str, str]) -> Iterator[str]:
    """LiteLLM's proxy under uvicorn as one starts it, once it answers; its log is `proxy.log` in `folder`."""
    uvicorn = [*_PYTHON.command, "-m", "uvicorn", app, "--port", str(port), "--log-level", "info"]
    # Longer than a busy client takes between two requests, which else would meet a connection that is being closed.
    command = [*uvicorn, "--timeout-keep-alive", "75"]
    paths = os.pathsep.join([str(folder), str(Path(__file__).parents[1])])
    environ = {**os.environ, **QUIET, "PYTHONPATH": paths, **environ}
    with (folder / "proxy.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT)
    with _ended(process):
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, url, folder / "proxy.log")
        yield url


_PYTHON = WarmPython("litellm.proxy.proxy_server", "tests.proxy_pauses", "tests.proxy_loaded", environ=QUIET)


@contextmanager
def _ended(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline = time.monotonic() + 600
    with httpx.Client(verify=False, trust_env=False, timeout=30) as client:  # reads no certificates at each attempt
        while process.poll() is None and time.monotonic() < deadline:
            try:
                if client.get(f"{url}/health/liveliness").status_code == 200:
                    time.sleep(0.5)  # the callback's own start runs beside the proxy's
                    return
            except httpx.TransportError:
                time.sleep(0.1)
    raise RuntimeError(f"the proxy does not start:\n{log.read_text()[-4000:]}")
