"""The gateway under test, a process of its own, and a client that sends it bytes."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from crplugins.testing import FakeProvider, Script
from tests.ports import free_port
from tests.warm import warm_crplugins

SECRET: Final = "sk-fuzz-0123456789abcdef"
UPSTREAM_SECRET: Final = "sk-upstream-fedcba9876543210"
PATIENCE: Final = 30.0
"""Seconds for an answer. Nothing here takes one, so a slow machine is no finding, and a hang is."""


@dataclass(frozen=True)
class Answer:
    """What came back before the connection ended. `status` is 0 if that was no HTTP; `ended` False if it did not end."""

    status: int
    head: bytes
    body: bytes
    ended: bool


class Target:
    """`models` are beginnings of names, one for each handler."""

    def __init__(self, port: int, provider: FakeProvider, models: Sequence[str]) -> None:
        self.port = port
        self.provider = provider
        self.models = models

    async def send(self, data: bytes, patience: float = PATIENCE) -> Answer:
        """Send bytes, and read until the gateway closes the connection, or for so many seconds."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            ended = True
            raw = b""
            try:
                async with asyncio.timeout(patience):
                    await writer.drain()
                    while piece := await reader.read(65536):
                        raw += piece
            except TimeoutError:
                ended = False
            except ConnectionError:
                pass
        finally:
            writer.close()
        head, _, body = raw.partition(b"\r\n\r\n")
        words = head.split(b" ", 2)
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return Answer(status, head, _joined(head, body), ended)

    async def is_well(self) -> bool:
        answer = await self.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return answer.status == 200


def request(body: bytes, headers: bytes = b"") -> bytes:
    """A chat completion with a key, whose connection ends with its answer."""
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer " + SECRET.encode() + b"\r\n" + headers
        + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body
    )  # fmt: skip


def _joined(head: bytes, body: bytes) -> bytes:
    if b"transfer-encoding: chunked" not in head.lower():
        return body
    joined = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        try:
            length = int(size, 16)
        except ValueError:
            return joined
        joined, body = joined + body[:length], body[length + 2 :]
    return joined


@asynccontextmanager
async def running(folder: Path, *, litellm: bool) -> AsyncIterator[Target]:
    """`litellm`: with its handler too, which takes its time to start."""
    async with FakeProvider(keep_requests=10, default=Script(text="word")) as provider:
        port = free_port()
        upstream = {"api_base": provider.base_url, "api_key": UPSTREAM_SECRET}
        served = [("*", "openai/*", "direct"), *([("vllm-*", "hosted_vllm/*", "litellm")] if litellm else [])]
        config = {
            "model_list": [
                {"model_name": name, "litellm_params": {"model": model, **upstream}, "handler": handler}
                for name, model, handler in served
            ],
            "keys": [{"id": "fuzz", "secret": SECRET, "limits": {"tokens_per_minute": 10**9}}],
            "ledger": {"url": f"sqlite:///{folder / 'usage.db'}"},
            "server": {"port": port},
        }
        file = folder / "gateway.yaml"
        await asyncio.to_thread(file.write_text, yaml.safe_dump(config))
        command = warm_crplugins("serve", "--config", file)
        log = await asyncio.to_thread((folder / "log").open, "wb")
        process = await asyncio.to_thread(subprocess.Popen, command, stdout=log, stderr=subprocess.STDOUT)
        target = Target(port, provider, ["", "vllm-"] if litellm else [""])
        try:
            await _until_it_answers(target)
            yield target
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait)
            log.close()


async def _until_it_answers(target: Target) -> None:
    async with asyncio.timeout(4 * PATIENCE):
        while True:
            try:
                if await target.is_well():
                    return
            except OSError:
                pass
            await asyncio.sleep(0.1)
