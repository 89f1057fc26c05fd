"""litellm's first calls, made at start-up and off the event loop, so that no request pays for them.

litellm and OpenAI's SDK import a good part of themselves when they are first called: half a second of modules, pydantic
schemas and reading what system this is. Which part that is differs from release to release, so the calls themselves
are made, over a transport that answers without a network. A call that fails costs a stall later, never a start.
"""

import importlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from crplugins.handlers.litellm_worker import settle

_CALL: Final[Mapping[str, Any]] = {
    "messages": [{"role": "user", "content": "hi"}],
    "api_base": "http://127.0.0.1:9/v1",  # port "discard": where nobody listens, should a release pass by the transport
    "api_key": "none",
    "max_retries": 0,
    "timeout": 1,
    "no-log": True,
}

# What litellm imports inside the first call of a provider, seen in 1.96 to 1.110. A name that is gone costs a stall.
_IMPORTED_LATE: Final[Mapping[str, tuple[str, ...]]] = {
    "azure": ("openai.resources.chat.chat", "openai.lib.streaming.chat"),
    "bedrock": ("boto3", "botocore.auth", "botocore.awsrequest"),
    "cohere": ("litellm.llms.cohere.chat.transformation",),
    "cohere_chat": ("litellm.llms.cohere.chat.transformation",),
    "gemini": ("litellm.llms.vertex_ai.context_caching.vertex_ai_context_caching",),
    "hosted_vllm": ("litellm.llms.vllm.common_utils",),
    "vertex_ai": ("litellm.llms.vertex_ai.context_caching.vertex_ai_context_caching",),
    "xai": ("litellm.llms.xai.oauth",),
}

_CHUNK: Final = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
_DOCUMENT: Final = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
_REFUSAL: Final = {"error": {"message": "no", "type": "invalid_request_error", "param": None, "code": None}}


async def first_calls(litellm: Any) -> None:
    """A mocked answer, and through each way litellm has to an OpenAI-compatible provider an answer and a refusal."""
    await _both_ways(litellm, {**_CALL, "model": "openai/warm-up", "mock_response": "hi"})
    async with _sdk_client() as client:
        await _both_ways(litellm, {**_CALL, "model": "openai/warm-up", "client": client})
        await _both_ways(litellm, {**_CALL, "model": "openai/refused", "client": client})
    handler = await _http_handler(litellm)
    await _both_ways(litellm, {**_CALL, "model": "hosted_vllm/warm-up", "client": handler})
    await _both_ways(litellm, {**_CALL, "model": "hosted_vllm/refused", "client": handler})
    await handler.client.aclose()
    await settle()  # else its worker would be left with coroutines of a loop that is gone


def import_late_parts(provider: str) -> None:
    """Import what litellm would import inside the first call of `provider`."""
    for name in _IMPORTED_LATE.get(provider, ()):
        with suppress(ImportError):
            importlib.import_module(name)


def load_tokenizers(litellm: Any, *models: str) -> None:
    """Load what counts the tokens of `models`: half a second and 75 MB for those that litellm takes for OpenAI's.

    litellm counts on the event loop: the nothing that a stream has said when it opens, and plain answers without usage.
    """
    for model in models:
        with suppress(Exception):
            litellm.token_counter(model=model, text="hi")


async def _both_ways(litellm: Any, call: Mapping[str, Any]) -> None:
    with suppress(Exception):
        await litellm.acompletion(**call)
    with suppress(Exception):
        stream = await litellm.acompletion(**call, stream=True)
        async for _ in stream:
            pass
        await stream.aclose()


def _sdk_client() -> Any:
    import openai

    return openai.AsyncOpenAI(
        api_key="none", base_url=_CALL["api_base"], max_retries=0, http_client=_transported_client()
    )


async def _http_handler(litellm: Any) -> Any:
    """litellm's own HTTP client, over the transport without a network."""
    handler = litellm.llms.custom_httpx.http_handler.AsyncHTTPHandler()
    await handler.client.aclose()
    handler.client = _transported_client()
    return handler


def _transported_client() -> Any:
    import httpx

    return httpx.AsyncClient(transport=httpx.MockTransport(_answer))


def _answer(request: Any) -> Any:
    import httpx

    if b"refused" in request.content:
        return httpx.Response(400, json=_REFUSAL)
    if b'"stream":true' in request.content.replace(b" ", b""):
        return httpx.Response(200, content=_CHUNK, headers={"content-type": "text/event-stream"})
    return httpx.Response(200, json=_DOCUMENT)
