"""The same model under two names: what an answer calls itself, what is configured, and what an export says.

Exports name dated models (`gpt-5-2025-08-07`) where `gpt-5` is configured; Bedrock adds a region, the maker and a
version (`us.anthropic.claude-sonnet-4-20250514-v1:0`), Vertex an `@` before the date, Gemini's API `models/`, routers a
path (`anthropic/claude-opus-4.7`), Anthropic's cost file spaces and points (`Claude Haiku 4.5`). The names of Azure's
deployments are free: the answer says which model it was, else `--model` does.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Final, NamedTuple

_ARN: Final = re.compile(r"arn:aws[\w-]*:bedrock:[^:]*:[^:]*:[\w-]+/")
_REGION: Final = re.compile(r"(?:us-gov|us|eu|apac|jp|au|ca|sa|me|af|global)\.(?=[\w-]+\.)")
_MAKER: Final = re.compile(
    r"(?:ai21|amazon|anthropic|cohere|deepseek|google|luma|meta|minimax|mistral|moonshotai|moonshot|nvidia|openai|qwen"
    r"|stability|twelvelabs|writer|zai)\."
)
_BEDROCK_VERSION: Final = re.compile(r"-v\d+(?::\d+)?(?::\d+k)?")
_STAMP: Final = re.compile(
    r"-(\d{4}-\d{2}-\d{2}|\d{8}|\d{6}|\d{2}-\d{4}|(?:(?<=preview-)|(?<=exp-))\d{2}-\d{2}|\d{4}|\d{3})"
)
_ALIASES: Final = ("-latest", "-default")


class ModelName(NamedTuple):
    """`gpt-5-2025-08-07` is `gpt-5` with the stamp 20250807. A name without a stamp is any of them."""

    base: str
    stamp: str


@lru_cache(maxsize=10_000)
def parse_model(name: str) -> ModelName:
    text = name.strip().casefold()
    if "ft:" in text:  # the names that follow are the customer's own: `ft:gpt-4o-2024-08-06:acme::abc`
        base, colon, own = text[text.index("ft:") + 3 :].partition(":")
        model = parse_model(base)
        return ModelName(f"ft:{model.base}{colon}{own}", model.stamp)
    text = _ARN.sub("", text).rpartition("/")[2]
    region = _REGION.match(text)
    if region is not None:
        text = text[region.end() :]
    maker = _MAKER.match(text)
    if maker is not None:
        text = text[maker.end() :]
    text = text.replace("@", "-").replace(" ", "-")
    if text.startswith("claude"):
        text = text.replace(".", "-")
    for ending in _ALIASES:
        text = text.removesuffix(ending)
    version = re.search(rf"{_BEDROCK_VERSION.pattern}$", text) if maker is not None else None
    if version is not None:
        text = text[: version.start()]
    stamp = re.search(rf"{_STAMP.pattern}$", text)
    if stamp is None or not stamp.start():
        return ModelName(text, "")
    return ModelName(text[: stamp.start()], stamp[1].replace("-", ""))


class ModelNames:
    """The models of an export, looked up by other names.

    Args:
        exported: the names in the export.
        mapped: configured to exported names, which go before everything else. The provider before a configured name,
            as in `azure/my-deployment`, may stand there or not. A name of the export may be mapped too: web searches
            are a line of their own there, and a part of the model's cost in the ledger.
    """

    def __init__(self, exported: Iterable[str], mapped: Mapping[str, str]) -> None:
        self._mapped = {key: name for given, name in mapped.items() for key in (given.rpartition("/")[2], given)}
        self._exported = frozenset(map(self.exported, exported))
        self._by_base: dict[str, dict[str, list[str]]] = {}
        for name in sorted(self._exported):
            base, stamp = parse_model(name)
            self._by_base.setdefault(base, {}).setdefault(stamp, []).append(name)

    def exported(self, name: str) -> str:
        """What a model of the export is called from here on."""
        return self._mapped.get(name, name)

    def find(self, *names: str) -> Collection[str]:
        """The models of the export that these names of one model can be, the surest name first; empty if none.

        Any of the names as it is goes before one that is only alike: a deployment may be called `gpt-4o`.
        """
        names = tuple(filter(None, names))
        for name in names:
            if name in self._mapped:
                return (self._mapped[name],)
        for name in names:
            if name in self._exported:
                return (name,)
        for name in names:
            found = self._alike(name)
            if found:
                return found
        return ()

    def _alike(self, name: str) -> Collection[str]:
        """The same stamp; else, where one of the two names has none, the same model."""
        base, stamp = parse_model(name)
        stamps = self._by_base.get(base)
        while stamps is None and base.startswith("ft:") and base.count(":") > 1:  # exports may shorten a fine-tune
            base = base.rpartition(":")[0]
            stamps = self._by_base.get(base)
        if not stamps:
            return ()
        if stamp in stamps:
            return stamps[stamp]
        return stamps.get("", ()) if stamp else [found for names in stamps.values() for found in names]


def one_name_each(
    models: ModelNames, known: Iterable[tuple[str, ...]]
) -> tuple[dict[tuple[str, ...], str], dict[str, str]]:
    """One name for each model on both sides: for the names in the ledger, and for those in the export.

    A name that can be several models of the export (`gpt-4o` for two dated ones) makes them one, so that nothing is
    compared with a part of itself.
    """
    leader: dict[str, str] = {}

    def of(name: str) -> str:
        while leader.get(name, name) != name:
            name = leader[name]
        return name

    labels: dict[tuple[str, ...], str] = {}
    for names in known:
        found = sorted(models.find(*names))
        labels[names] = found[0] if found else next((name for name in names if name), "")
        for other in found[1:]:
            leader[max(of(found[0]), of(other))] = min(of(found[0]), of(other))
    joined: dict[str, list[str]] = {}
    for name in {*leader, *leader.values()}:
        joined.setdefault(of(name), []).append(name)
    shown = {name: " + ".join(sorted(group)) for group in joined.values() for name in group}
    return {names: shown.get(label, label) for names, label in labels.items()}, shown
