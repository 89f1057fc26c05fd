"""Real servers of other projects, in processes of their own: llama.cpp, and LitServe with middleware of ours before it.

The model is a tiny one with random weights: it says nonsense, and counts like any other. Fixtures to be imported.
"""

import asyncio
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import aiohttp
import openai
import pytest

from tests.ports import free_port

MISSING = [name for name in ("xllamacpp", "gguf", "litserve") if importlib.util.find_spec(name) is None]
needs_foreign_servers = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

CHECKOUT = Path(__file__).parents[1]
MODEL = "tiny"
BYTES = 256
WIDTH, INNER_WIDTH, HEADS, BLOCKS, CONTEXT = 64, 128, 4, 2, 1 << 17

_TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}assistant: "

_NO_LIBRARY = "cannot open shared object file"


@dataclass(frozen=True)
class Running:
    """A server that answers. `log` is what it has printed."""

    url: str
    folder: Path
    log: Path

    def client(self, key: str = "none") -> openai.AsyncOpenAI:
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    async def get(self, path: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.url + path) as response:
            return await response.text()

    async def samples(self, path: str = "/metrics") -> dict[str, float]:
        """The samples of a Prometheus page by name and labels."""
        lines = [line.rpartition(" ") for line in (await self.get(path)).splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, _, value in lines}


async def until(condition: Any, *, every: float = 0.02, within: float = 300) -> Any:
    """What `condition` returns, as soon as that is true."""
    async with asyncio.timeout(within):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(every)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """llama.cpp's server, which serves `MODEL`."""
    folder = tmp_path_factory.mktemp("llama")
    write_model(folder / "tiny.gguf")
    with (folder / "log").open("wb") as log:
        process = _start([sys.executable, "-m", "tests.foreign_llama", str(folder / "tiny.gguf")], log)
        try:
            assert process.stdout is not None
            url = process.stdout.readline().decode().strip()
            if _NO_LIBRARY in (told := (folder / "log").read_text()):  # slim images have no libgomp
                pytest.skip(f"llama.cpp lacks a library: {told.splitlines()[-1]}")
            yield Running(url, folder, folder / "log")
        finally:
            _end(process)


class LitServe:
    """A LitServe whose engine is `llama`, with middleware: see `tests.foreign_litserve`."""

    def __init__(self, folder: Path, engine: Running, *middleware: str, config: dict[str, Any] | None = None) -> None:
        self._port = free_port()
        (folder / "gateway.yaml").write_text(json.dumps(config or {}))  # JSON is YAML
        self.running = Running(f"http://127.0.0.1:{self._port}", folder, folder / "log")
        self._log = self.running.log.open("wb")
        module = [sys.executable, "-m", "tests.foreign_litserve", engine.url.removeprefix("http://"), str(self._port)]
        self._process = _start([*module, *middleware], self._log, CRPLUGINS_CONFIG=str(folder / "gateway.yaml"))

    def wait_until_it_answers(self) -> Running:
        for _ in range(12_000):
            try:
                with urllib.request.urlopen(f"{self.running.url}/health", timeout=30):
                    return self.running
            except (OSError, urllib.error.HTTPError):  # 503 while its worker starts
                assert self._process.poll() is None, self.running.log.read_text()
            time.sleep(0.05)
        raise RuntimeError(f"LitServe does not start: {self.running.log.read_text()}")

    def end(self) -> None:
        _end(self._process)
        self._log.close()


def _start(command: list[str], log: IO[bytes], **environment: str) -> subprocess.Popen[bytes]:
    """In a process group of its own, with its workers."""
    return subprocess.Popen(
        command, cwd=CHECKOUT, env={**os.environ, **environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=log, start_new_session=True,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def write_model(path: Path) -> None:
    """A model of Llama's architecture, whose tokens are the 256 bytes."""
    import gguf

    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(INNER_WIDTH)
    writer.add_block_count(BLOCKS)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_chat_template(_TEMPLATE)
    _add_vocabulary(writer)
    _add_weights(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_vocabulary(writer: Any) -> None:
    from gguf import TokenType

    tokens = [b"<unk>", b"<s>", b"</s>", *(f"<0x{byte:02X}>".encode() for byte in range(BYTES))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL, *[TokenType.BYTE] * BYTES])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_space_prefix(False)


def _add_weights(writer: Any) -> None:
    import numpy as np

    random = np.random.default_rng(1)
    square, up, down = (WIDTH, WIDTH), (INNER_WIDTH, WIDTH), (WIDTH, INNER_WIDTH)
    shapes = {"token_embd": (BYTES + 3, WIDTH), "output": (BYTES + 3, WIDTH), "output_norm": (WIDTH,)}
    for block in range(BLOCKS):
        parts = {"attn_q": square, "attn_k": square, "attn_v": square, "attn_output": square, "attn_norm": (WIDTH,)}
        parts |= {"ffn_gate": up, "ffn_up": up, "ffn_down": down, "ffn_norm": (WIDTH,)}
        shapes |= {f"blk.{block}.{name}": shape for name, shape in parts.items()}
    for name, shape in shapes.items():
        values = np.ones(shape) if name.endswith("norm") else random.standard_normal(shape) * 0.05
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
