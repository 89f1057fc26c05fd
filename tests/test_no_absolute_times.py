"""No test judges by how long something takes in seconds: it would fail on a slower machine, or when it is busy.

What is measured is compared with a control of the same run, or with a pause that the test itself has asked for.
"""

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CLOCKS = {"perf_counter", "perf_counter_ns", "process_time", "thread_time", "monotonic", "monotonic_ns"}
HANGS = 30
"""Seconds. Whoever waits for less gives up on a busy machine."""


def names(node: ast.AST) -> set[str]:
    """The names and attributes in an expression that carry its unit: lengths, comparisons and records have none."""
    if isinstance(node, ast.Compare | ast.Tuple):
        return set()
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and (node.func.id == "len" or node.func.id[0].isupper())
    ):
        return set()
    if isinstance(node, ast.Name):
        return {node.id}
    found = {node.attr} if isinstance(node, ast.Attribute) else set()
    return found.union(*map(names, ast.iter_child_nodes(node)))


def is_measured(node: ast.AST, measured: set[str]) -> bool:
    if isinstance(node, ast.BinOp):
        left, right = is_measured(node.left, measured), is_measured(node.right, measured)
        return left and not right if isinstance(node.op, ast.Div) else left or right  # a ratio of two has no unit
    return not names(node).isdisjoint(measured | CLOCKS)


def assigned(scope: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Whatever is given a value, with that; of a function its name, with what it returns."""
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)):
                yield from zip(targets, values, strict=False)
            case ast.Assign(targets=[target], value=value) | ast.AugAssign(target=target, value=value):
                yield target, value
            case ast.NamedExpr(target=target, value=value):
                yield target, value
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from ((ast.Name(name), i.value) for i in ast.walk(node) if isinstance(i, ast.Return) and i.value)


def target_name(target: ast.expr) -> str:
    """What is assigned to: of `self.slowest` and `self.slowest[key]` the last name."""
    while isinstance(target, ast.Subscript):
        target = target.value
    return target.attr if isinstance(target, ast.Attribute) else ast.unparse(target)


def measured_in(scope: ast.AST, known: frozenset[str] = frozenset()) -> set[str]:
    """The names in a scope whose values come from a clock."""
    measured, size, pairs = set(known), -1, list(assigned(scope))
    while size != (size := len(measured)):
        measured.update(target_name(target) for target, value in pairs if is_measured(value, measured))
    return measured


def numbers_in(module: ast.Module) -> set[str]:
    """The module's names for numbers."""
    plain = [node for node in module.body if isinstance(node, ast.Assign) and is_number(node.value, set())]
    return set().union(*(names(target) for node in plain for target in node.targets))


def is_number(node: ast.AST, constants: set[str]) -> bool:
    if isinstance(node, ast.Name):
        return node.id in constants
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def judged(module: ast.Module) -> Iterator[int]:
    """The lines with an assert that compares a measured time with a number."""
    constants, functions = numbers_in(module), [n for n in ast.walk(module) if is_function(n)]
    elsewhere = {f.name for f in functions} | {n.attr for n in ast.walk(module) if isinstance(n, ast.Attribute)}
    known = frozenset(measured_in(module) & elsewhere)  # other names are their function's own
    for function in functions:
        measured = measured_in(function, known)
        for check in (node for node in ast.walk(function) if isinstance(node, ast.Assert)):
            for compare in (node for node in ast.walk(check.test) if isinstance(node, ast.Compare)):
                for left, right in itertools.pairwise([compare.left, *compare.comparators]):
                    for time, number in ((left, right), (right, left)):
                        if is_measured(time, measured) and is_number(number, constants):
                            yield check.lineno


def is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def impatient(module: ast.Module) -> Iterator[int]:
    """The lines that wait for something that comes, and not for long."""
    expected = {
        id(inner)
        for node in ast.walk(module)
        if isinstance(node, ast.With | ast.AsyncWith) and any("TimeoutError" in ast.unparse(i) for i in node.items)
        for inner in ast.walk(node)
    }
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or id(node) in expected:
            continue
        waits = ast.unparse(node.func) in ("asyncio.timeout", "asyncio.wait_for")
        if waits and is_number(node.args[-1], set()) and ast.literal_eval(node.args[-1]) < HANGS:
            yield node.lineno


@pytest.mark.parametrize("find", [judged, impatient])
def test_no_test_judges_by_seconds(find) -> None:
    found = {
        f"{path.relative_to(TESTS)}:{line}"
        for path in sorted(TESTS.rglob("*.py"))
        if any(clock in (text := path.read_text()) for clock in (*CLOCKS, "asyncio.timeout", "wait_for"))
        for line in find(ast.parse(text))
    }
    assert found == set()


@pytest.mark.parametrize(
    "body",
    [
        "began = time.monotonic(); assert time.monotonic() - began < 0.5",
        "began = time.monotonic(); took = time.monotonic() - began; assert 0.1 < took < MOST",
        "took = [perf_counter() - perf_counter()]; assert max(took) < 1",
        "assert (process_time() - began) / 1000 < 0.01",
        "assert slowest() < 0.1",
        "assert self.slowest < 0.1",
    ],
)
def test_times_in_seconds_are_found(body: str) -> None:
    module = f"MOST = 1\ndef slowest(): return monotonic() - monotonic()\ndef note(self): self.slowest = monotonic()\ndef test(): {body}"
    assert list(judged(ast.parse(module)))


@pytest.mark.parametrize(
    "body",
    [
        "ratio = (monotonic() - monotonic()) / (monotonic() - monotonic()); assert ratio < 3",
        "took = monotonic() - monotonic(); control = monotonic() - monotonic(); assert took < 3 * control",
        "pause = 0.1; took = monotonic() - monotonic(); assert took >= pause",
        "end = monotonic() + 30; assert monotonic() < end",
        "arrivals = [monotonic()]; assert len(arrivals) == 8",
    ],
)
def test_ratios_and_counts_are_not(body: str) -> None:
    assert list(judged(ast.parse(f"def test(): {body}"))) == []
