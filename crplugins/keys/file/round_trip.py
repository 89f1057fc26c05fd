"""ruamel.yaml's round trip of one entry, its scalars kept to the letter."""

import io
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import CommentMark
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, SingleQuotedScalarString
from ruamel.yaml.tokens import CommentToken

_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final = ("str", "int", "float", "bool", "timestamp")


def edited(text: str, edit: Callable[[MutableMapping[str, Any]], None], mapping: int, dash: int) -> str:
    """The mapping in `text` after `edit`, with its comments, quotes and order.

    Args:
        mapping: by how much a mapping inside it is indented.
        dash: by how much the dashes of a list inside it are.
    """
    machine = _machine(mapping, dash)
    anchors = _anchors_of_others(text)
    if not anchors:
        entry = machine.load(text)
        _keep_anchors(entry)
        _change(entry, edit)
        return _dumped(machine, entry)
    given = ", ".join(f"&{name} {{}}" for name in anchors)  # so that the aliases can be read, and are written again
    inner = "".join(f"  {line}" for line in text.splitlines(keepends=True))
    whole = machine.load(f"anchors: [{given}]\nentry:\n{inner}")
    _keep_anchors(whole)
    _change(whole["entry"], edit)
    lines = _dumped(machine, whole).split("\n")
    first = next(index for index, line in enumerate(lines) if line.startswith("entry:"))
    if rest := lines[first].removeprefix("entry:").strip():
        return rest + "\n"
    return "\n".join(line[mapping:] for line in lines[first + 1 :])


def written(entry: dict[str, Any], mapping: int, dash: int, *, flow: bool = False) -> str:
    """A new entry, as a block or in braces on one line."""
    made = _new(entry)
    if flow:
        made.fa.set_flow_style()
    return _dumped(_machine(mapping, dash), made)


def _change(entry: CommentedMap, edit: Callable[[MutableMapping[str, Any]], None]) -> None:
    """Do `edit`, and have comments go where what they are about has gone."""
    order = list(entry)
    null = entry.get("secrets")
    if isinstance(null, _Bare):  # `~`, which is no list to add to
        entry["secrets"] = None
    edit(entry)
    if "secrets" in entry and entry["secrets"] is None:
        entry["secrets"] = null
    gone = {name: _own_comment(entry, name, order) for name in order if name not in entry}
    _new(entry)
    secret = entry["secrets"][0] if entry.get("secrets") else CommentedMap()
    for name, comment in gone.items():
        if comment is not None and name in secret:  # it has moved from the top of the entry into the list
            secret.ca.items[name] = comment


def _own_comment(entry: CommentedMap, name: str, order: list[str]) -> list[Any] | None:
    """The comment after a value that is gone; the lines below it stay, above what followed."""
    comment: list[Any] | None = entry.ca.items.pop(name, None)
    follower = next((other for other in order[order.index(name) + 1 :] if other in entry), None)
    if comment is None or comment[2] is None or follower is None:
        return comment
    first, _, below = comment[2].value.partition("\n")
    lines = [
        CommentToken(line.strip() + "\n", CommentMark(len(line) - len(line.lstrip()))) for line in below.splitlines()
    ]
    if lines:
        above = entry.ca.items.setdefault(follower, [None, None, None, None])
        above[1] = [*(above[1] or []), *lines]
    return [None, None, CommentToken(first + "\n", comment[2].start_mark), None] if first else None


def _keep_anchors(value: Any) -> None:
    """Have anchors written whose aliases stand elsewhere in the file."""
    if isinstance(value, CommentedMap | CommentedSeq):
        if value.anchor.value:
            value.yaml_set_anchor(value.anchor.value, always_dump=True)
        for item in value.values() if isinstance(value, CommentedMap) else value:
            _keep_anchors(item)


def _new(value: Any) -> Any:
    """`value` as ruamel.yaml has it; what it has made itself, and its style, stays."""
    if isinstance(value, CommentedMap | CommentedSeq):
        items = value.items() if isinstance(value, CommentedMap) else enumerate(value)
        for key, item in list(items):
            if (made := _new(item)) is not item:
                value[key] = made
        return value
    if isinstance(value, dict):
        return CommentedMap((_new(key), _new(item)) for key, item in value.items())
    if isinstance(value, list):
        return CommentedSeq(map(_new, value))
    if type(value) is not str:
        return value
    if not value.isprintable():
        return DoubleQuotedScalarString(value)
    return SingleQuotedScalarString(value) if _needs_quotes(value) else value


def _needs_quotes(text: str) -> bool:
    """Whether YAML 1.1, as we read it, would take the bare word for something else than text; ruamel.yaml has 1.2."""
    if text.startswith(_INDICATORS):
        return True
    tag = _RESOLVER.resolve(  # type: ignore[no-untyped-call]
        yaml.ScalarNode, text, (True, False)
    )
    return bool(tag != f"{_TAG}str")


_INDICATORS: Final = ("-", "?", ":")
"""ruamel.yaml writes a text that begins so without quotes, also where YAML 1.1 reads it as another: `[{id: :0}]`."""

_RESOLVER: Final = yaml.resolver.Resolver()


def _anchors_of_others(text: str) -> list[str]:
    """The names of aliases in `text` whose anchors stand outside of it."""
    own: set[str | None] = set()
    others: dict[str, None] = {}
    for event in yaml.parse(text, yaml.SafeLoader):
        name = getattr(event, "anchor", None)
        if not isinstance(event, yaml.AliasEvent):
            own.add(name)
        elif name is not None and name not in own:
            others[name] = None
    return list(others)


class _Bare(str):
    """A scalar without quotes, whatever it stands for: `2027-01-01`, `0x10` and `yes` are written as they were."""

    __slots__ = ("kind",)
    kind: str


class _Constructor(RoundTripConstructor):
    def _scalar(self, node: ScalarNode) -> Any:
        if node.style or node.anchor:
            return self.construct_scalar(node)
        bare = _Bare(node.value)
        bare.kind = node.tag if isinstance(node.tag, str) else str(node.ctag)
        return bare

    def _null(self, node: ScalarNode) -> Any:
        return self._scalar(node) if node.value else None


class _Representer(RoundTripRepresenter):
    def _bare(self, data: _Bare) -> ScalarNode:
        return self.represent_scalar(data.kind, str(data))


for _kind in _KINDS:
    _Constructor.add_constructor(f"{_TAG}{_kind}", _Constructor._scalar)
_Constructor.add_constructor(f"{_TAG}null", _Constructor._null)
_Representer.add_representer(_Bare, _Representer._bare)


def _machine(mapping: int, dash: int) -> YAML:
    machine = YAML()
    machine.Constructor, machine.Representer = _Constructor, _Representer
    machine.preserve_quotes = True
    machine.brace_single_entry_mapping_in_flow_sequence = True
    machine.width = 1_000_000  # no line is broken that was not
    machine.indent(mapping=mapping, sequence=dash + 2, offset=dash)
    return machine


def _dumped(machine: YAML, value: Any) -> str:
    stream = io.StringIO()
    machine.dump(value, stream)
    return stream.getvalue()
