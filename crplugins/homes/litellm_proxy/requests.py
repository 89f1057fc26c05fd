"""Letting a call in: `async_pre_call_hook`, or the part of it that remains inside the entry."""

import time
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from copy import copy
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
from pydantic import PrivateAttr

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, Dialect
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange, Timings, new_request_id
from crplugins.core.principal import DEFAULT_PRIORITY, PRIORITIES, Principal, Priority
from crplugins.core.stream_options import STREAM_OPTIONS
from crplugins.homes.litellm_proxy.calls import ProxyCall
from crplugins.homes.litellm_proxy.failures import ProxyRefusal
from crplugins.homes.litellm_proxy.names import router
from crplugins.homes.litellm_proxy.runtime import Runtime, boundary

# What LiteLLM puts beside the client's own keys.
_ITS_OWN: Final = frozenset({
    "metadata", "litellm_metadata", "proxy_server_request", "secret_fields", "litellm_logging_obj", "litellm_call_id",
    "_litellm_strip_stream_usage",
})  # fmt: skip


_UNMETERED: Final = ("no-log", "background")
"""`no-log` keeps a request of LiteLLM's from all log events. A response in the `background` is answered before it is
made, and its usage is known to who fetches it later."""


_RETRY_POLICIES: Final = ("model_group_retry_policy", "retry_policy")


REQUEST_ID: Final[ContextVar[str | None]] = ContextVar("crplugins.litellm_request_id", default=None)
"""The id that an entry which runs no plugins will tell the client."""


_FORMS: Final = ("multipart/form-data", "application/x-www-form-urlencoded")
"""In which pictures and speech are sent. LiteLLM reads chat completions from them too, where no client sends them."""


_HASH_LENGTH: Final = 64


async def admit(runtime: Runtime, caller: Any, data: dict[str, Any], dialect: Dialect) -> None:
    """Run the plugins on a request, and keep it to be settled. Raises `Refusal`."""
    _bound_retries(data)
    around = boundary()
    if around is not None:
        _check_model(around, data)
        return
    if runtime.calls.has(data):  # a second callback of ours
        return
    try:
        await runtime.opened()
    except GatewayError as error:
        raise ProxyRefusal(error) from None
    exchange = exchange_of(data, principal_of(caller), REQUEST_ID.get(), dialect)
    before: Body | None = None

    async def read_body() -> None:
        nonlocal before
        before = body_of(data, runtime.metadata, exchange)
        exchange.body = before.copy()
        if exchange.requested_model is None:
            exchange.requested_model = before.get("model", str)

    call = runtime.call(exchange)
    try:
        await call.enter(read_body)
        if not call.chat:
            _check_metered(data)
    except GatewayError as error:
        raise await _refused(runtime, call, error) from None
    except BaseException:  # the client has disconnected meanwhile
        runtime.calls.settle(call, 499, left=True)
        raise
    apply_edits(data, before, exchange.body)
    if dialect.asks_for_usage and exchange.stream:
        _ask_for_usage(runtime, call, data)
    runtime.calls.add(call, data)


def _bound_retries(data: dict[str, Any]) -> None:
    """A client may have a provider asked less often than the router would, by a parameter or a header, and not more
    often: a request is one to every limit, and what a call that fails has cost is told by nobody."""
    for name in _RETRY_POLICIES:
        data.pop(name, None)
    asked, usual = data.get("num_retries"), getattr(router(), "num_retries", None)
    if asked is not None and not (type(asked) is int and type(usual) is int and asked <= usual):
        del data["num_retries"]


def _check_metered(data: Mapping[str, Any]) -> None:
    """Only LiteLLM's log events tell what other APIs than chat completions have used, when the answer is there."""
    for name in _UNMETERED:
        if data.get(name):
            message = (
                f"Unsupported parameter: '{name}' is not supported here, because the request could not be metered."
            )
            raise GatewayError(400, message, param=name, code="unsupported_parameter")


async def _refused(runtime: Runtime, call: ProxyCall, error: GatewayError) -> ProxyRefusal:
    sent, headers = call.refusal_headers(error)
    await runtime.calls.end(call, sent.status, sent)
    return ProxyRefusal(sent, headers)


def _check_model(around: Exchange, data: Mapping[str, Any]) -> None:
    """LiteLLM takes a model from places other than the body, where the plugins have not judged it."""
    judged = around.body.get("model", str) if around.body is not None else None
    if judged is not None and data.get("model") != judged and not _renamed_by_litellm(judged):
        raise ProxyRefusal(GatewayError(400, "The model must stand in the request's body.", param="model"))


def _renamed_by_litellm(name: str) -> bool:
    import litellm

    return name in litellm.model_alias_map


def _ask_for_usage(runtime: Runtime, call: ProxyCall, data: dict[str, Any]) -> None:
    """Where LiteLLM has not: it looks before our aliases are resolved, and may be sent not to."""
    options = data.get(STREAM_OPTIONS)
    if isinstance(options, dict) and options.get("include_usage") is True:
        return
    if runtime.unasked.has(call.exchange):
        call.estimated = True  # what LiteLLM then tells are its own counts
        return
    call.hides_usage = True
    data[STREAM_OPTIONS] = {**(options if isinstance(options, dict) else {}), "include_usage": True}


