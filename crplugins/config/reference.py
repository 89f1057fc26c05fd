"""The reference of every key of the configuration file, written from the models that check it.

    python -m crplugins.config.reference             # writes crplugins/config/README.md anew, below its introduction
    python -m crplugins.config.reference --check     # exit code 1 if the page is not what would be written

The text below a field is its meaning there, the first of its `examples` its example. A section that is the type of a
field, or stands anywhere in that type, is a section of the page: a new one needs no line here.
"""

import argparse
import ast
import inspect
import itertools
import re
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import yaml
from pydantic import AliasChoices, BaseModel, SecretStr
from pydantic.fields import FieldInfo

from crplugins.config.schema import Config
from crplugins.core.error_codes import error_table
from crplugins.settings.section import Section

PAGE: Final = Path(__file__).with_name("README.md")
MARK: Final = "<!-- From here on written by `python -m crplugins.config.reference`. -->"

_KINDS: Final[Mapping[Any, str]] = {
    int: "whole number",
    float: "number",
    Decimal: "number",
    str: "text",
    bool: "true or false",
    SecretStr: "secret text",
    datetime: "date or time",
    date: "date",
    Any: "of several forms",
}


@dataclass(frozen=True)
class _Step:
    """A key on the way to a section: of which section it is, and how the next one stands in its value.

    Attributes:
        form: nothing where it is the value, `[]` for each item of a list, `.NAME` for each value of a mapping; in turn.
    """

    model: type[BaseModel]
    key: str
    form: str

    def filled(self, value: Any, inner: type[BaseModel]) -> dict[str, Any]:
        """The section with `value` at the place of the next one, and all else that must be given.

        What it has from the next one stands beside that: the burst of a limit is none without the limit.
        """
        beside = value if issubclass(self.model, inner) else {}
        for part in reversed(re.findall(r"\[\]|\.NAME", self.form)):
            value = [value] if part == "[]" else {"name": value}
        return {**_required(self.model), **beside, self.key: value}


@dataclass(frozen=True)
class SectionPlace:
    """A section of the file: its model, the way to it, and where else one of the same form stands."""

    model: type[BaseModel]
    steps: tuple[_Step, ...]
    others: list[str]

    @property
    def path(self) -> str:
        """`limits.per_team.NAME`, `model_list[]`; empty for the whole file."""
        return ".".join(step.key + step.form for step in self.steps)

    @property
    def link(self) -> str:
        anchor = "".join(character for character in self.path.lower() if character.isalnum() or character == "_")
        return f"[`{self.path}`](#{anchor})"


def places(root: type[BaseModel] = Config) -> list[SectionPlace]:
    """Every section in the order of the file, each model once; the whole file is the first."""
    found: dict[type[BaseModel], SectionPlace] = {}
    _walk(SectionPlace(root, (), []), found)
    return list(found.values())


def _walk(place: SectionPlace, found: dict[type[BaseModel], SectionPlace]) -> None:
    if place.model in found:
        found[place.model].others.append(place.path)
        return
    found[place.model] = place
    for name, info in _fields(place.model):
        for model, form in _sections(info.annotation):
            _walk(SectionPlace(model, (*place.steps, _Step(place.model, key_of(name, info), form)), []), found)


