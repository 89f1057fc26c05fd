"""Document: a YAML text as plain data, with the line of every key."""

from dataclasses import dataclass
from typing import Any, Final

import yaml

from crplugins.settings.errors import ConfigError, KeyPath, Problem, Source

_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"
_MAP: Final = "tag:yaml.org,2002:map"
_SEQ: Final = "tag:yaml.org,2002:seq"


@dataclass(frozen=True, slots=True)
class Document:
    """What a YAML file holds; `problems` are those that do not keep the rest from being read."""

    data: dict[str, Any]
    source: Source
    problems: list[Problem]


class _Loader(yaml.SafeLoader):
    """Leaves dates as text: `api_version: 2024-06-01` is no date."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # a class attribute of PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_document(text: str, file: str) -> Document:
    """The document in `text`; an empty one is an empty mapping.

    Raises `ConfigError` if it is not YAML or not a mapping.
    """
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, text)], file) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError([Problem((), "a character that YAML does not allow", line)], file) from None
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise ConfigError([Problem((), "the file must hold keys, such as 'model_list:'", _line(root))], file)
    reader = _Reader()
    data = {} if root is None else reader.mapping(root, ())
    return Document(data, Source(file, reader.lines), reader.problems)


class _Reader:
    """Turns YAML nodes into values and notes where each stands."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._constructor = yaml.constructor.SafeConstructor()
        self._around: list[yaml.Node] = []
        self._flat: set[int] = set()

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if any(node is outer for outer in self._around):
            return self._refuse(node, path, "holds itself")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        self._around.append(node)
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
                return self._list(node, path)
            return self._refuse(node, path, "YAML tags (!) are not read here")
        finally:
            self._around.pop()

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._flatten(node, path)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is not None:
                self.lines[*path, key] = _line(key_node)
                result[key] = self.value(value_node, (*path, key))
        return result

    def _flatten(self, node: yaml.MappingNode, path: KeyPath) -> None:
        """Refuse keys that stand twice, then write out merges (`<<: *defaults`), which keys of its own override."""
        if id(node) in self._flat:  # an alias: merged keys and their overrides stand side by side by now
            return
        self._flat.add(id(node))
        self._refuse_repeated_keys(node, path)
        try:
            self._constructor.flatten_mapping(node)
        except yaml.constructor.ConstructorError:
            self._refuse(node, path, "'<<' needs an alias of a mapping")

    def _refuse_repeated_keys(self, node: yaml.MappingNode, path: KeyPath) -> None:
        first: dict[str, int] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode):
                key = str(key_node.value)
                if key in first:
                    self._refuse(key_node, (*path, key), f"stands twice, first in line {first[key]}")
                first.setdefault(key, _line(key_node))

    def _list(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        self.lines |= {(*path, index): _line(item) for index, item in enumerate(node.value)}
        return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]

    def _key(self, node: yaml.Node, path: KeyPath) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self._refuse(node, path, "a key must be text")
        return None

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        try:
            return self._constructor.construct_object(node)
        except yaml.constructor.ConstructorError:
            return self._refuse(node, path, "YAML tags (!) are not read here; put text that begins with ! in quotes")
        except ValueError:
            return self._refuse(node, path, "is not what its form promises; put text in quotes")

    def _refuse(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        self.problems.append(Problem(path, message, _line(node)))


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _syntax_problem(error: yaml.MarkedYAMLError, text: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    return Problem((), _syntax_message(error.problem or "", (text.splitlines() or [""])[line:]), line + 1)


def _syntax_message(problem: str, rest: list[str]) -> str:
    """PyYAML's words without what it quotes: the name of an alias may be the beginning of a secret."""
    if r"'\t'" in problem:
        return "a tab, where YAML wants spaces"
    if "undefined alias" in problem:
        return "an alias (*) without its anchor (&); put text that begins with * in quotes"
    if rest and "${" in rest[0]:
        return "not valid YAML; inside {...} and [...] a ${NAME} must stand in quotes"
    if problem.startswith("but found another document"):
        return "a second document (---), where one is read"
    if problem.startswith("found undefined"):
        problem = problem.partition(" '")[0]
    return f"not valid YAML: {problem}"
