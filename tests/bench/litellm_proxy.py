"""What our callback and our entry add to LiteLLM's proxy: `python -m tests.bench.litellm_proxy`.

CPU time of the proxy's process, of which the control is LiteLLM alone in the same rounds. It needs what the proxy
imports, see `tests.proxy_setup`.
"""

import os
import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

from tests.bench import load
from tests.bench.apps import CHUNKS, KEY
from tests.bench.served import Served
from tests.proxy_setup import CALLBACK, ENTRY, QUIET

ROUNDS: Final = int(os.environ.get("BENCH_ROUNDS", "40"))
REQUESTS, STREAMS = 48, 8
"""Of a round: short, so that what disturbs the machine disturbs neighbouring rounds alike."""
WARM_UP: Final = 400

OURS: Final[Mapping[str, Any]] = {
    "keys": [{"id": "bench", "secret": KEY, "limits": {"requests_per_minute": 10**7, "tokens_per_minute": 10**10}}],
    "metrics": {"path": "/crplugins/metrics", "token": None},
}
"""Keys, limits and metrics; with a ledger what a team would run."""

SUBJECTS: Final = {"litellm": CALLBACK, "callback": CALLBACK, "entry": ENTRY}


class ServedProxy(Served):
    """LiteLLM's proxy in a process of its own, with or without us."""

    def __init__(self, name: str, upstream: str, folder: Path) -> None:
        super().__init__("")
        folder.mkdir()
        ours = name != "litellm"
        settings = {"callbacks": ["crplugins.homes.litellm_proxy.callback"]} if ours else {}
        auth = {"custom_auth": "crplugins.homes.litellm_proxy.user_api_key_auth"} if ours else {}
        params = {"model": "openai/bench", "api_base": upstream, "api_key": "sk-upstream"}
        prices = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
        document = {
            "model_list": [{"model_name": "bench", "litellm_params": params, "model_info": prices}],
            "litellm_settings": settings,
            "general_settings": {"disable_model_info_refresh": True, **auth},
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
        (folder / "crplugins.yaml").write_text(
            yaml.safe_dump({**OURS, "ledger": {"url": f"sqlite:///{folder}/usage.db"}})
        )
        self._command = [sys.executable, "-m", "uvicorn", SUBJECTS[name], "--port", str(self.port), "--no-access-log"]
        self._environ = os.environ | QUIET
        self._environ |= {"LITELLM_MASTER_KEY": KEY, "PYTHONPATH": str(Path(__file__).parents[2])}
        self._environ |= {
            "CONFIG_FILE_PATH": str(folder / "config.yaml"),
            "CRPLUGINS_CONFIG": str(folder / "crplugins.yaml"),
        }

    @property
    def pid(self) -> int:
        return self._process.pid


def _cost(server: ServedProxy, count: int, *, stream: bool) -> float:
    """CPU milliseconds per request."""
    before = server.cpu_seconds()
    load.run(server.port, count, stream=stream)
    return (server.cpu_seconds() - before) / count * 1e3


def measure(names: Sequence[str]) -> None:
    """Print medians over interleaved rounds, and the medians of the rounds' ratios to the first."""
    with ExitStack() as stack:
        root = Path(stack.enter_context(TemporaryDirectory()))
        upstream = stack.enter_context(Served("upstream", factory=False, cpu=1)).url
        servers = {name: stack.enter_context(ServedProxy(name, upstream, root / name)) for name in names}
        print({name: server.pid for name, server in servers.items()}, flush=True)
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        for server in servers.values():
            _cost(server, WARM_UP, stream=False)
            _cost(server, 2 * STREAMS, stream=True)
        plain, streams = _rounds(servers, REQUESTS, stream=False), _rounds(servers, STREAMS, stream=True)
        for name in names:
            _print(name, plain, streams, names[0])


def _rounds(servers: Mapping[str, ServedProxy], count: int, *, stream: bool) -> list[dict[str, float]]:
    rounds = []
    for number in range(ROUNDS):
        order = list(servers) if number % 2 else list(reversed(servers))
        rounds.append({name: _cost(servers[name], count, stream=stream) for name in order})
    return rounds


def _print(name: str, plain: list[dict[str, float]], streams: list[dict[str, float]], control: str) -> None:
    chunks = [
        {one: (s[one] - p[one]) / CHUNKS * 1e3 for one in (name, control)} for s, p in zip(streams, plain, strict=True)
    ]
    request, by_request = _compared(plain, name, control)
    chunk, by_chunk = _compared(chunks, name, control)
    print(
        f"{name:10} request {request:7.3f} ms  ratio {by_request}   chunk {chunk:7.1f} us  ratio {by_chunk}", flush=True
    )


def _compared(rounds: list[dict[str, float]], name: str, control: str) -> tuple[float, str]:
    """The median, and the ratio to the control: of the rounds' pairs, and of the quiet quarters of both."""
    ours, theirs = [one[name] for one in rounds], [one[control] for one in rounds]
    paired = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    quiet = statistics.quantiles(ours, n=4)[0] / statistics.quantiles(theirs, n=4)[0]
    return statistics.median(ours), f"{paired:5.3f} (quiet {quiet:5.3f})"


if __name__ == "__main__":
    measure(sys.argv[1:] or list(SUBJECTS))
