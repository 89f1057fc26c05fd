"""The sections `server` and `log`: where `crplugins serve` listens, what it takes, and what it writes."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from crplugins.config.tls import TlsSection
from crplugins.core.body import DEFAULT_MAX_BODY_BYTES
from crplugins.core.dialects import ALL, BY_NAME, Dialect
from crplugins.settings.building import Deferred
from crplugins.settings.section import Number, Section, Whole, not_empty, refusal


def _origin(value: str) -> str:
    if value != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s/?#@*]+", value, re.IGNORECASE):
        raise refusal("must be an origin such as https://app.example.com, without a path, or * for all")
    return value.lower()


class CorsSection(Section):
    """Which scripts in browsers may call the gateway, with a key. A list of origins may stand in its place."""

    allow_origins: Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], AfterValidator(not_empty)] = Field(
        examples=[["https://app.example.com"]]
    )
    """Their origins, `*` for all. No cookies are taken, so none of them acts for another user."""


def _with_origins(value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    return {"allow_origins": value} if isinstance(value, list | tuple) else value


def _root_path(value: str) -> str:
    if (value and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value)) or "/." in value:
        raise refusal("must be a path such as /llm, without a slash at the end")
    return value


LogLevel = Literal["debug", "info", "warning", "error"]


class LogSection(Section):
    """The log of `crplugins serve` on stderr."""

    level: LogLevel = Field(default="info", examples=["warning"])
    """The least urgent lines that are written. A request is one of `info`; `debug` has what providers say, redacted."""

    format: Literal["text", "json"] = Field(default="text", examples=["json"])
    """Lines for people, or a JSON object on each line."""


EndpointName = Literal[
    "chat", "completions", "responses", "compact", "messages", "count_tokens", "embeddings", "rerank", "moderations",
    "images", "image_edits", "image_variations", "transcriptions", "translations", "speech",
]  # fmt: skip


class Server(Section):
    """Where and how `crplugins serve` listens."""

    host: Annotated[str, Field(min_length=1)] = Field(default="127.0.0.1", examples=["10.0.0.5"])
    """The address to listen on."""

    uds: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/run/crplugins/gateway.sock"])
    """A Unix socket to listen on, in the place of an address and a port."""

    tls: Deferred[TlsSection] | None = None
    """HTTPS in the place of HTTP, with the gateway's own certificate."""

    watch: bool = Field(default=False, examples=[True])
    """Whether the configuration is read anew when its file changes; otherwise when somebody says so."""

    port: Annotated[Whole, Field(ge=0, le=65535)] = Field(default=4000, examples=[8080])
    """The port to listen on; 0 takes a free one."""

    max_body_bytes: Annotated[Whole, Field(gt=0)] = Field(default=DEFAULT_MAX_BODY_BYTES, examples=[20971520])
    """A request with a larger body is refused with 413."""

    max_header_bytes: Annotated[Whole, Field(ge=4096, le=1048576)] = Field(default=65536, examples=[32768])
    """A request whose line and headers are larger together is refused with 431."""

    header_timeout_seconds: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = Field(default=10, examples=[5])
    """How long a client may take for a handshake of TLS, and for the line and headers of a request; then its
    connection is closed."""

    body_timeout_seconds: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = Field(default=30, examples=[60])
    """A request with less than 1 KiB of its body in any such time gets 408; a slow upload that goes on is no fault."""

    idle_timeout_seconds: Annotated[Whole, Field(gt=0)] = Field(default=75, examples=[130])
    """A connection without a request is closed after this: longer than a load balancer in front keeps its own."""

    max_connections: Annotated[Whole, Field(gt=0)] = Field(default=4096, examples=[1000])
    """Open connections of one process. Past it the idle ones and those that send no request give way; if there are
    none, a new one gets 503."""

    max_in_flight: Annotated[Whole, Field(gt=0)] | None = Field(default=None, examples=[500])
    """Chat completions that one process serves at once. Past it, and for keys of a lower `priority` sooner, they get
    503; by default there is no such bound."""

    root_path: Annotated[str, AfterValidator(_root_path)] = Field(default="", examples=["/llm"])
    """The path under which a proxy shows the gateway, and which it may take off: `/llm/v1` and `/v1` are served."""

    cors: Annotated[Deferred[CorsSection] | None, BeforeValidator(_with_origins)] = None
    """CORS for scripts in browsers; without it none of another origin may read an answer."""

    stream_keep_alive_seconds: Annotated[Number, Field(ge=0.05, allow_inf_nan=False)] | None = Field(
        default=None, examples=[15]
    )
    """After this much silence a stream sends a comment, so that no proxy in between closes it; by default never."""

    access_log: bool = Field(default=True, examples=[False])
    """Whether each chat completion that is over is a line of the log. Inside vLLM and LiteLLM's proxy, which have lines
    of their own, only if it is written here."""

    shutdown_seconds: Annotated[Whole, Field(gt=0)] = Field(default=30, examples=[60])
    """How long running answers may go on after SIGTERM; records then have up to 25 s more."""

    endpoints: tuple[EndpointName, ...] = Field(default=(), examples=[["chat", "embeddings"]])
    """The protocols in which models are asked; by default all. The path of any other is an unknown one (404)."""

    unmetered_paths: tuple[Annotated[str, Field(pattern="^/")], ...] = Field(default=(), examples=[["/v1/embeddings"]])
    """Inside vLLM and LiteLLM's proxy: paths that every key opens besides; `/*` at the end stands for all below."""

    @property
    def dialects(self) -> tuple[Dialect, ...]:
        """Those of the endpoints that are open."""
        return tuple([BY_NAME[name] for name in self.endpoints]) or ALL

    @property
    def allowed_origins(self) -> tuple[str, ...]:
        return () if self.cors is None else self.cors.allow_origins
