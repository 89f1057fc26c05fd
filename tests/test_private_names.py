"""Names of other packages that begin with an underscore may go in any release: each one we use stands here, and why.

Found by syntax alone, in `crplugins`: imports of private modules and names; `getattr` and its like with a private name;
attributes of other objects whose name is defined nowhere in that file; attributes of `self` that neither the class nor
its bases in this package define; private keywords, and private keys of dicts and sets written out.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import crplugins

USED: dict[str, dict[str, str]] = {
    "litellm": {
        "_make_aiohttp_request": "headers outside ASCII and the deployment's network; its callers offer nothing else",
        "_types": "the proxy's classes of keys and errors: LiteLLM's manual imports them from there, and has no other place",
        "_hidden_params": "where litellm's objects say that a cache gave them, when they came and what the provider added",
        "_async_success_callback": "one of the lists in which a host may put our callback; the public one has the others",
        "_handle_string_chunk": "the only place that sees [DONE] and broken JSON before litellm drops them; checked for",
        "_skip_mcp_handler": "the only way to keep a client's `tools` from making the gateway call MCP servers",
        "_transform_request": "a name in a traceback: what fails in it is a request that cannot be written for its provider",
        "_async_transform_request": "the same",
        "_transform_messages": "the same",
        "_litellm_strip_stream_usage": "a mark that its proxy puts among the client's parameters, which plugins must not see",
    },
    "openai": {
        "_decoder": "the only place that sees [DONE] and an error beside a chunk, which the SDK keeps to itself; checked for",
        "_cast_to": "else it builds a model of every chunk, at 80 us each; checked for",
    },
}  # fmt: skip

# Underscored so as not to clash with fields, and documented.
PUBLIC = {"_asdict", "_fields", "_make", "_replace"}

PACKAGE = Path(crplugins.__file__).parent
LOOKS_UP = {"getattr", "hasattr", "setattr", "delattr", "attrgetter", "methodcaller"}


def is_private(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"_[a-zA-Z]\w*", name) is not None and name not in PUBLIC


@cache
def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def nodes(tree: ast.AST) -> list[ast.AST]:
    return list(ast.walk(tree))


def texts(node: ast.AST) -> set[str]:
    return {one.value for one in nodes(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}


@cache
def defined(tree: ast.AST) -> set[str]:
    """Names that something in `tree` makes: functions, classes, variables, slots, and attributes of `self`."""
    names: set[str] = set()
    for node in nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Name(id=name, ctx=ast.Store()):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.Assign(targets=[ast.Name(id="__slots__")], value=slots):
                names |= texts(slots)
    return names


@cache
def classes() -> dict[str, list[ast.ClassDef]]:
    found: dict[str, list[ast.ClassDef]] = {}
    for tree in trees().values():
        for node in nodes(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, []).append(node)
    return found


def of_class(node: ast.ClassDef, seen: frozenset[str] = frozenset()) -> set[str]:
    """The names that a class has from this package, its own and those of its bases."""
    names = set(defined(node))
    for base in node.bases:
        for name in {part.id for part in ast.walk(base) if isinstance(part, ast.Name)} - seen:
            for inherited in classes().get(name, ()):
                names |= of_class(inherited, seen | {name, node.name})
    return names


def of_self(tree: ast.Module) -> Iterator[str]:
    for node in nodes(tree):
        if isinstance(node, ast.ClassDef):
            known = of_class(node)
            for one in nodes(node):
                match one:
                    case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if name not in known:
                        yield name


def of_others(tree: ast.Module) -> Iterator[str]:
    known = defined(tree) - {name for names in USED.values() for name in names}
    for node in nodes(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if name not in known:
                yield name


def spelt_out(tree: ast.Module) -> Iterator[str]:
    for node in nodes(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names, level=0) if not module.startswith("crplugins"):
                yield from module.split(".")
                yield from (name.name for name in names)
            case ast.Import(names=names):
                yield from (part for name in names for part in name.name.split("."))
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called), args=args) if called in LOOKS_UP:
                yield from (one.value for one in args if isinstance(one, ast.Constant))
            case ast.keyword(arg=str(name)):
                yield name
            case ast.Dict(keys=keys):
                yield from (key.value for key in keys if isinstance(key, ast.Constant))
            case ast.Set(elts=elements):
                yield from (element.value for element in elements if isinstance(element, ast.Constant))


def private_names(tree: ast.Module) -> set[str]:
    return {name for name in (*of_self(tree), *of_others(tree), *spelt_out(tree)) if is_private(name)}


def test_every_private_name_of_another_package_stands_in_the_table_and_no_other() -> None:
    listed = {name for names in USED.values() for name in names}
    found: dict[str, list[str]] = {}
    for path, tree in trees().items():
        for name in private_names(tree):
            found.setdefault(name, []).append(str(path.relative_to(PACKAGE.parent)))
    new = {name: files for name, files in found.items() if name not in listed}
    assert not new, f"find a public way, or say in the table why there is none: {new}"
    assert listed == found.keys(), f"no longer used: {listed - found.keys()}"


@pytest.mark.parametrize("package", USED)
def test_the_installed_release_still_has_them(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    missing = set(USED[package])
    for path in Path(spec.origin).parent.rglob("*.py"):
        if not missing:
            break
        text = path.read_text(encoding="utf-8", errors="replace")
        missing -= {name for name in missing if path.stem == name or re.search(rf"\b{name}\b", text)}
    assert not missing


@pytest.mark.parametrize(
    "code",
    [
        "from starlette._utils import is_async_callable",
        "from aiohttp import _private",
        "import msgspec._core",
        "def f(response): return response._body",
        "def f(server): return getattr(server, '_servers', None)",
        "class Mine(Foreign):\n    def f(self): return self._theirs",
        "def f(call): return call(_hidden=1)",
        "options = {'_hidden': 1}",
    ],
)
def test_each_way_to_reach_one_is_seen(code: str) -> None:
    assert private_names(ast.parse(code))


def test_names_of_our_own_are_let_be() -> None:
    code = (
        "class Mine(Foreign):\n"
        "    __slots__ = ('_a',)\n"
        "    def _b(self): self._c = self._b() + self._a\n"
        "    def __eq__(self, other): return self._c == other._c and other._replace(x=1)\n"
    )
    assert private_names(ast.parse(code)) == set()
