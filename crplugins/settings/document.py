"""Document: a YAML text as plain data, with the line of every key."""

import asyncio
import threading
from typing import Any, Final

import msgspec
import yaml

from crplugins.settings.errors import ConfigError, KeyPath, Problem, Source

_TAG: Final = "tag:yaml.org,2002:"
_TIMESTAMP: Final = f"{_TAG}timestamp"
_TEXT: Final = f"{_TAG}str"
_MAP: Final = f"{_TAG}map"
_SEQ: Final = f"{_TAG}seq"
_MERGE: Final = f"{_TAG}merge"

_Base: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Composer: Final[Any] = yaml.composer.Composer

LONGEST_EXPLAINED: Final = 200_000
"""Characters. What is wrong with a longer text is said in libyaml's words: PyYAML's take ten times as long."""

LONGEST_AT_ONCE: Final = 200_000
"""Characters of a text that libyaml reads in one step while others run."""

MOST_REPEATED: Final = 100_000
"""Values that aliases may repeat, besides one for each character of the text. Of ten short lines, each of which repeats
the one before ten times, ten billion would come."""


class YamlDocument(msgspec.Struct, frozen=True):
    """What a YAML file holds; `problems` are those that do not keep the rest from being read.

    `root` says where in the text everything stands; None for an empty file.
    """

    data: dict[str, Any]
    source: Source
    problems: list[Problem]
    root: yaml.MappingNode | None = None

    def __repr__(self) -> str:
        """Without `root`, in which all of the text stands once more."""
        return f"YamlDocument(data={self.data!r}, source={self.source!r}, problems={self.problems!r})"


class _Loader(_Base):  # type: ignore[misc]  # libyaml's where there is one: ten times as fast
    """Leaves dates as text: `api_version: 2024-06-01` is no date."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # a class attribute of PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _StepwiseLoader(_Composer, _Loader):  # type: ignore[misc]
    """The same with a step of Python for each node, in three times the time: in one step of libyaml's for all of a long
    text, nothing else of the process runs."""

    def __init__(self, text: str) -> None:
        super(_Composer, self).__init__(text)
        _Composer.__init__(self)


def read_document(text: str, file: str, holds: str = "keys, such as 'model_list:'") -> YamlDocument:
    """The document in `text`; an empty one is an empty mapping.

    Raises `ConfigError` if it is not YAML, or not a mapping: that it must hold what `holds` says.
    """
    try:
        root = _composed(text)
        reader = _Reader(MOST_REPEATED + len(text))
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ConfigError([Problem((), f"the file must hold {holds}", _line(root))], file)
        data = {} if root is None else reader.mapping(root, ())
    except yaml.MarkedYAMLError as error:
        raise ConfigError([_syntax_problem(error, text)], file) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError([_character_problem(error, text)], file) from None
    except RecursionError:
        raise ConfigError([Problem((), "too many brackets inside one another", 1)], file) from None
    except YamlTooLarge as error:
        problem = Problem((), "aliases (*) repeat too many values", error.line)
        raise ConfigError([problem], file) from None
    return YamlDocument(data, Source(file, reader.lines), reader.problems, root)


def _composed(text: str) -> yaml.Node | None:
    """Raises what PyYAML raises."""
    try:
        in_steps = len(text) > LONGEST_AT_ONCE and _others_run()
        root: yaml.Node | None = (_StepwiseLoader if in_steps else _Loader)(text).get_single_node()
    except yaml.YAMLError:
        if len(text) <= LONGEST_EXPLAINED:
            yaml.SafeLoader(text).get_single_node()  # fails too, and says more plainly why
        raise
    return root


def _others_run() -> bool:
    """Whether an event loop may wait for this: it runs here, or this is not the thread that a process begins with."""
    if threading.current_thread() is not threading.main_thread():
        return True
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class YamlTooLarge(Exception):
    """More than is read; `line` is where that was found."""

    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


class _Reader:
    """Turns YAML nodes into values and notes where each stands."""

    def __init__(self, most_repeated: int) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []
        self._constructor = yaml.constructor.SafeConstructor()
        self._around: set[int] = set()
        self._flat: set[int] = set()
        self._met: set[int] = set()
        self._may_repeat = most_repeated

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            if "\0" in node.value:  # no path, address or header can hold one: whoever opened it would fail
                self._refuse(node, path, "must not hold a NUL character")
                return node.value.replace("\0", "")  # so that nothing else is said of it
            return node.value if node.tag == _TEXT else self._scalar(node, path)
        if id(node) in self._around:
            return self._refuse(node, path, "holds itself")
        if id(node) in self._met:
            self._repeat(len(node.value) + 1, node)
        self._met.add(id(node))
        self._around.add(id(node))
        try:
            if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
                return self.mapping(node, path)
            if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
                return self._list(node, path)
            return self._refuse(node, path, "YAML tags (!) are not read here")
        finally:
            self._around.discard(id(node))

    def mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        self._flatten(node, path)
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value if type(key_node) is yaml.ScalarNode else self._key(key_node, path)
            if key is not None:
                below = (*path, key)
                self.lines[below] = key_node.start_mark.line + 1
                result[key] = self.value(value_node, below)
        return result

    def _flatten(self, node: yaml.MappingNode, path: KeyPath) -> None:
        """Refuse keys that stand twice, then write out merges (`<<: *defaults`), which keys of its own override."""
        if id(node) in self._flat:  # an alias: merged keys and their overrides stand side by side by now
            return
        self._flat.add(id(node))
        self._refuse_repeated_keys(node, path)
        if _MERGE not in {key.tag for key, _ in node.value}:
            return
        for merged in _merged_into(node):  # first, so that it is known how much of each will be written out
            self._flatten(merged, path)
            self._repeat(len(merged.value), node)
        try:
            self._constructor.flatten_mapping(node)
        except yaml.constructor.ConstructorError:
            self._refuse(node, path, "'<<' needs an alias of a mapping")

    def _repeat(self, count: int, node: yaml.Node) -> None:
        """Raises `YamlTooLarge` once aliases have repeated too much."""
        self._may_repeat -= count
        if self._may_repeat < 0:
            raise YamlTooLarge(_line(node))

    def _refuse_repeated_keys(self, node: yaml.MappingNode, path: KeyPath) -> None:
        first: dict[str, yaml.Node] = {}
        for key_node, _ in node.value:
            if isinstance(key_node, yaml.ScalarNode) and first.setdefault(key_node.value, key_node) is not key_node:
                line = _line(first[key_node.value])
                self._refuse(key_node, (*path, key_node.value), f"stands twice, first in line {line}")

    def _list(self, node: yaml.SequenceNode, path: KeyPath) -> list[Any]:
        result = []
        for index, item in enumerate(node.value):
            below = (*path, index)
            self.lines[below] = _line(item)
            result.append(self.value(item, below))
        return result

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


def _merged_into(node: yaml.MappingNode) -> list[yaml.MappingNode]:
    """The mappings that `<<` merges into this one."""
    merged: list[yaml.MappingNode] = []
    for key, value in node.value:
        if key.tag == _MERGE:
            several = value.value if isinstance(value, yaml.SequenceNode) else [value]
            merged += [each for each in several if isinstance(each, yaml.MappingNode)]
    return merged


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line
    return line + 1


def _character_problem(error: yaml.reader.ReaderError, text: str) -> Problem:
    before = text[: error.position]  # libyaml counts bytes, and may point some lines too far in a long text
    return Problem((), "a character that YAML does not allow", before.count("\n") + 1)


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
