"""PriceTable: a list of models and their prices in LiteLLM's format; litellm's own is read without importing litellm.

`prices_for` puts a deployment's own prices before it. A model has several names in the list; `names_of` tries them in
the order of LiteLLM's own search, and `fits` refuses a model of the same name that another provider sells.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from sys import intern
from typing import Any, Final, Protocol, Self

import msgspec
from msgspec.structs import replace

from crplugins.core.usage import Price
from crplugins.metering.prices import in_region, price_of

logger = logging.getLogger("crplugins.pricing")

Prices = Callable[[str], Price | None]
"""The price of a model by its name in LiteLLM's notation; None where it is unknown."""

_FILE: Final = "model_prices_and_context_window_backup.json"
_MARKS: Final = (b"cost_per_token", b"cost_per_second", b"cost_per_character", b'"alias_of"')
"""An entry without one of these has no price for chat completions."""

_EXPLANATION: Final = "sample_spec"
"""The entry that explains the others."""

# Fireworks charges half for cached input of models without such a price; the table does not have that.
_HALF_WHEN_CACHED: Final = frozenset({"fireworks_ai"})
_CACHED_PRICES: Final = 1024
"""The names of a wildcard's models come from clients."""

_DATE: Final = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_FINE_TUNE: Final = re.compile(r"(:[^:]*){3}$")
_GOOGLE_VERSION: Final = re.compile(r"-\d+$")
_BEDROCK_SIZE: Final = re.compile(r"(?<=:\d):\d+k$|\[\w+\]$")
_AWS_REGION: Final = re.compile(r"(?:us|eu|ap|ca|sa|me|af|il|mx|cn)(?:-gov)?-[a-z]+-\d/")
_BEDROCK_ROUTE: Final = re.compile(r"^(?:bedrock|chat_completions|converse|invoke|openai|mantle)/")
_BEDROCK_REGIONS: Final = frozenset({"global", "us", "eu", "apac", "jp", "au", "us-gov"})
_RESPONSES_MARK: Final = "responses/"
"""LiteLLM's, of a model that is asked in Responses; it costs the same."""

_GOOGLE: Final = frozenset({"vertex_ai", "gemini", "databricks"})

# Providers with several names in the table: by the beginning of the names, or one by one.
_FAMILIES: Final = ("vertex_ai", "fireworks_ai", "bedrock", "cohere")
_ALSO: Final[Mapping[str, frozenset[str]]] = {
    "azure": frozenset({"azure_text"}),
    "azure_ai": frozenset({"azure", "openai"}),
    "openai": frozenset({"text-completion-openai"}),
}

_RESELLERS: Final = frozenset({"github", "litellm_proxy"})
"""They sell the models of others under those names, at the same prices in LiteLLM."""


class PricesByModel(Protocol):
    """A list of prices."""

    def find(self, model: str) -> Price | None:
        """The price of a model in LiteLLM's notation; None if it is not listed, or not priced by tokens."""

    def __len__(self) -> int:
        """How many prices it has."""


class Forgetful(Protocol):
    """What keeps prices that were found, such as a function under `lru_cache`."""

    def cache_clear(self) -> None:
        """Find them anew."""


class PriceTable:
    """Prices by model. A look-up tries a few names in a dict, and never reads a file.

    Args:
        entries: name, provider (None for any) and price of each model.
    """

    def __init__(self, entries: Iterable[tuple[str, str | None, Price]] = ()) -> None:
        self._entries = {name.lower(): (provider, price) for name, provider, price in entries}

    @classmethod
    def load(cls) -> Self:
        """The table of the installed litellm; empty where there is none. Blocks for 0.2 s."""
        file = _installed()
        return cls() if file is None else cls.read(file.read_bytes())

    @classmethod
    def read(cls, document: bytes) -> Self:
        """The table in a document such as litellm's. Blocks for 0.2 s. Raises ValueError for what is none."""
        return cls(_read(document))

    def find(self, model: str) -> Price | None:
        """The price of a model in LiteLLM's notation; None if it is not listed, or not priced by tokens."""
        for provider, name in names_of(model):
            found = self._entries.get(name.lower())
            if found is not None and fits(provider, found[0]):
                return found[1]
        return None

    def provider(self, name: str) -> str | None:
        """Whose model it is, by its name in the list."""
        found = self._entries.get(name.lower())
        return None if found is None else found[0]

    def __len__(self) -> int:
        return len(self._entries)


