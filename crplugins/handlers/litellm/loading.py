"""Loads litellm: once per process, at start-up and off the event loop, because the import takes 2.5 s and 170 MB.

`load_litellm` is enough for its tables; for calls, `open_litellm` comes first and `close_litellm` last.

Opening also warms it up. litellm and OpenAI's SDK import a good part of themselves in their first calls: half a second
of modules, pydantic schemas and detection of the platform. Which part differs from release to release, so the calls
themselves are made, over a transport without a network. A warm-up call that fails costs a slow first request, never a
failed start.

Closing waits for litellm's worker, the task in the background in which litellm calls its callbacks. Each finished call
leaves a coroutine in its queue, even with `no-log`. What is still queued when the loop ends is lost with a
RuntimeWarning, or carried into the next loop, depending on the release.
"""

import asyncio
import gc
import importlib
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from inspect import isawaitable
from types import ModuleType
from typing import Any, Final

from crplugins.core.daemon_thread import in_daemon_thread
from crplugins.core.final_newline import without_final_newline
from crplugins.handlers.litellm.plain import watch_transports
from crplugins.handlers.litellm.transport import mend_transport

# litellm reads these while it is imported. They keep it from downloading tables that its package contains too.
ENVIRONMENT: Final = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "true",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOG": "ERROR",
}

_OF_PROVIDERS: Final = ("_KEY", "_KEY_ID", "_TOKEN", "_SECRET", "_PASSWORD", "_BASE", "_URL", "_ENDPOINT", "_HOST")
"""How the names of variables end that hold credentials and addresses of providers."""

_LOGGERS: Final = ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router")

_WORKER_TIMEOUT: Final = 2.0

_loading = threading.Lock()
_warm = False
_users = 0


def load_litellm() -> ModuleType:
    """The litellm module. Blocks for seconds the first time; ImportError without the `gateway` extra.

    Takes the final newlines off the variables of the environment that hold keys and addresses of providers, see
    `core/final_newline.py`: litellm reads them there itself, with every request.
    """
    with _loading:
        take_final_newlines_off(os.environ)
        return sys.modules.get("litellm") or _import()


def take_final_newlines_off(environ: MutableMapping[str, str]) -> None:
    for name, value in environ.items():
        if name.endswith(_OF_PROVIDERS) and value != without_final_newline(value):
            environ[name] = without_final_newline(value)


async def open_litellm() -> ModuleType:
    """litellm, loaded and warmed up. Each call needs one of `close_litellm`."""
    global _users
    litellm = sys.modules["litellm"] if _warm else await in_daemon_thread(_load_and_warm)
    _users += 1
    return litellm


async def close_litellm() -> None:
    """Closes litellm's pooled connections, which the whole process shares, when its last user closes it."""
    global _users
    _users -= 1
    if _users == 0:
        litellm: Any = load_litellm()
        await finish_callbacks()
        await litellm.close_litellm_async_clients()
        await _close_sdk_clients(litellm)
        litellm.in_memory_llm_clients_cache.flush_cache()
        await _close_shared_client(litellm)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings while litellm imports parts of itself; a host may have turned them into errors.

    Not for the event loop: warnings are silenced in the whole process, and another thread may hold the lock.
    """
    with _loading, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an operator can do nothing about pydantic's warnings on litellm's types
        yield


def _import() -> ModuleType:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings(), _without_collections():
        warnings.simplefilter("ignore")  # an operator cannot fix deprecations inside a dependency
        litellm: Any = importlib.import_module("litellm")
        importlib.import_module("openai.resources.chat.completions")  # lazy in the SDK: 0.6 s on the first request
    litellm.suppress_debug_info = True  # else it prints advice on stdout with every error
    litellm.disable_hf_tokenizer_download = True
    for name in _LOGGERS:  # litellm writes its records to stderr itself; the host's logging decides where they go
        logging.getLogger(name).handlers.clear()
    module: ModuleType = litellm
    return module


@contextmanager
def _without_collections() -> Iterator[None]:
    """The import makes a million objects that stay. To look for garbage among them takes a fifth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _load_and_warm() -> ModuleType:
    global _warm  # once per process, like the module
    litellm = load_litellm()
    with quiet():
        if not _warm:
            asyncio.run(warm_up(litellm))
            importlib.import_module("encodings.idna")  # Python's own, for the name of a host that is connected to
            mend_transport()
            watch_transports()
            # Reads the CA file, which would block the event loop on the first request. litellm keeps the result.
            litellm.llms.custom_httpx.http_handler.get_ssl_configuration()
            _warm = True
    return litellm


