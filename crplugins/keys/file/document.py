"""KeysDocument: the text of a keys file as plain data, with the line of every key in it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from crplugins.keys.words import KeyPath, WordProblem, spell_path

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_Base: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class KeyFileError(ValueError):
    """A keys file that cannot be used. Its text names the file, and line and key of each problem; no values."""


@dataclass(frozen=True, slots=True)
class KeysDocument:
    """What a keys file holds. `data` has every key of the file, known or not; times are texts."""

    name: str
    data: dict[str, Any] = field(default_factory=lambda: {"keys": []})
    lines: Mapping[KeyPath, int] = field(default_factory=dict)

    @property
    def entries(self) -> list[Any]:
        entries = self.data.get("keys")
        if not isinstance(entries, list):
            raise self.error([WordProblem((), "there must be a list under 'keys:'")])
        return entries

    def error(self, problems: Iterable[WordProblem]) -> KeyFileError:
        return KeyFileError("\n".join(self._sentence(problem) for problem in problems))

    def _sentence(self, problem: WordProblem) -> str:
        path, line = problem.path, None
        while path and (line := self.lines.get(path)) is None:
            path = path[:-1]
        place = f"{self.name}, line {line}" if line else self.name
        return ": ".join(part for part in (place, spell_path(problem.path), problem.message) if part)


def read_document(text: str, name: str) -> KeysDocument:
    """The document in `text`; JSON if `name` ends with `.json`, else YAML. Raises `KeyFileError`."""
    try:
        document = _read_json(text, name) if name.endswith(".json") else _read_yaml(text, name)
    except json.JSONDecodeError as error:
        raise KeyFileError(f"{name}, line {error.lineno}: not valid JSON: {error.msg}") from None
    except yaml.MarkedYAMLError as error:
        raise KeyFileError(_yaml_problem(error, name)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise error if isinstance(error, KeyFileError) else KeyFileError(f"{name}: not valid YAML") from None
    if not isinstance(document.data, dict):
        raise KeyFileError(f"{name}, line 1: the file must hold a list under 'keys:'")
    return document


def write_document(document: KeysDocument) -> str:
    if document.name.endswith(".json"):
        return json.dumps(document.data, indent=2, ensure_ascii=False) + "\n"
    text: str = yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Loader(_Base):  # type: ignore[misc]  # libyaml's where there is one: ten times as fast
    """Leaves dates as text, so that they are read the same from JSON, and written back as they were."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # a class attribute of PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _read_json(text: str, name: str) -> KeysDocument:
    return KeysDocument(name, json.loads(text))


def _read_yaml(text: str, name: str) -> KeysDocument:
    root = _Loader(text).get_single_node()
    lines: dict[KeyPath, int] = {}
    problems: list[WordProblem] = []
    if root is not None:
        _note_lines(root, (), lines, problems)
    if problems:
        raise KeysDocument(name, {}, lines).error(problems)
    return KeysDocument(name, _Loader("").construct_document(root) if root else {}, lines)


def _note_lines(node: yaml.Node, path: KeyPath, lines: dict[KeyPath, int], problems: list[WordProblem]) -> None:
    """Note where each value stands, down to the keys of a secret; a key that stands twice is a problem."""
    lines.setdefault(path, node.start_mark.line + 1)
    if len(path) > 5:
        return
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*path, index), lines, problems)
    if isinstance(node, yaml.MappingNode):
        own: set[str] = set()
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner[-1] in own and inner[-1] != "<<":
                problems.append(WordProblem(inner, "stands twice"))
            own.add(str(inner[-1]))
            lines[inner] = key.start_mark.line + 1
            _note_lines(value, inner, lines, problems)


def _yaml_problem(error: yaml.MarkedYAMLError, name: str) -> str:
    """PyYAML's words without what they quote, which may be the beginning of a secret."""
    mark = error.problem_mark or error.context_mark
    place = f"{name}, line {mark.line + 1}" if mark else name
    return f"{place}: not valid YAML: {(error.problem or '').partition(' ' + chr(39))[0]}"
