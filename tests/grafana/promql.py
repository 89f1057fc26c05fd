"""PromQL as a tree: which series an expression reads, where in it, and which labels its result has."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import promql_parser

from grafana.source.specs import SPECS

TARGET_LABELS = frozenset({"job", "instance"})
OTHER_SERIES = {
    "up": TARGET_LABELS,
    "scrape_duration_seconds": TARGET_LABELS,
    "scrape_samples_scraped": TARGET_LABELS,
    "process_cpu_seconds_total": TARGET_LABELS,
    "process_resident_memory_bytes": TARGET_LABELS,
    "ALERTS": TARGET_LABELS | {"alertname", "alertstate", "severity", "window"},
}
GAUGES = frozenset(
    {"up", "ALERTS", "process_resident_memory_bytes", "scrape_duration_seconds", "scrape_samples_scraped"}
)
SETS = frozenset({"and", "or", "unless"})

Recorded = Mapping[str, frozenset[str]]
NOTHING: Recorded = MappingProxyType({})


@dataclass(frozen=True)
class Read:
    """One selector of an expression. `function` takes its range, of which `window` are the seconds."""

    name: str
    matchers: tuple[tuple[str, str, str], ...]
    function: str | None = None
    window: float | None = None

    @property
    def matched(self) -> frozenset[str]:
        return frozenset(label for label, _, _ in self.matchers)


def labels_of_series(recorded: Recorded = NOTHING) -> dict[str, frozenset[str]]:
    """By the name of a series, as it is scraped or recorded."""
    known: dict[str, frozenset[str]] = {**OTHER_SERIES, **recorded}
    for spec in SPECS:
        own = TARGET_LABELS | set(spec.labels)
        if spec.kind == "histogram":
            known |= {f"{spec.name}_bucket": own | {"le"}, f"{spec.name}_count": own, f"{spec.name}_sum": own}
        else:
            known[spec.name] = own
    return known


def gauges(recorded: Recorded = NOTHING) -> frozenset[str]:
    return GAUGES | frozenset(recorded) | {spec.name for spec in SPECS if spec.kind == "gauge"}


def reads(expression: str) -> list[Read]:
    """Raises ValueError for what is no PromQL."""
    return [read for node, function in _walk(promql_parser.parse(expression), None) for read in _reads(node, function)]


def names(expression: str) -> set[str]:
    return {read.name for read in reads(expression)}


def unguarded_divisions(expression: str) -> list[str]:
    """Divisors that may be 0: neither a number nor compared with `> 0`."""
    return [
        node.rhs.prettify()
        for node, _ in _walk(promql_parser.parse(expression), None)
        if isinstance(node, promql_parser.BinaryExpr) and str(node.op) == "/" and not _guarded(node.rhs)
    ]


def aggregations(expression: str) -> list[frozenset[str]]:
    """What each `sum by (...)` keeps apart."""
    return [
        frozenset(node.modifier.labels if node.modifier else ())
        for node, _ in _walk(promql_parser.parse(expression), None)
        if isinstance(node, promql_parser.AggregateExpr) and node.param is None
    ]


def labels(expression: str, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Which labels the result has."""
    return _labels(promql_parser.parse(expression), known)


def _guarded(node: object) -> bool:
    while isinstance(node, promql_parser.ParenExpr):
        node = node.expr
    if isinstance(node, promql_parser.NumberLiteral):
        return node.val != 0
    return isinstance(node, promql_parser.BinaryExpr) and str(node.op) == ">" and node.rhs.prettify() == "0"


def _walk(node: object, function: str | None) -> Iterator[tuple[object, str | None]]:
    yield node, function
    match node:
        case promql_parser.BinaryExpr():
            yield from _walk(node.lhs, None)
            yield from _walk(node.rhs, None)
        case promql_parser.Call():
            for argument in node.args:
                yield from _walk(argument, node.func.name)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from _walk(node.expr, None)
        case promql_parser.SubqueryExpr():
            raise ValueError("a subquery is too dear for a panel or rule")


def _reads(node: object, function: str | None) -> Iterator[Read]:
    if isinstance(node, promql_parser.MatrixSelector):
        yield _read(node.vector_selector, function, node.range.total_seconds())
    elif isinstance(node, promql_parser.VectorSelector):
        yield _read(node, None, None)


def _read(selector: promql_parser.VectorSelector, function: str | None, window: float | None) -> Read:
    matchers = tuple(
        (each.name, str(each.op).removeprefix("MatchOp."), each.value) for each in selector.matchers.matchers
    )
    return Read(selector.name or "", matchers, function, window)


def _labels(node: object, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    match node:
        case promql_parser.VectorSelector():
            return known.get(node.name or "", frozenset())
        case promql_parser.MatrixSelector():
            return known.get(node.vector_selector.name or "", frozenset())
        case promql_parser.AggregateExpr():
            if node.param is not None:  # topk keeps all labels
                return _labels(node.expr, known)
            return frozenset(node.modifier.labels if node.modifier else ())
        case promql_parser.Call():
            if node.func.name == "absent":
                return frozenset()
            inner = [_labels(argument, known) for argument in node.args]
            every = frozenset().union(*inner)
            return every - {"le"} if node.func.name == "histogram_quantile" else every
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            return _labels(node.expr, known)
        case promql_parser.BinaryExpr():
            return _labels_of_pair(node, known)
    return frozenset()


def _labels_of_pair(node: promql_parser.BinaryExpr, known: Mapping[str, frozenset[str]]) -> frozenset[str]:
    left, right = _labels(node.lhs, known), _labels(node.rhs, known)
    if _is_number(node.lhs):
        return right
    if node.modifier is None or node.modifier.matching is None or str(node.op) in SETS:
        return left
    included = frozenset(node.modifier.group_labels or ())
    many = node.modifier.card == promql_parser.VectorMatchCardinality.ManyToOne
    return left | included if many else frozenset(node.modifier.matching.labels)


def _is_number(node: object) -> bool:
    return isinstance(node, promql_parser.NumberLiteral)
