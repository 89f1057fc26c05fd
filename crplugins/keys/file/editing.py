"""Changes in the text of a keys file that leave everything else in it as people wrote it.

Only the entry a change is about is written anew, by ruamel.yaml's round trip, which keeps its comments, quotes and
order; the text around it is not touched. A round trip of the whole file would take ten times as long as reading it, and
settle its indentation anew. What comes out is read again and compared with what was meant before anything is replaced.
"""

import copy
import json
import re
import textwrap
from collections.abc import Callable, MutableMapping
from types import ModuleType
from typing import Any, Final, NamedTuple

import yaml

from crplugins.keys.file.entry import FileEntry
from crplugins.keys.file.file import BOM, Contents, KeyFile
from crplugins.keys.key import Key
from crplugins.keys.store import KeyFileError
from crplugins.settings.errors import Problem

Edit = Callable[[MutableMapping[str, Any]], None]
"""Changes an entry: a plain one of JSON, or one of ruamel.yaml's that knows how it was written."""


def with_entry(file: KeyFile, before: Contents, entry: dict[str, Any], key: Key) -> str:
    """The text with `entry`, which says `key`, after the others. Raises `KeyFileError`."""
    if file.is_json:
        return _json({**before.document.data, "keys": [*before.entries, entry]})
    text = _appended(_Layout(before), entry)
    return _verified(file, text, before, len(before.keys), key)


def with_change(file: KeyFile, before: Contents, position: int, edit: Edit, key: Key) -> str:
    """The text with `edit` done to the entry at `position`, which makes it `key`. Raises `KeyFileError`."""
    if file.is_json:
        data = copy.deepcopy(before.document.data)
        edit(data["keys"][position])
        return _json(data)
    text = _edited(_Layout(before), position, edit, before.entries[position])
    return _verified(file, text, before, position, key)


def without_entry(file: KeyFile, before: Contents, position: int) -> str:
    """The text without the entry at `position`. Raises `KeyFileError`."""
    data, keys = before.document.data, before.keys
    left = {**data, "keys": [*before.entries[:position], *before.entries[position + 1 :]]}
    if file.is_json:
        return _json(left)
    text = _removed(_Layout(before), position)
    after = _parsed(file, text)
    if after is None or after.document.data != left or after.keys != (*keys[:position], *keys[position + 1 :]):
        raise _entangled(file, before, position)
    return text


def _json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _verified(file: KeyFile, text: str, before: Contents, position: int, key: Key) -> str:
    """`text`, unless it says anything else than before but for `key` at `position`.

    That can be so where an entry has parts elsewhere in the file, through anchors and aliases.
    """
    after = _parsed(file, text)
    as_meant = (
        after is not None
        and after.keys == (*before.keys[:position], key, *before.keys[position + 1 :])
        and _others(after, position) == _others(before, position)
        and (position == len(before.keys) or _rest(after, position) == _rest(before, position))
    )
    if not as_meant:
        raise _entangled(file, before, position)
    return text


def _parsed(file: KeyFile, text: str) -> Contents | None:
    try:
        return file.parse(text)
    except KeyFileError:
        return None


def _entangled(file: KeyFile, before: Contents, position: int) -> KeyFileError:
    message = "cannot be changed without changing more than it; anchors and aliases (&, *) are best changed by hand"
    error = before.document.source.error([Problem(("keys", position), message)])
    return KeyFileError(error.problems, file.path.name)


def _others(contents: Contents, position: int) -> tuple[Any, Any, Any]:
    """All but the entry at `position`."""
    rest = {name: value for name, value in contents.document.data.items() if name != "keys"}
    return rest, contents.entries[:position], contents.entries[position + 1 :]


def _rest(contents: Contents, position: int) -> dict[str, Any]:
    """What people have noted in an entry besides a key's words, of which no change is about more than it has to be."""
    return {name: value for name, value in contents.entries[position].items() if name not in FileEntry.known_keys()}


class _Style(NamedTuple):
    """How a file is indented: how far a key's own keys, and the dash of an item, stand after that key."""

    mapping: int
    dash: int


