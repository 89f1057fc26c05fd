"""A gateway as a process of its own, with everything a panel shows: limits, budgets, a ledger, faults of every kind."""

import asyncio
import json
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from crplugins.testing import FakeProvider, Script
from tests.warm import warm_crplugins

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("CRPLUGINS_")}
PATH = "/v1/chat/completions"

USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 40,
    "total_tokens": 160,
    "prompt_tokens_details": {"cached_tokens": 48, "cache_write_tokens": 16},
    "completion_tokens_details": {"reasoning_tokens": 12},
}
SCRIPTS = {
    "good": Script(frame_delay=0.01, usage_object=USAGE),
    "blind": Script(usage="off"),
    "cut": Script(cut_after=2),
    "failing": Script(status=503),
    "slow": Script(first_byte_delay=0.3, frame_delay=0.05),
    "old": Script(refuse_stream_options=400),
    "garbled": Script(malformed_after=1),
}
UNREACHABLE = "http://127.0.0.1:9/v1"

FAULTY = '''
"""A plugin with a bug, which observes and so is muted."""

from crplugins import Exchange, Plugin


class Faulty(Plugin):
    observes = True

    def on_finish(self, exchange: Exchange) -> None:
        raise LookupError("bug")
'''


def secret(key_id: str) -> str:
    return f"sk-{key_id}-0123456789"


def configuration(provider: FakeProvider, port: int) -> dict[str, Any]:
    """The last key is one more than the metrics tell apart."""
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": provider.base_url, "api_key": "sk-upstream"},
            "handler": "direct",
        }
        for name in SCRIPTS
    ]
    models[0]["model_info"] = {"input_cost_per_token": 1e-5, "output_cost_per_token": 3e-5}
    gone = {
        "model_name": "gone",
        "litellm_params": {"model": "openai/gone", "api_base": UNREACHABLE},
        "handler": "direct",
    }
    absent = {**gone, "model_name": "absent", "litellm_params": {**gone["litellm_params"], "fallbacks": ["good"]}}
    saved = [{**gone, "model_name": "saved"}, {**models[0], "model_name": "saved"}]
    rescued = [{**model, "model_name": "rescued", "on_break": "restart"} for model in (models[2], models[0])]
    limits = {"requests_per_minute": 6000, "tokens_per_minute": 10_000_000, "max_parallel_requests": 100}
    few = {"requests_per_minute": 20, "burst": {"requests_per_minute": 1}, "queue": {"seconds": 8}}  # some wait
    keys = [
        {"id": "team-a", "team": "search", "limits": limits, "budget": {"usd": 50, "period": "month"}},
        {"id": "team-b", "team": "search", "limits": few},
        {"id": "team-c", "budget": {"usd": 0.001, "period": "day"}},
        {"id": "one-too-many", "limits": {"requests_per_minute": 2, "shadow": True}},
    ]
    return {
        "model_list": [*models, gone, absent, *saved, *rescued],
        "keys": [{**key, "secret": secret(key["id"])} for key in keys],
        "budgets": {"unknown_price": "allow"},
        "ledger": {"url": "sqlite:///usage.db", "commit_seconds": 0},
        "metrics": {"token": None, "key_cap": 3},
        "server": {"port": port, "max_in_flight": 500},
        "plugins": ["faulty.Faulty"],
    }


class LiveGateway:
    """`crplugins serve` in a folder. May be started again on the same port."""

    def __init__(self, folder: Path, provider: FakeProvider, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        for model, script in SCRIPTS.items():
            provider.script(model, script)
        (folder / "faulty.py").write_text(FAULTY)
        (folder / "gateway.yaml").write_text(json.dumps(configuration(provider, port)))  # JSON is YAML

    async def start(self) -> None:
        with (self.folder / "stderr").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *warm_crplugins("serve"), cwd=self.folder, env=ENVIRONMENT, stdout=asyncio.subprocess.PIPE, stderr=log
            )
        async with asyncio.timeout(60):
            line = (await self._process.stdout.readline()).decode()
        assert self.url in line, (self.folder / "stderr").read_text()

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(40):
            await self._process.wait()


@dataclass
class Load:
    """Mixed requests, so many a second: every model, key and mistake in turn, every other one a stream."""

    url: str
    rate: float = 12.0
    sent: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, seconds: float) -> None:
        """Failures of connections are part of it, as the gateway is restarted meanwhile."""
        end = asyncio.get_running_loop().time() + seconds
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while asyncio.get_running_loop().time() < end:
                task = asyncio.create_task(self._ask(session, self.sent))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self.sent += 1
                await asyncio.sleep(1 / self.rate)
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        kind, key, body = _KINDS[number % len(_KINDS)]
        body = {"stream": number // len(_KINDS) % 2 == 0, "messages": [{"role": "user", "content": "hi"}]} | body
        headers = {"authorization": f"Bearer {secret(key)}"}
        try:
            async with session.post(self.url + PATH, json=body, headers=headers) as response:
                self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
                if kind == "leaves":
                    await response.content.readany()
                    return
                await response.read()
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.statuses[0] = self.statuses.get(0, 0) + 1


_KINDS = [
    ("plain", "team-a", {"model": "good"}),
    ("plain", "team-b", {"model": "good"}),
    ("plain", "team-c", {"model": "good"}),
    ("plain", "team-a", {"model": "slow", "stream": True}),
    ("plain", "one-too-many", {"model": "good"}),
    ("plain", "team-a", {"model": "blind"}),
    ("plain", "team-a", {"model": "cut"}),
    ("plain", "team-a", {"model": "failing"}),
    ("plain", "team-a", {"model": "gone"}),
    ("plain", "team-a", {"model": "absent"}),
    ("plain", "team-a", {"model": "saved"}),
    ("plain", "team-a", {"model": "rescued", "stream": True}),
    ("plain", "team-a", {"model": "old"}),
    ("plain", "team-a", {"model": "garbled", "stream": True}),
    ("plain", "team-a", {"model": "nobody-has-it"}),
    ("plain", "a-stranger", {"model": "good"}),
    ("plain", "team-a", {"model": "good", "temperature": 7}),
    ("leaves", "team-a", {"model": "slow", "stream": True}),
]