def exchange_of(
    data: Mapping[str, Any], principal: Principal | None, request_id: str | None, dialect: Dialect
) -> Exchange:
    """The Exchange of a request that LiteLLM is about to serve, whose body nobody has read yet."""
    sent = _sent(data)
    headers = sent.get("headers")
    client = (data.get("metadata") or {}).get("requester_ip_address")
    return Exchange(
        id=request_id or new_request_id(),
        method="POST",
        path=urlsplit(str(sent.get("url") or "")).path or "/v1" + dialect.path,
        dialect=dialect,
        headers=[
            (str(name).lower().encode("latin-1", "replace"), str(value).encode("latin-1", "replace"))
            for name, value in (headers.items() if isinstance(headers, Mapping) else ())
        ],
        client=client if isinstance(client, str) and client else None,
        clock=time.monotonic,
        timings=Timings(time.monotonic()),
        principal=principal,
        requested_model=_requested(sent.get("body")),
        stream=data.get("stream") is True,
    )


def body_of(data: Mapping[str, Any], wanted: Iterable[str], exchange: Exchange) -> Body:
    """What the client sent, with the model that LiteLLM's own aliases made of its name.

    `wanted` are names in its metadata. Raises `GatewayError` 400 for a body with a parameter in disguise or of another
    type, or with more than is read.
    """
    body, dialect = _sent(data).get("body"), exchange.dialect
    fields = body if isinstance(body, Mapping) else data
    document = {str(key): value for key, value in fields.items() if key not in _ITS_OWN}
    if "model" in data:
        document["model"] = data["model"]
    metadata = (data.get("metadata") or {}).get("requester_metadata")  # the client's, with more of LiteLLM's in it
    if isinstance(metadata, Mapping) and (kept := {name: metadata[name] for name in wanted if name in metadata}):
        document["metadata"] = kept
    form = dialect is not CHAT and (exchange.header(b"content-type") or "").lower().startswith(_FORMS)
    return Body.of_request(msgspec.json.encode(document, enc_hook=str), form=form, tokens=dialect.tokens)


def _sent(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """What LiteLLM keeps of the request as its client sent it."""
    sent = data.get("proxy_server_request")
    return sent if isinstance(sent, Mapping) else {}


def _requested(sent: Any) -> str | None:
    model = sent.get("model") if isinstance(sent, Mapping) else None
    return model if isinstance(model, str) else None


def apply_edits(data: dict[str, Any], before: Body | None, after: Body | None) -> None:
    """Give LiteLLM what the plugins have changed in the body; None is one that no plugin has read."""
    if before is None or after is None or after.raw is before.raw:
        return
    for key in {*before, *after}:
        if key == "metadata":  # LiteLLM keeps things of its own there
            continue
        if key not in after:
            data.pop(key, None)
        elif after.bytes_of(key) != before.bytes_of(key):
            data[key] = after.get(key)


class Authenticated(UserAPIKeyAuth):
    """LiteLLM's view of one of our keys. It may ask for answers, and only an `admin` may administer anything."""

    _principal: Principal | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, principal: Principal | None) -> "Authenticated":
        is_admin = principal is not None and principal.admin
        role = LitellmUserRoles.PROXY_ADMIN if is_admin else LitellmUserRoles.INTERNAL_USER_VIEW_ONLY
        name, team = ("crplugins", None) if principal is None else (principal.key_id, principal.team)
        known = _of_key(name, team, role)
        made = copy(known)
        fields = vars(made)
        for name, value in vars(known).items():
            if isinstance(value, dict | list):  # LiteLLM writes into them
                fields[name] = value.copy()
        made._principal = principal
        return made

    @property
    def principal(self) -> Principal | None:
        return self._principal


@lru_cache(maxsize=4096)
def _of_key(key_id: str, team: str | None, role: LitellmUserRoles) -> Authenticated:
    """Made once for each key: its hundred fields take pydantic 50 us."""
    return Authenticated(
        api_key=key_id,  # never the secret: this is written into LiteLLM's logs and metrics
        key_alias=key_id,
        team_id=team,
        team_alias=team,
        user_role=role,
    )


def principal_of(caller: Any) -> Principal | None:
    """Ours as it is; of a key of LiteLLM's its alias, else `litellm-` and the beginning of its hash.

    Its `priority` is that of its metadata, where LiteLLM's own users write it too.
    """
    if isinstance(caller, Authenticated):
        return caller.principal
    secret = getattr(caller, "token", None) or getattr(caller, "api_key", None)
    alias = getattr(caller, "key_alias", None)
    if not alias and not secret:
        return None
    team = getattr(caller, "team_alias", None) or getattr(caller, "team_id", None)
    key_id = str(alias) if alias else f"litellm-{_hashed(str(secret))[:12]}"
    return Principal(key_id, team=team, priority=_priority_in(getattr(caller, "metadata", None)))


def _priority_in(metadata: Any) -> Priority:
    """`normal` for what is none of ours, such as LiteLLM's `prod`."""
    said = metadata.get("priority") if isinstance(metadata, Mapping) else None
    return next((priority for priority in PRIORITIES if priority == said), DEFAULT_PRIORITY)


def _hashed(secret: str) -> str:
    """LiteLLM hashes keys that begin with `sk-` and leaves others as they are."""
    is_hash = len(secret) == _HASH_LENGTH and all(c in "0123456789abcdef" for c in secret)
    return secret if is_hash else sha256(secret.encode()).hexdigest()
