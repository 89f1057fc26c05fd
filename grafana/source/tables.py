"""Panels that are tables: a row for each model or key, with its figures of the time range."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.panels import NOTHING, Link, Query, described, letter, not_a_number, target_of


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: a value of each row."""

    name: str
    unit: str
    expr: str
    decimals: int | None = None


def rows_by(label: str, title: str, description: str, columns: Sequence[Column], link: Link) -> Any:
    """A table with a row for each value of `label`, whose cell leads to `link`."""
    queries = [Query(column.expr, column.name) for column in columns]
    panel = described(table.Panel(), title, description, queries).span(24).height(8).no_value(NOTHING)
    panel.mappings([not_a_number()])
    for number, query in enumerate(queries):
        panel.with_target(target_of(query, number, instant=True).format(PromQueryFormat.TABLE))
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        models.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": {"Time": True},
                "indexByName": {label: 0} | {f"Value #{letter(n)}": n + 1 for n in range(len(columns))},
                "renameByName": {f"Value #{letter(n)}": column.name for n, column in enumerate(columns)},
            },
        )
    )
    for column in columns:
        panel.override_by_name(column.name, _looks(column))
    links = [{"title": link.title, "url": link.url}]
    panel.override_by_name(label, [_value("displayName", label.removesuffix("_id")), _value("links", links)])
    return panel


def _looks(column: Column) -> list[models.DynamicConfigValue]:
    decimals = [] if column.decimals is None else [_value("decimals", column.decimals)]
    return [_value("unit", column.unit), *decimals]


def _value(name: str, value: object) -> models.DynamicConfigValue:
    return models.DynamicConfigValue(id_val=name, value=value)
