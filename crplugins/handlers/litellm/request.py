"""A client's body as arguments of `litellm.acompletion`.

`acompletion(**body)` would let a client choose the address, the credentials and the headers of the upstream call:
`api_base`, `api_key`, `extra_headers`, `mock_response` and hundreds more are plain keyword arguments, and litellm adds
some with every release. So only OpenAI's own parameters become arguments. Parameters that neither OpenAI nor litellm
knows go into the JSON that is sent to the provider (`extra_body`), where they can be nothing but data.
"""

import copy
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError
from crplugins.core.parameters import normal_form
from crplugins.core.redaction import cut
from crplugins.handlers.litellm.choices import with_choice_by_tools
from crplugins.handlers.litellm_settings import PREFIXES, SETTINGS

Arguments = dict[str, Any]
"""Keyword arguments of `acompletion` beside model and messages."""

OPENAI_PARAMETERS: Final = frozenset({
    "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "modalities", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
    "reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store", "temperature",
    "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity", "web_search_options",
})  # fmt: skip
"""Parameters of OpenAI's chat completions that `acompletion` takes by name."""

_LONGEST_KIND: Final = 64
_OBJECTS: Final = frozenset({dict})
_POSITIONAL: Final = frozenset({"model", "messages"})
_STREAMING: Final = frozenset({"stream", "stream_options"})
_OPENAIS: Final = OPENAI_PARAMETERS | _STREAMING

# Default values that some clients send. A model that lacks the parameter still serves the request.
_NEUTRAL: Final[Mapping[str, Any]] = {
    "frequency_penalty": 0, "logit_bias": {}, "logprobs": False, "modalities": ["text"], "n": 1,
    "parallel_tool_calls": True, "presence_penalty": 0, "service_tier": "auto", "store": False,
}  # fmt: skip

# By what OpenAI counts, keeps or finds a request again. It changes no answer, so that a model behind another provider
# serves the request without it; litellm refuses some of them, and sends others on to who refuses them.
_HINTS: Final = frozenset({
    "metadata", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "safety_identifier", "store",
})  # fmt: skip

# Settings of a deployment that litellm does not get: the request says whether to stream, and the client retries.
_NOT_PASSED: Final = _STREAMING | {"max_retries", "num_retries", "retry_policy", "retry_strategy"}


@lru_cache(256)
def _one_of_equals(names: frozenset[str]) -> frozenset[str]:
    """The same object for the models of one provider, of which there may be thousands."""
    return names


@lru_cache(8)
def _refused(owned: frozenset[str]) -> frozenset[str]:
    """The normal forms of what a client must not set: litellm's settings, and those of the release that is loaded."""
    return frozenset(map(normal_form, (SETTINGS | owned) - OPENAI_PARAMETERS - {"metadata", "thinking"}))