def prices_for(
    model_info: Mapping[str, Any],
    table: Callable[[], PricesByModel],
    *,
    region: str | None = None,
    watch: Callable[[Forgetful], None] | None = None,
) -> Prices:
    """What is charged under a `model_info` (US dollars per token, under LiteLLM's names).

    If it has prices for input and output, nothing is looked up. A missing one is taken from `table()`, under the name
    in `base_model` if there is one; a price given without its parts (cached input, reasoning) applies to them too. The
    listed price is that of the `region` of a deployment, see `in_region`.

    Call the result once at start-up, off the event loop: `table` may read a file in the first call. Where it may later
    give another table, `watch` is told what to forget then.

    Raises ValueError for a price that is not a number, or negative.
    """
    own = price_of(model_info)
    return listed_for(model_info, table, region=region, watch=watch) if own is None else lambda _model: own


def listed_for(
    model_info: Mapping[str, Any],
    table: Callable[[], PricesByModel],
    *,
    region: str | None = None,
    watch: Callable[[Forgetful], None] | None = None,
) -> Prices:
    """The same where it is known that `model_info` has no price of input or none of output."""
    base_model = model_info.get("base_model")

    @lru_cache(_CACHED_PRICES)
    def find(model: str) -> Price | None:
        listed = table().find(base_model if isinstance(base_model, str) else model)
        return listed if listed is None else price_of(model_info, in_region(listed, region))

    if watch is not None:
        watch(find)
    return find


def _installed() -> Path | None:
    """The file in litellm's package. It is found without importing litellm, which takes 2.5 s and 170 MB."""
    spec = find_spec("litellm")
    if spec is None or spec.origin is None:
        return None
    file = Path(spec.origin).with_name(_FILE)
    return file if file.exists() else None


def _read(document: bytes) -> Iterable[tuple[str, str | None, Price]]:
    """Reads one entry at a time: decoded as a whole the document takes ten times the memory of its prices."""
    same: dict[Price, Price] = {}  # most models share their price with others
    read: dict[str, tuple[str | None, Price]] = {}
    other_names: list[tuple[str, str]] = []
    for name, raw in msgspec.json.decode(document, type=dict[str, msgspec.Raw]).items():
        if name == _EXPLANATION or not any(mark in bytes(raw) for mark in _MARKS):
            continue
        try:
            entry = msgspec.json.decode(raw, type=dict[str, Any])
            other_names += _other_names(name, entry)
            price = _price(entry)
        except (ValueError, TypeError) as error:  # the next release may have another format
            logger.warning("litellm's price of %s cannot be read: %s", name, error)
            continue
        if price is not None:
            provider = entry.get("litellm_provider")
            listed = same.setdefault(price, replace(price, source="table"))
            read[name] = intern(provider) if isinstance(provider, str) else None, listed
    read |= {alias: read[name] for alias, name in other_names if name in read and alias not in read}
    return [(name, *found) for name, found in read.items()]


def _other_names(name: str, entry: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(other name, name), from the entry of either name: `claude-opus-latest` is the newest release of Opus."""
    target = entry.get("alias_of")
    if isinstance(target, str):
        return [(name, target)]
    aliases = entry.get("aliases")
    return [(alias, name) for alias in aliases if isinstance(alias, str)] if isinstance(aliases, list) else []


def _price(entry: Mapping[str, Any]) -> Price | None:
    if entry.get("litellm_provider") in _HALF_WHEN_CACHED and "input_cost_per_token" in entry:
        entry = {"cache_read_input_token_cost": entry["input_cost_per_token"] / 2, **entry}
    return price_of(entry)


def names_of(model: str) -> Iterator[tuple[str | None, str]]:
    """(provider, name) in the order of LiteLLM's own search; provider None where the name has none."""
    provider, slash, rest = model.partition("/")
    if not slash:
        yield from ((None, name) for name in (model, _bare(model)))
        if model.partition(".")[0] in _BEDROCK_REGIONS:
            yield "bedrock", _bedrock(model)
        return
    if provider == "vertex_ai_beta":
        provider = "vertex_ai"
    rest = rest.removeprefix(_RESPONSES_MARK)
    stripped = _stripped(provider, rest)
    for name in (f"{provider}/{rest}", rest, *_respelt(provider, rest), f"{provider}/{stripped}", stripped):
        yield provider, name
    yield provider, f"{provider}/{provider}/{rest}"


def fits(provider: str | None, listed: str | None) -> bool:
    """Whether a name of `provider` can mean an entry of the provider `listed`: others sell models of the same name."""
    if provider is None or listed is None or provider == listed or provider in _RESELLERS:
        return True
    family = next((name for name in _FAMILIES if provider.startswith(name)), None)
    return (family is not None and listed.startswith(family)) or listed in _ALSO.get(provider, ())


def _stripped(provider: str, model: str) -> str:
    """The name without the prefixes and suffixes of the provider that do not change the price."""
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
    """AWS's own id: `converse/us.anthropic.claude-x-v1:0:200k` also has the API and the context size in it."""
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
