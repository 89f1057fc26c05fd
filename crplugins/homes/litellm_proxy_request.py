"""A request as LiteLLM's hooks have it, and as plugins do."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from crplugins.core.body import Body
from crplugins.core.exchange import Exchange, Timings, new_request_id
from crplugins.core.principal import Principal

# What LiteLLM puts beside the client's own keys.
_ITS_OWN: Final = frozenset({
    "metadata", "litellm_metadata", "proxy_server_request", "secret_fields", "litellm_logging_obj", "litellm_call_id",
    "_litellm_strip_stream_usage",
})  # fmt: skip


def exchange_of(
    data: Mapping[str, Any], principal: Principal | None, request_id: str | None, wanted: Iterable[str]
) -> Exchange:
    """The Exchange of a request that LiteLLM is about to serve. `wanted` are names in its metadata."""
    sent = data.get("proxy_server_request")
    sent = sent if isinstance(sent, Mapping) else {}
    headers = sent.get("headers")
    body = _body(data, sent.get("body"), wanted)
    client = (data.get("metadata") or {}).get("requester_ip_address")
    return Exchange(
        id=request_id or new_request_id(),
        method="POST",
        path=urlsplit(str(sent.get("url") or "")).path or "/v1/chat/completions",
        headers=[
            (str(name).lower().encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
            for name, value in (headers.items() if isinstance(headers, Mapping) else ())
        ],
        client=client if isinstance(client, str) and client else None,
        clock=time.monotonic,
        timings=Timings(time.monotonic()),
        body=body,
        principal=principal,
        requested_model=_requested(sent.get("body")) or body.get("model", str),
        stream=data.get("stream") is True,
    )


def _body(data: Mapping[str, Any], sent: Any, wanted: Iterable[str]) -> Body:
    """What the client sent, with the model that LiteLLM's own aliases made of its name."""
    fields = sent if isinstance(sent, Mapping) else data
    document = {str(key): value for key, value in fields.items() if key not in _ITS_OWN}
    if "model" in data:
        document["model"] = data["model"]
    metadata = (data.get("metadata") or {}).get("requester_metadata")  # the client's, with more of LiteLLM's in it
    if isinstance(metadata, Mapping) and (kept := {name: metadata[name] for name in wanted if name in metadata}):
        document["metadata"] = kept
    return Body(msgspec.json.encode(document, enc_hook=str))


def _requested(sent: Any) -> str | None:
    model = sent.get("model") if isinstance(sent, Mapping) else None
    return model if isinstance(model, str) else None


def apply_edits(data: dict[str, Any], before: Body, after: Body) -> None:
    """Give LiteLLM what the plugins have changed in the body."""
    if after.raw is before.raw:
        return
    for key in {*before, *after}:
        if key == "metadata":  # LiteLLM keeps things of its own there
            continue
        if key not in after:
            data.pop(key, None)
        elif after.bytes_of(key) != before.bytes_of(key):
            data[key] = after.get(key)
