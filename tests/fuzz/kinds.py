"""One odd input of each kind, and what is wrong with the answer to it: a list of findings, empty if nothing is."""

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from crplugins.config import ConfigError, load_config
from crplugins.testing import Script
from tests.fuzz.mutations import ODD_BYTES, mutated, odd_document
from tests.fuzz.target import SECRET, UPSTREAM_SECRET, Answer, Target, request

ASKED: Final[dict[str, Any]] = {
    "model": "m",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:,x"}}]},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "max_tokens": 10,
    "n": 1,
    "temperature": 0.5,
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "metadata": {"run": "1"},
    "user": "u",
}  # fmt: skip
CHUNK: Final[dict[str, Any]] = {
    "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
    "choices": [{"index": 0, "delta": {"role": "assistant", "content": "word"}, "finish_reason": None}],
}  # fmt: skip
UNFINISHED: Final = 2.0
"""Seconds after which an answer is no longer waited for: of a request that is not whole there is none yet."""

USAGE: Final = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
}
END: Final = {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": USAGE}
DOCUMENT: Final = {
    **CHUNK, "object": "chat.completion", "usage": USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "word", "tool_calls": None}, "finish_reason": "stop"}],
}  # fmt: skip
CONFIG: Final = """\
model_list:
  - model_name: m
    litellm_params: {model: openai/m, api_base: "http://127.0.0.1:1", api_key: os.environ/NAME}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
keys:
  - {id: a, secret: sk-a-0123456789, models: [m], limits: {requests_per_minute: 5}, budget: {usd: 1.5, period: day}}
aliases: {fast: m}
metrics: {path: /metrics}
"""
HEADERS: Final = (
    b"traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", b"x-forwarded-for: 10.0.0.1\r\n",
    b"forwarded: for=10.0.0.1\r\n", b"x-request-id: abc\r\n", b"accept-encoding: gzip\r\n", b"expect: 100-continue\r\n",
    b"content-encoding: identity\r\n", b"accept: text/event-stream\r\n", b"tracestate: a=b\r\n", b"openai-organization: o\r\n",
)  # fmt: skip


async def http(dice: random.Random, target: Target, _folder: Path) -> list[str]:
    """Heads and framing."""
    body = json.dumps({**ASKED, "stream": False}).encode()
    return _wrong(await target.send(mutated(dice, request(body), 6) + b"\r\n\r\n", UNFINISHED), may_wait=True)


async def headers(dice: random.Random, target: Target, _folder: Path) -> list[str]:
    chosen = b"".join(dice.sample(HEADERS, 3))
    odd = mutated(dice, chosen)
    body = json.dumps({**ASKED, "stream": False}).encode()
    return _wrong(await target.send(request(body, odd.rstrip(b"\r\n") + b"\r\n"), UNFINISHED), may_wait=True)


async def bodies(dice: random.Random, target: Target, _folder: Path) -> list[str]:
    return _wrong(await target.send(request(odd_document(dice, ASKED))))


async def streams(dice: random.Random, target: Target, _folder: Path) -> list[str]:
    """What an upstream sends in a stream."""
    frames = [b"data: " + json.dumps(each).encode() + b"\n\n" for each in (CHUNK, CHUNK, END)]
    at = dice.randrange(3)
    if dice.random() < 0.5:
        frames[at] = b"data: " + odd_document(dice, (CHUNK, CHUNK, END)[at]) + b"\n\n"
    else:
        frames[at] = mutated(dice, frames[at])
    if dice.random() < 0.2:
        frames.insert(at, dice.choice(ODD_BYTES) + b"\n\n")
    script = Script(events=[*frames, b"data: [DONE]\n\n"], write=dice.choice(("frame", "all", 1, 7)))
    answer = await _answered(dice, target, script, stream=True)
    found = _wrong(answer)
    if answer.status == 200 and not answer.body.endswith(b"data: [DONE]\n\n"):
        found.append("a stream without its end mark")
    for line in answer.body.split(b"\n") if answer.status == 200 else ():
        if line.startswith(b"data: {"):
            found += _chunk_problems(line[6:])
    return found


async def documents(dice: random.Random, target: Target, _folder: Path) -> list[str]:
    """What an upstream sends as a plain answer."""
    body = odd_document(dice, DOCUMENT) if dice.random() < 0.7 else mutated(dice, json.dumps(DOCUMENT).encode())
    status = dice.choice((200, 200, 200, 400, 404, 429, 500))
    return _wrong(await _answered(dice, target, Script(body=body, status=status), stream=False))


async def config(dice: random.Random, _target: Target, folder: Path) -> list[str]:
    """Files, keys among them: read, or refused with a ConfigError."""
    file = folder / "odd.yaml"
    file.write_bytes(mutated(dice, CONFIG.encode(), 6))
    try:
        load_config(file, {"NAME": "v"})
    except ConfigError as error:
        return ["a secret in a message"] if "sk-a-0123456789" in str(error) else []
    return []


KINDS: Final[dict[str, Callable[[random.Random, Target, Path], Awaitable[list[str]]]]] = {
    "http": http, "headers": headers, "bodies": bodies, "streams": streams, "documents": documents, "config": config,
}  # fmt: skip


async def _answered(dice: random.Random, target: Target, script: Script, *, stream: bool) -> Answer:
    model = f"m{dice.randrange(10**9)}"
    asked = {**ASKED, "model": dice.choice(target.models) + model, "stream": stream}
    target.provider.script(model, script)
    try:
        return await target.send(request(json.dumps(asked).encode()))
    finally:
        target.provider.script(model, Script())


def _wrong(answer: Answer, *, may_wait: bool = False) -> list[str]:
    """`may_wait`: of a request that is not whole the gateway waits for the rest, as long as it allows."""
    found = []
    if not answer.ended and not may_wait:
        found.append("no end")
    if answer.status == 500:
        found.append(f"500: {answer.body[:200]!r}")
    for secret in (SECRET, UPSTREAM_SECRET):
        if secret.encode() in answer.body:
            found.append("a secret in the answer")
    if answer.status >= 400 and b"application/json" in answer.head.lower():
        try:
            error = json.loads(answer.body)["error"]
            if set(error) != {"message", "type", "param", "code"}:
                found.append(f"an error with {sorted(error)}")
        except (ValueError, KeyError, TypeError):
            found.append(f"an error that is none: {answer.body[:200]!r}")
    return found


def _chunk_problems(data: bytes) -> list[str]:
    try:
        chunk = json.loads(data, strict=False)
    except (ValueError, RecursionError):
        return []  # passed on as it came, because some clients skip it
    if "error" in chunk:
        return [] if isinstance(chunk["error"], dict) else ["an error that no client reads"]
    return [] if isinstance(chunk.get("choices"), list) else [f"a chunk without choices: {data[:200]!r}"]