class ArgumentMap:
    """Turns request bodies into arguments for one deployment.

    Args:
        parameters: `litellm_params` of the deployment, which are trusted: settings of litellm and defaults.
        supported: OpenAI's parameters that litellm translates for this model.
        speaks_openai: the provider takes OpenAI's parameters unchanged, also those litellm does not list for it.
        extras: the provider's own parameters that may be sent beside OpenAI's; None for any name.
        owned: further settings of litellm that a client must not set: those of the release that is loaded. Some of its
            providers read them from `extra_body` too (azure: `azure_ad_token`), so from a client they are dropped.
        wants_thinking_back: the model goes on thinking only if its last thoughts are sent back.
        parts: the types of the parts of a message that the provider can be sent; None for any.
        allows_tools: litellm sends the provider a list of allowed tools as it is.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        *,
        supported: Iterable[str],
        speaks_openai: bool,
        extras: Iterable[str] | None = None,
        owned: Iterable[str] = (),
        wants_thinking_back: bool = False,
        parts: frozenset[str] | None = None,
        allows_tools: bool = False,
    ) -> None:
        self.wants_thinking_back = wants_thinking_back
        self._parts = parts
        self._allows_tools = allows_tools
        self._defaults = {k: v for k, v in parameters.items() if k not in _NOT_PASSED and v is not None}
        self._allowed = list(self._defaults.pop("allowed_openai_params", None) or ())
        self._own_extras = dict(self._defaults.pop("extra_body", None) or {})
        self._supported = _one_of_equals(frozenset(supported))
        self._speaks_openai = speaks_openai
        self._extras = None if extras is None else _one_of_equals(frozenset(extras))
        forwarded = (OPENAI_PARAMETERS if speaks_openai else frozenset()) | (self._extras or frozenset())
        self._unlisted = _one_of_equals(forwarded - self._supported)
        self._refused = _refused(frozenset(owned))

    def takes(self, name: str) -> bool:
        """Whether a parameter of OpenAI's is sent to the provider."""
        return self._speaks_openai or name in self._supported

    def check(self, messages: list[Any]) -> None:
        """Raises `GatewayError` 400 for a part of a message that the provider cannot be sent, and would not miss."""
        if self._parts is not None:
            _refuse_parts(messages, self._parts)

    def arguments(self, body: Body) -> Arguments:
        """The arguments for `body`. Values a client sends win over defaults; null means the default."""
        sent: Mapping[str, Any] = {k: v for k in body if k not in _POSITIONAL and (v := body.get(k)) is not None}
        if not _HINTS.isdisjoint(sent):
            sent = {k: v for k, v in sent.items() if not self._is_idle(k)}
        stop = sent.get("stop")
        if isinstance(stop, list) and len(stop) > 4:  # litellm would cut it to four, silently
            raise _too_many_stops(len(stop))
        if not self._speaks_openai:
            _refuse_custom(sent.get("tools"))
        if sent.get("tool_choice").__class__ is dict:
            sent = with_choice_by_tools(sent, allows_tools=self._allows_tools)
        arguments = copy.deepcopy(self._defaults) if self._defaults else {}  # litellm writes into what it is given
        arguments.update(self._translatable(sent))
        arguments.update(self._beside(sent))
        if self._allowed or not self._unlisted.isdisjoint(arguments):
            unlisted = [name for name in arguments if name in self._unlisted]
            arguments["allowed_openai_params"] = [*self._allowed, *unlisted]
        return arguments

    def _translatable(self, sent: Mapping[str, Any]) -> Arguments:
        known = {k: v for k, v in sent.items() if k in OPENAI_PARAMETERS}
        if not self._speaks_openai:
            known = {k: v for k, v in known.items() if k in self._supported or _NEUTRAL.get(k, _NEUTRAL) != v}
        if sent.get("stream") is True:
            known["stream"] = True
            if "stream_options" in sent:
                known["stream_options"] = sent["stream_options"]
        return known

    def _beside(self, sent: Mapping[str, Any]) -> Arguments:
        """What is sent to the provider beside OpenAI's parameters: as `extra_body`, or by the names of `extras`."""
        if not self._own_extras and _OPENAIS.issuperset(sent):
            return {}
        extra = {k: v for k, v in sent.items() if k not in _OPENAIS and not self._is_refused(k)}
        own = copy.deepcopy(self._own_extras)
        if self._extras is not None:
            return {k: v for k, v in extra.items() if k in self._extras} | own
        extra |= own
        return {"extra_body": extra} if extra else {}

    def _is_idle(self, name: str) -> bool:
        """A hint that only OpenAI understands."""
        known = self._speaks_openai or name in self._supported or name in (self._extras or ()) or name in self._allowed
        return name in _HINTS and not known

    def _is_refused(self, name: str) -> bool:
        """In disguise too: what litellm does not know it passes on, and a relay behind it may read it."""
        form = normal_form(name)
        return form in self._refused or name.startswith("_") or form.startswith(PREFIXES)


def messages_of(body: Body) -> list[Any]:
    """The messages. Raises `GatewayError` 400 where litellm would fail on them with a 500."""
    messages = body.get("messages")
    if messages is None:
        raise GatewayError(
            400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter"
        )
    if not isinstance(messages, list) or not _OBJECTS.issuperset(map(type, messages)):
        raise GatewayError(
            400, "Invalid type for 'messages': expected an array of objects.", param="messages", code="invalid_type"
        )
    return messages


def _refuse_parts(messages: list[Any], taken: frozenset[str]) -> None:
    for number, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            kind = part.get("type") if isinstance(part, dict) else None
            if isinstance(kind, str) and kind not in taken:
                param = f"messages[{number}].content[{place}].type"
                sentence = (
                    f"Unsupported value: '{param}' does not support '{cut(kind, _LONGEST_KIND)}' with this model."
                )
                raise GatewayError(400, sentence, param=param, code="unsupported_value")


def _refuse_custom(tools: Any) -> None:
    """Tools that take a text of their own form: litellm fails on them with a 500, or leaves them out unseen."""
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        if isinstance(tool, dict) and tool.get("type") == "custom" and "custom" in tool:
            param = f"tools[{number}].type"
            sentence = f"Unsupported value: '{param}' does not support 'custom' with this model."
            raise GatewayError(400, sentence, param=param, code="unsupported_value")


def _too_many_stops(count: int) -> GatewayError:
    return GatewayError(
        400,
        f"Invalid 'stop': array too long. Expected an array with maximum length 4, but got an array with length "
        f"{count} instead.",
        param="stop",
        code="array_above_max_length",
    )