class _Layout:
    """Where the entries of a file stand in its text."""

    def __init__(self, contents: Contents) -> None:
        self.bom = BOM if contents.text.startswith(BOM) else ""
        self.text = contents.text.removeprefix(BOM)
        self.newline = "\r\n" if "\r\n" in self.text else "\n"
        root = contents.document.root
        assert root is not None  # there is a list under `keys`
        self.in_braces = bool(root.flow_style)
        self.key, self.list = next((key, value) for key, value in root.value if key.value == "keys")
        self.items: list[yaml.CollectionNode] = self.list.value

    def replaced(self, start: int, end: int, lines: str) -> str:
        """The whole text with `lines`, which end with `\\n`, in place of a part of it."""
        return self.bom + self.text[:start] + lines.replace("\n", self.newline) + self.text[end:]

    def line_start(self, index: int) -> int:
        return self.text.rfind("\n", 0, index) + 1

    def dash(self, items: yaml.SequenceNode) -> int:
        """The column of the dashes of a list."""
        index = int(items.start_mark.index)
        if self.text[index] != "-":  # an anchor
            index = self.text.rfind("-", 0, items.value[0].start_mark.index)
        return index - self.line_start(index)

    def content_end(self, item: yaml.Node) -> int:
        """Where an entry's own text ends: before blank lines and comments."""
        start, end = item.start_mark.index, item.end_mark.index
        lines = self.text[start:end].splitlines(keepends=True)
        while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
            lines.pop()
        return int(start) + len("".join(lines).rstrip())

    def end_with_comments(self, item: yaml.Node) -> int:
        """The same with the comments below that are indented as far as the entry is."""
        index = end = self.content_end(item)
        while (newline := self.text.find("\n", index)) >= 0:
            index = newline + 1
            stop = self.text.find("\n", index)
            line = self.text[index : stop if stop >= 0 else len(self.text)].rstrip()
            indented = len(line) - len(line.lstrip()) > self.dash(self.list)
            if line and not (line.lstrip().startswith("#") and indented):
                return end
            end = index + len(line) if line else end
        return end


def _edited(layout: _Layout, position: int, edit: Edit, entry: dict[str, Any]) -> str:
    item = layout.items[position]
    start = item.start_mark.index
    if item.flow_style and item.start_mark.line != item.end_mark.line:
        return _edited_over_lines(layout, item, edit, entry)
    if item.flow_style:
        new = _round_trip(layout.text[start : item.end_mark.index], edit, _Style(2, 0))
        return layout.replaced(start, item.end_mark.index, new.rstrip("\n"))
    end, column = layout.content_end(item), _column(item)
    snippet = _dedented(layout.text[start:end].replace("\r\n", "\n"), column)
    new = _round_trip(snippet, edit, _style_of(layout, item)).rstrip("\n")
    return layout.replaced(start, end, textwrap.indent(new, " " * column).lstrip(" "))


def _edited_over_lines(layout: _Layout, item: yaml.CollectionNode, edit: Edit, entry: dict[str, Any]) -> str:
    """Of an entry in braces over several lines only what changes, in JSON: ruamel.yaml would join its lines."""
    after = copy.deepcopy(entry)
    edit(after)
    start, end = item.start_mark.index, item.end_mark.index
    pairs = {key.value: (key, value) for key, value in item.value if start <= key.start_mark.index < end}
    gone = [pairs[name] for name in entry if name not in after and name in pairs]
    last = max(value.end_mark.index for _, value in pairs.values())
    patches: list[tuple[int, int, str]] = []
    for name, value in after.items():
        text = json.dumps(value, ensure_ascii=False)
        if name in pairs and value != entry.get(name):
            patches.append((pairs[name][1].start_mark.index, pairs[name][1].end_mark.index, text))
        elif name not in entry and gone:  # in the place of what has moved into it
            key, old = gone.pop(0)
            patches.append((key.start_mark.index, old.end_mark.index, f'"{name}": {text}'))
        elif name not in entry:
            patches.append((last, last, f', "{name}": {text}'))
    for key, old in gone:
        comma = _COMMA.match(layout.text, old.end_mark.index)
        patches.append((key.start_mark.index, comma.end() if comma else old.end_mark.index, ""))
    text, done = "", start
    for begin, stop, new in sorted(patches):
        text, done = text + layout.text[done:begin] + new, stop
    return layout.replaced(start, done, text.replace("\r\n", "\n"))


_COMMA: Final = re.compile(r"\s*,[ \t]*")