def _sections(annotation: Any, form: str = "") -> Iterator[tuple[type[BaseModel], str]]:
    """The models in a type, and how they stand in it."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, form
    elif origin is Annotated:
        yield from _sections(arguments[0], form)
    elif origin in (Union, types.UnionType):
        for each in arguments:
            yield from _sections(each, form)
    elif _is_mapping(origin):
        yield from _sections(arguments[1], form + ".NAME")
    elif origin in (tuple, list):
        yield from _sections(arguments[0], form + "[]")


_ERRORS: Final = (
    "What a client reads in `error.code`, and what records, metrics and logs call the same failure. A provider's own "
    "code on a 4xx is passed on as it is, as `upstream_4xx` or `upstream_429`."
)


def reference() -> str:
    """All sections and error codes in Markdown."""
    by_model = {place.model: place for place in places()}
    parts = []
    for place in by_model.values():
        parts += [f"## `{place.path}`" if place.path else "## The whole file", _summary(place), _table(place, by_model)]
        parts.append(_example(place))
    parts += ["## Errors", _ERRORS, error_table()]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(place: SectionPlace) -> str:
    """The first paragraph of its docstring."""
    sentence = " ".join((place.model.__doc__ or "").strip().partition("\n\n")[0].split())
    others = ", ".join(f"`{path}`" for path in place.others)
    return f"{sentence} {others} {'have' if len(place.others) > 1 else 'has'} the same keys." if others else sentence


def _table(place: SectionPlace, by_model: Mapping[type[BaseModel], SectionPlace]) -> str:
    texts = meanings(place.model)
    lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
    for name, info in _fields(place.model):
        meaning = " ".join(texts[name].split()).replace("|", "\\|")
        lines.append(f"| `{key_of(name, info)}` | {_kind(info.annotation, by_model)} | {_default(info)} | {meaning} |")
    return "\n".join(lines)


def _fields(model: type[BaseModel]) -> list[tuple[str, FieldInfo]]:
    """Its own fields before those that it shares with other sections."""
    own = inspect.get_annotations(model)
    return sorted(model.model_fields.items(), key=lambda field: field[0] not in own)


def meanings(model: type[BaseModel]) -> Mapping[str, str]:
    """The text below each field. Looked up here alone: pydantic would read the source of all sections at each start."""
    found: dict[str, str] = {}
    for section in reversed(model.__mro__):
        if issubclass(section, Section):
            found |= _own_meanings(section)
    return found


@cache
def _own_meanings(section: type[Section]) -> Mapping[str, str]:
    """Without those that it inherits. `inspect` reads and parses the whole file of a class each time."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(body, ast.ClassDef)
    return dict(_documented(body.body))


def _documented(statements: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, text in itertools.pairwise(statements):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                yield name, meaning


def _kind(annotation: Any, by_model: Mapping[type[BaseModel], SectionPlace]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _KINDS:
        return _KINDS[annotation]
    if annotation in by_model:
        return by_model[annotation].link
    if origin is Annotated:
        return _kind(arguments[0], by_model)
    if origin is Literal:
        return ", ".join(f"`{_written(each)}`" for each in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(_kind(each, by_model) for each in arguments if each is not type(None))
    if _is_mapping(origin):
        return f"mapping of names to {_kind(arguments[1], by_model)}"
    if origin in (tuple, list):
        return f"list of {_kind(arguments[0], by_model)}"
    raise TypeError(f"the reference has no word for the type {annotation!r}")


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _default(info: FieldInfo) -> str:
    if info.is_required():
        return "must be given"
    if isinstance(info.default, BaseModel):
        return "its defaults"
    value = None if info.default_factory is not None else info.default
    return "none" if value is None or value == () else f"`{_written(value)}`"


def _written(value: Any) -> str:
    """One value as YAML has it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text: str = yaml.safe_dump(value, default_flow_style=True)
    return text.strip().removesuffix("\n...")


def _example(place: SectionPlace) -> str:
    """A file with every key of the section that has an example, and on the way to it what must be given."""
    value = _examples(place.model)
    if not value:
        return ""
    models = [*(step.model for step in place.steps), place.model]
    for step, inner in zip(reversed(place.steps), reversed(models), strict=False):
        value = step.filled(value, inner)
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=1000, allow_unicode=True)
    return f"```yaml\n{text}```"


def _examples(model: type[BaseModel]) -> dict[str, Any]:
    given = {key_of(name, info): info.examples[0] for name, info in _fields(model) if info.examples}
    return _required(model) | given


def _required(model: type[BaseModel]) -> dict[str, Any]:
    """Examples of the keys that must be given, as far down as any must."""
    values: dict[str, Any] = {}
    for name, info in _fields(model):
        if info.is_required() and info.examples:
            values[key_of(name, info)] = info.examples[0]
        elif info.is_required():
            values |= {key_of(name, info): _required(inner) for inner, form in _sections(info.annotation) if not form}
    return values


class _Dumper(yaml.SafeDumper):
    """Indents lists, as people do."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        super().increase_indent(flow, indentless=False)


def key_of(name: str, info: FieldInfo) -> str:
    """What the file calls a field."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return alias if isinstance(alias, str) else name


def page(old: str) -> str:
    """The whole page: the introduction of the old one, up to the mark, and the reference as it is now."""
    introduction, mark, _ = old.partition(MARK)
    if not mark:
        raise ValueError(f"{PAGE} has no line {MARK}")
    return f"{introduction}{MARK}\n\n{reference()}"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m crplugins.config.reference")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not up to date")
    check = parser.parse_args(arguments).check
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if check and new != old:
        sys.stderr.write(f"{PAGE} is not up to date; run: python -m crplugins.config.reference\n")
        return 1
    if new != old:
        PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
