"""An event of a stream is decoded once on its way from the provider to the client, whatever plugins change in it."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest

import crplugins.core.sse as sse
from crplugins import Gateway
from crplugins.core.wire import AnswerFacts, read_answer
from crplugins.testing import Drive, FakeProvider, Script, lifespan

KEY = "sk-a-key-of-a-team-0123456789"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each payload, whoever changed it, was decoded: by the content of its chunk."""
    count: Counter[str] = Counter()

    def counting(data: bytes) -> AnswerFacts:
        document = json.loads(data)
        choices = document["choices"]
        count[choices[0]["delta"].get("content") or "end" if choices else "usage"] += 1
        return read_answer(data)

    monkeypatch.setattr(sse, "read_answer", counting)
    return count


def chunk(content: str | None, usage: Any, **more: Any) -> bytes:
    choice = {
        "index": 0,
        "delta": {"content": content} if content else {},
        "finish_reason": None if content else "stop",
    }
    fields = {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": usage, **more}
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"


def counts(completion: int) -> dict[str, int]:
    return {"prompt_tokens": 3, "completion_tokens": completion, "total_tokens": 3 + completion}


NULLS = [chunk("a", None), chunk("b", None), chunk(None, None)]
RUNNING = [chunk("a", counts(1)), chunk("b", counts(2)), chunk(None, counts(2))]
GROQ = [chunk("a", None), chunk("b", None), chunk(None, None, x_groq={"id": "r", "usage": counts(2)})]
USAGE = b'data: {"id":"c","object":"chat.completion.chunk","model":"m","choices":[],"usage":' + (
    json.dumps(counts(2)).encode() + b"}\n\n"
)
DONE = b"data: [DONE]\n\n"


@pytest.fixture
async def provider() -> AsyncIterator[FakeProvider]:
    async with FakeProvider() as provider:
        yield provider


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.parametrize("alias", [False, True])
@pytest.mark.parametrize(
    "frames", [[*NULLS, USAGE], [*RUNNING, USAGE], RUNNING, GROQ], ids=["nulls", "running", "in_the_end", "groq"]
)
async def test_each_event_is_decoded_once(
    provider: FakeProvider, decoded: Counter[str], frames: list[bytes], alias: bool, asked: bool
) -> None:
    provider.default = Script(events=[*frames, DONE])
    gateway = Gateway(
        model_list=[{"model_name": "m", "litellm_params": {"model": "openai/m", "api_base": provider.base_url}}],
        keys=[{"id": "a", "secret": KEY}],
        aliases={"fast": "m"} if alias else None,
    )
    body: dict[str, Any] = {"model": "fast" if alias else "m", "messages": [{"role": "user", "content": "Hi"}]}
    body |= {"stream": True, **({"stream_options": {"include_usage": True}} if asked else {})}
    async with lifespan(gateway):
        async with Drive(gateway, body=body, headers={"authorization": f"Bearer {KEY}"}) as call:
            answer = await call.finish()
    assert answer.body.endswith(DONE)
    assert decoded == {"a": 1, "b": 1, "end": 1, **({"usage": 1} if USAGE in frames else {})}