def _appended(layout: _Layout, entry: dict[str, Any]) -> str:
    items = layout.items
    if not items:
        return _first(layout, entry)
    last = items[-1]
    if layout.list.flow_style:
        column = _column(items[0]) if _line(items[0]) != _line(layout.list) else None
        between = ", " if column is None else ",\n" + " " * column
        return layout.replaced(last.end_mark.index, last.end_mark.index, between + _flow(entry))
    dash, end = layout.dash(layout.list), layout.end_with_comments(last)
    blank = len(items) > 1 and _blank_line_between(layout, items[-2], last)
    lines = textwrap.indent(_block(entry, _style_of(layout, last)), " " * (dash + 2))
    return layout.replaced(end, end, "\n" * (1 + blank) + " " * dash + "- " + lines.strip())


def _removed(layout: _Layout, position: int) -> str:
    """Without an entry, its dash and the comment on its last line; comments on lines of their own stay."""
    item, text = layout.items[position], layout.text
    if layout.list.flow_style:
        comma = _COMMA.match(text, item.end_mark.index)
        if comma is None and position:  # the comma before the last goes with it
            return layout.replaced(layout.items[position - 1].end_mark.index, item.end_mark.index, "")
        return layout.replaced(item.start_mark.index, comma.end() if comma else item.end_mark.index, "")
    above = layout.content_end(layout.items[position - 1]) if position else layout.key.end_mark.index
    dash = re.compile(rf"^ {{{layout.dash(layout.list)}}}-(?=\s)", re.MULTILINE).search(text, above)
    newline = text.find("\n", layout.content_end(item))
    start, end = dash.start() if dash else item.start_mark.index, newline + 1 if newline >= 0 else len(text)
    if len(layout.items) > 1:
        return layout.replaced(start, end, "")
    colon = text.index(":", layout.key.end_mark.index) + 1
    return layout.replaced(colon, end, " []" + text[colon:start].replace("\r\n", "\n"))


def _first(layout: _Layout, entry: dict[str, Any]) -> str:
    """An entry in the place of `[]`."""
    start, end = layout.list.start_mark.index, layout.list.end_mark.index
    stop = layout.text.find("\n", end)
    behind = layout.text[end : stop if stop >= 0 else len(layout.text)].strip()
    between = layout.text[layout.key.end_mark.index : start]
    if layout.in_braces or behind or between.strip() != ":" or layout.text[start] != "[":
        return layout.replaced(end - 1, end - 1, _flow(entry))
    column = _column(layout.key)
    lines = textwrap.indent(_block(entry, _Style(2, 0)), " " * (column + 2)).strip()
    return layout.replaced(layout.key.end_mark.index, end, ":\n" + " " * column + "- " + lines)


def _blank_line_between(layout: _Layout, one: yaml.Node, two: yaml.Node) -> bool:
    lines = layout.text[layout.content_end(one) : two.start_mark.index].splitlines()[1:-1]
    return any(not line.strip() for line in lines)


def _dedented(text: str, column: int) -> str:
    """`text`, whose first line has lost its indentation already, without that of the others."""
    first, *others = text.split("\n")
    return "\n".join([first, *(line[min(column, len(line) - len(line.lstrip(" "))) :] for line in others)]) + "\n"


def _style_of(layout: _Layout, item: Any) -> _Style:
    """How an entry is indented; where it has no list or mapping in it, as the file itself."""
    column = _column(item)
    inner = [(key, value) for key, value in item.value if getattr(value, "flow_style", True) is False and value.value]
    dashes = [layout.dash(value) - column for _, value in inner if isinstance(value, yaml.SequenceNode)]
    depths = [_column(value) - column for _, value in inner if isinstance(value, yaml.MappingNode)]
    outer = layout.dash(layout.list) - _column(layout.key)
    return _Style(next((d for d in depths if d > 0), 2), next((d for d in dashes if d >= 0), max(outer, 0)))


def _column(node: yaml.Node) -> int:
    column: int = node.start_mark.column
    return column


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line


def _round_trip(text: str, edit: Edit, style: _Style) -> str:
    return str(_ruamel().edited(text, edit, style.mapping, style.dash))


def _block(entry: dict[str, Any], style: _Style) -> str:
    return str(_ruamel().written(entry, style.mapping, style.dash))


def _flow(entry: dict[str, Any]) -> str:
    return str(_ruamel().written(entry, 2, 0, flow=True)).rstrip("\n")


def _ruamel() -> ModuleType:
    """ruamel.yaml, which only those need who change a file."""
    try:
        from crplugins.keys.file import round_trip
    except ModuleNotFoundError as error:
        raise ImportError("changing a keys file needs: pip install 'crplugins[gateway]'", name=error.name) from error
    return round_trip