async def finish_callbacks() -> None:
    """Waits until litellm's worker has run its queued callbacks, at most 2 s: a callback may hang."""
    module = sys.modules.get("litellm.litellm_core_utils.logging_worker")
    flush = getattr(getattr(module, "GLOBAL_LOGGING_WORKER", None), "flush", None)
    if flush is None:
        return
    with suppress(Exception):  # TimeoutError; RuntimeError where the queue belongs to a loop that has ended
        async with asyncio.timeout(_WORKER_TIMEOUT):
            await asyncio.sleep(0)  # the task that queues the last call may not have begun
            await flush()


async def _close_sdk_clients(litellm: Any) -> None:
    """Closes the clients of OpenAI's SDK, which the clean-up of older releases leaves open."""
    for client in list(litellm.in_memory_llm_clients_cache.cache_dict.values()):
        close = getattr(client, "close", None)
        if callable(getattr(client, "is_closed", None)) and callable(close):
            with suppress(Exception):  # it may belong to a loop that has ended
                closing = close()
                if isawaitable(closing):
                    await closing


async def _close_shared_client(litellm: Any) -> None:
    """Closes the client of Anthropic's streams, which litellm keeps outside its pool and makes anew on demand."""
    shared = vars(litellm).pop("module_level_aclient", None)  # reading the attribute would create the client
    if shared is not None:
        await shared.close()


_CALL: Final[Mapping[str, Any]] = {
    "messages": [{"role": "user", "content": "hi"}],
    "api_base": "http://127.0.0.1:9/v1",  # the port "discard", closed, in case a release does not use the transport
    "api_key": "none",
    "max_retries": 0,
    "timeout": 1,
    "no-log": True,
}

# What litellm imports in the first call of a provider, in 1.105 to 1.110. A module that no longer exists only makes the
# first request slow.
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

# Functions of litellm that read files of prices and of boto3's in the first call, and keep what they have read: 0.1 s.
_READ_ONCE_BY_BEDROCK: Final = (
    "_get_local_model_cost_map",
    "get_bedrock_response_stream_shape",
    "get_bedrock_stream_event_statuses",
)

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


async def warm_up(litellm: Any) -> None:
    """Gets a mocked answer, then an answer and a refusal through each of litellm's clients for OpenAI's wire."""
    await _both_ways(litellm, {**_CALL, "model": "openai/warm-up", "mock_response": "hi"})
    async with _sdk_client() as client:
        await _both_ways(litellm, {**_CALL, "model": "openai/warm-up", "client": client})
        await _both_ways(litellm, {**_CALL, "model": "openai/refused", "client": client})
    handler = await _http_handler(litellm)
    await _both_ways(litellm, {**_CALL, "model": "hosted_vllm/warm-up", "client": handler})
    await _both_ways(litellm, {**_CALL, "model": "hosted_vllm/refused", "client": handler})
    await handler.client.aclose()
    await finish_callbacks()  # else its worker would keep coroutines of a loop that has ended


def import_late_parts(provider: str) -> None:
    """Imports and reads what litellm would import and read in the first call of `provider`."""
    for name in _IMPORTED_LATE.get(provider, ()):
        with suppress(ImportError):
            importlib.import_module(name)
    if provider == "bedrock":
        for name in _READ_ONCE_BY_BEDROCK:
            with suppress(Exception):
                getattr(importlib.import_module("litellm.llms.bedrock.common_utils"), name)()
    if provider == "anthropic":
        with suppress(Exception):  # reads the list of Anthropic's beta features, which the first request with one needs
            importlib.import_module("litellm.anthropic_beta_headers_manager").get_provider_name(provider)


def load_tokenizers(litellm: Any, *models: str) -> None:
    """Loads the tokenizers of `models`: half a second and 75 MB for those that litellm takes for OpenAI's.

    litellm counts on the event loop: the empty text of a stream that opens, and whole answers without usage.
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
