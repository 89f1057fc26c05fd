"""ConfiguredModel: a model as litellm's configuration of its provider knows it, without the rest of litellm.

For a request `acompletion` makes 11,000 calls of functions, of which what it knows of the provider takes a few hundred:
how it names parameters, what its messages and headers look like, and what its answers mean. These are methods of the
provider's configuration object. They are called here with what `acompletion` calls them with; what it adds to their
results is learnt by `rehearsal`, which also finds out whether a request made so is the same. Where they change nothing,
see `unchanged`, they are not called, and what was made of a request is remembered for those that differ in texts alone.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

import msgspec

from crplugins.core.bounded_map import BoundedMap
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm.tap import RENAMING_PARSERS
from crplugins.handlers.litellm.unchanged import UnchangedAnswers, is_as_given

# Readers of streams that the configuration of their provider does not make.
_READERS: Final = {"anthropic": ("litellm.llms.anthropic.chat.handler", "ModelResponseIterator")}

_READ_AS_OPENAIS: Final = frozenset({"azure"})
"""Those whose configuration leaves the reading of answers to OpenAI's SDK."""

_REMEMBERED: Final = 512
_LONGEST_WORD: Final = 64


class NotConfigured(Exception):
    """The provider cannot be asked through its configuration alone."""


@dataclass(slots=True)
class ProviderRequest:
    """One POST.

    Attributes:
        headers: those of every such request, by their names in lower case.
        own: those of this request alone, such as a trace context.
        optional: the parameters in the provider's names, which the reading of its answer needs.
    """

    url: str
    headers: Mapping[str, str]
    own: Mapping[str, str]
    data: dict[str, Any]
    optional: dict[str, Any]
    json_mode: bool


@dataclass(frozen=True, slots=True)
class Additions:
    """What `acompletion` does to every request beside what the configuration says: the URL, headers and members."""

    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    members: Mapping[str, Any] = field(default_factory=dict)
    without: frozenset[str] = frozenset()


_NONE: Final = Additions()
_NO_HEADERS: Final[Mapping[str, str]] = {}


