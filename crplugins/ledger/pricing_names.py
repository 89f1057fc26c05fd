"""The names under which LiteLLM's table may list a model, and whether what stands there is meant."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_DATE: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_FINE_TUNE: Final = re.compile(r"(:[^:]*){3}$")
_GOOGLE_VERSION: Final = re.compile(r"-\d+$")
_BEDROCK_SIZE: Final = re.compile(r"(?<=:\d):\d+k$|\[\w+\]$")
_AWS_REGION: Final = re.compile(r"(?:us|eu|ap|ca|sa|me|af|il|mx|cn)(?:-gov)?-[a-z]+-\d/")
_BEDROCK_ROUTE: Final = re.compile(r"^(?:bedrock|chat_completions|converse|invoke|openai|mantle)/")
_BEDROCK_REGIONS: Final = frozenset({"global", "us", "eu", "apac", "jp", "au", "us-gov"})

_GOOGLE: Final = frozenset({"vertex_ai", "gemini", "databricks"})

# Providers under several names in the table: by what the names begin with, or written out.
_FAMILIES: Final = ("vertex_ai", "fireworks_ai", "bedrock", "cohere")
_ALSO: Final[Mapping[str, frozenset[str]]] = {
    "azure": frozenset({"azure_text"}),
    "azure_ai": frozenset({"azure", "openai"}),
    "openai": frozenset({"text-completion-openai"}),
}
_RESELLERS: Final = frozenset({"github", "litellm_proxy"})
"""They pass on the models of others under their names; LiteLLM charges what those charge."""


def names_of(model: str) -> Iterator[tuple[str | None, str]]:
    """(provider, name) in the order of LiteLLM's own search; provider None where the name says none."""
    provider, slash, rest = model.partition("/")
    if not slash:
        yield from ((None, name) for name in (model, _bare(model)))
        if model.partition(".")[0] in _BEDROCK_REGIONS:
            yield "bedrock", _bedrock(model)
        return
    if provider == "vertex_ai_beta":
        provider = "vertex_ai"
    stripped = _stripped(provider, rest)
    for name in (f"{provider}/{rest}", rest, *_respelt(provider, rest), f"{provider}/{stripped}", stripped):
        yield provider, name
    yield provider, f"{provider}/{provider}/{rest}"


def fits(provider: str | None, listed: str | None) -> bool:
    """Whether a name of `provider` means an entry of the provider `listed`: others sell models of the same name."""
    if provider is None or listed is None or provider == listed or provider in _RESELLERS:
        return True
    family = next((name for name in _FAMILIES if provider.startswith(name)), None)
    return (family is not None and listed.startswith(family)) or listed in _ALSO.get(provider, ())


def _stripped(provider: str, model: str) -> str:
    """The name without the parts that a provider lets stand around it and that cost nothing."""
    if provider in ("bedrock", "bedrock_converse"):
        return _bedrock(model)
    if provider == "bedrock_mantle":
        return _AWS_REGION.sub("", model, count=1)
    return _GOOGLE_VERSION.sub("", model) if provider in _GOOGLE else _bare(model)


def _bare(model: str) -> str:
    return _FINE_TUNE.sub("", model) if "ft:" in model else _DATE.sub("", model)


def _bedrock(model: str) -> str:
    """`us.anthropic.claude-x-v1:0` and `us-east-1/anthropic.claude-x-v1:0` are one model."""
    model = _bedrock_id(model)
    region, dot, name = model.partition(".")
    return name if dot and region in _BEDROCK_REGIONS else _AWS_REGION.sub("", model, count=1)


def _bedrock_id(model: str) -> str:
    """As AWS calls it: `converse/us.anthropic.claude-x-v1:0:200k` says how it is called too, and with what context."""
    while (shorter := _BEDROCK_ROUTE.sub("", model)) != model:
        model = shorter
    if model.startswith("arn:"):
        model = model.rpartition("/")[2]
    return _BEDROCK_SIZE.sub("", model)


def _respelt(provider: str, model: str) -> Iterator[str]:
    if provider == "bedrock":
        yield _bedrock_id(model)  # with its region, which may have prices of its own
    if provider == "vertex_ai":
        yield from (f"vertex_ai/meta/{model}", f"vertex_ai/{model}@latest")
    if provider == "fireworks_ai":
        yield f"fireworks_ai/accounts/fireworks/models/{model}"