class ConfiguredModel:
    """Raises whatever litellm raises; `NotConfigured` when it is made for a provider without such an object.

    Attributes:
        additions: by whether an answer is streamed; to be set before requests are sent.
        uses_sdk: `acompletion` asks through OpenAI's SDK. It then names the provider before the model of the answer.
        leaves_texts: a conversation of texts is sent as it is, and nothing else depends on it; see `trial`.
        as_given: arguments that are sent as they are, with such a conversation.
        answers: how an answer in OpenAI's usual form is told; None if it has to be read by litellm.
    """

    def __init__(self, litellm: Any, deployment: Deployment, name: str, provider: str) -> None:
        self._litellm = litellm
        self.name, self.provider = name, provider
        _, _, key, base = litellm.get_llm_provider(
            name, custom_llm_provider=provider, api_base=deployment.api_base, api_key=deployment.api_key
        )
        self.key: Final = key or deployment.api_key
        self._base = base or deployment.api_base
        manager = litellm.utils.ProviderConfigManager
        self._config = manager.get_provider_chat_config(model=name, provider=litellm.LlmProviders(provider))
        if self._config is None or self._config.has_custom_stream_wrapper:
            raise NotConfigured(provider)
        self._answers: Any = litellm.OpenAIGPTConfig() if provider in _READ_AS_OPENAIS else self._config
        self._reader = _reader_of(provider)
        self._parameters = {**deployment.parameters, "api_base": self._base, "api_key": self.key}
        self._always = frozenset(map(str.lower, deployment.parameters.get("extra_headers") or ()))
        self._mapped: Final[BoundedMap[bytes, bytes]] = BoundedMap(_REMEMBERED)
        self._made: Final[BoundedMap[bytes, ProviderRequest]] = BoundedMap(_REMEMBERED)
        self.additions: dict[bool, Additions] = {}
        self.uses_sdk = False
        self.leaves_texts = False
        self.as_given: frozenset[str] = frozenset()
        self.answers: UnchangedAnswers | None = None

    def request(
        self, messages: list[Any], arguments: Mapping[str, Any], *, stream: bool, texts: bool
    ) -> ProviderRequest:
        """What to send for `arguments`, keyword arguments of `acompletion`. Both may be written into.

        `texts`: whether the messages `are_texts`.
        """
        if not (texts and self.leaves_texts):
            return self.made(messages, arguments, stream=stream)
        given = {
            name: arguments[name] for name in self.as_given & arguments.keys() if is_as_given(name, arguments[name])
        }
        others = arguments
        if given or "extra_headers" in arguments:
            others = {name: value for name, value in arguments.items() if name not in given and name != "extra_headers"}
        key = _key(others, stream=stream)
        if key is None:
            return self.made(messages, arguments, stream=stream)
        known = self._made.get(key)
        if known is None:
            known = self.made(messages, self._without_own_headers(arguments, others), stream=stream)
            known.data.pop("messages")
            self._made[key] = known
        own = self._own_headers(arguments) if "extra_headers" in arguments else _NO_HEADERS
        data = {**known.data, "messages": messages, **given}
        return ProviderRequest(known.url, known.headers, own, data, {**known.optional, **given}, known.json_mode)

    def _own_headers(self, arguments: Mapping[str, Any]) -> dict[str, str]:
        """The headers that are of one request alone."""
        headers = {str(name).lower(): str(value) for name, value in (arguments.get("extra_headers") or {}).items()}
        return {name: value for name, value in headers.items() if name not in self._always}

    def _without_own_headers(self, arguments: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
        headers = arguments.get("extra_headers") or {}
        always = {name: value for name, value in headers.items() if str(name).lower() in self._always}
        return {**others, "extra_headers": always} if always else dict(others)

    def made(self, messages: list[Any], arguments: Mapping[str, Any], *, stream: bool) -> ProviderRequest:
        """The same, made anew by litellm's configuration of the provider."""
        parameters = dict(self._parameters)
        messages = self._litellm.utils.validate_and_fix_openai_messages(messages)
        optional = self._optional(messages, arguments, stream=stream)
        json_mode, extra_body = bool(optional.pop("json_mode", False)), optional.pop("extra_body", None)
        headers = self._headers(messages, arguments, optional, parameters)
        data = self._config.transform_request(
            model=self.name, messages=messages, optional_params=optional, litellm_params=parameters, headers=headers
        )
        if extra_body:
            data = {**data, **extra_body}
        if stream and self._config.supports_stream_param_in_request_body:
            data["stream"] = True
        added = self.additions.get(stream, _NONE)
        for name in added.without:
            data.pop(name, None)
        if added.members:
            data |= added.members
        lowered = {str(name).lower(): str(value) for name, value in {**headers, **added.headers}.items()}
        own = {name: lowered.pop(name) for name in self._own_headers(arguments).keys() & lowered.keys()}
        return ProviderRequest(added.url, lowered, own, data, optional, json_mode)

    def _headers(
        self, messages: list[Any], arguments: Mapping[str, Any], optional: dict[str, Any], parameters: dict[str, Any]
    ) -> dict[str, str]:
        headers = dict(arguments.get("extra_headers") or {})
        try:
            made: dict[str, str] = self._config.validate_environment(
                headers=headers,
                model=self.name,
                messages=messages,
                optional_params=optional,
                litellm_params=parameters,
                api_key=self.key,
                api_base=self._base,
            )
        except NotImplementedError:  # Azure's, whose client sets the header of its key, which is always the same
            return headers
        return made

    def _optional(self, messages: list[Any], arguments: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        """The parameters in the provider's names.

        litellm's mapping, which takes 600 calls, is remembered for numbers and short words: it is the same for the
        same ones, whoever sends them. What holds a text of a client is mapped each time.
        """
        given = {name: value for name, value in arguments.items() if name != "extra_headers"}
        key = _key(given, stream=stream)
        if key is None:
            return self._map(messages, given, stream=stream)
        known = self._mapped.get(key)
        if known is None:
            self._mapped[key] = known = msgspec.json.encode(self._map(messages, given, stream=stream))
        optional: dict[str, Any] = msgspec.json.decode(known)
        return optional

    def _map(self, messages: list[Any], given: Mapping[str, Any], *, stream: bool) -> dict[str, Any]:
        streaming = {"stream": True} if stream else {}
        optional: dict[str, Any] = self._litellm.get_optional_params(
            model=self.name, custom_llm_provider=self.provider, messages=messages, **given, **streaming
        )
        if optional.pop("fake_stream", False) or (
            stream and self._config.should_fake_stream(model=self.name, stream=True, custom_llm_provider=self.provider)
        ):
            raise NotConfigured("litellm makes a stream of a whole answer")
        return optional

    @property
    def _named(self) -> str | None:
        names_provider = self.uses_sdk and self.provider not in ("openai", *_READ_AS_OPENAIS)
        return f"{self.provider}/{self.name}" if names_provider else None

    def unchanged_answer(self, request: ProviderRequest, body: bytes) -> bytes | None:
        """What a client is told of a whole answer that litellm would leave as it is; None for any other."""
        return None if self.answers is None or request.json_mode else self.answers.told(body)

    def answer(self, request: ProviderRequest, messages: list[Any], response: Any) -> Any:
        """The `ModelResponse` for a whole answer, an `httpx.Response` with a 2xx."""
        return self._answers.transform_response(
            model=self.name,
            raw_response=response,
            model_response=self._litellm.ModelResponse(model=self._named),
            logging_obj=_Unlogged(),
            api_key=self.key,
            request_data=request.data,
            messages=messages,
            optional_params=request.optional,
            litellm_params=dict(self._parameters),
            encoding=None,
            json_mode=request.json_mode,
        )

    def reader(self, request: ProviderRequest, lines: AsyncIterator[str]) -> Any:
        """litellm's reader of the lines of a stream; None where it would hand on each event as it is."""
        if self._reader is not None:
            return self._reader(streaming_response=lines, sync_stream=False, json_mode=request.json_mode)
        reader = self._config.get_model_response_iterator(streaming_response=lines, sync_stream=False)
        return None if type(reader).__name__ in RENAMING_PARSERS else reader

    def refusal(self, response: Any) -> Exception:
        """litellm's exception for a refusal by the provider, an `httpx.Response` that has been read."""
        import httpx

        refused: Exception = self._config.get_error_class(
            error_message=response.text, status_code=response.status_code, headers=response.headers
        )
        refused.__cause__ = httpx.HTTPStatusError("refused", request=response.request, response=response)
        try:
            self._litellm.exception_type(model=self.name, original_exception=refused, custom_llm_provider=self.provider)
        except Exception as mapped:
            mapped.__cause__ = refused
            return mapped
        return refused


def _reader_of(provider: str) -> Any:
    module, name = _READERS.get(provider, (None, ""))
    return None if module is None else getattr(import_module(module), name)


class _Unlogged:
    """Takes the place of litellm's log of a call."""

    def __init__(self) -> None:
        self.model_call_details: dict[str, Any] = {}
        self.optional_params: dict[str, Any] = {}

    def __getattr__(self, _name: str) -> Any:
        return _do_nothing


def _do_nothing(*_arguments: Any, **_words: Any) -> None: ...


def _key(arguments: Mapping[str, Any], *, stream: bool) -> bytes | None:
    """Arguments that hold nothing but numbers and short words; None for others."""
    for name, value in arguments.items():
        if not _is_short(name, value):
            return None
    return msgspec.json.encode((stream, arguments))


def _is_short(name: str, value: Any) -> bool:
    """A number, or a word of those that a parameter may have."""
    if isinstance(value, str):
        return len(value) <= _LONGEST_WORD and name not in ("user", "stop")
    return value is None or isinstance(value, bool | int | float) or name in ("stream_options", "allowed_openai_params")
