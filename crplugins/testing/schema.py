"""Fills a JSON schema with a value that validates against it, the same for the same input."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crplugins.testing.hints import Hints

MAX_DEPTH = 5  # a recursive schema (a tree) is cut here: optional members are left out, unions take their null
_FORMATS = {
    "date-time": "2026-01-02T03:04:05Z", "date": "2026-01-02", "time": "03:04:05Z", "duration": "P1D",
    "email": "someone@example.com", "hostname": "example.com", "ipv4": "192.0.2.1", "ipv6": "2001:db8::1",
    "uri": "https://example.com/", "uri-reference": "/path", "uuid": "00000000-0000-4000-8000-000000000000",
}  # fmt: skip


def fill(schema: object, hints: Hints | None = None) -> Any:
    """A value for `schema`: $ref, enum, const, anyOf/oneOf/allOf, objects, arrays, bounds, lengths and formats.

    Values of the prompt (`hints`) come first where they fit. `pattern`, `not` and conditionals are not followed.
    KeyError for a `$ref` that leads nowhere.
    """
    return _Filler(schema, hints or Hints()).fill(schema)


class _Filler:
    def __init__(self, root: object, hints: Hints) -> None:
        self.root = root
        self.hints = hints
        self.by_type: dict[str, Callable[[Mapping[str, Any], str, int, int], Any]] = {
            "object": self._object, "array": self._array, "string": self._string,
            "integer": self._integer, "number": self._number,
            "boolean": lambda *_: True, "null": lambda *_: None,
        }  # fmt: skip

    def fill(self, schema: object, name: str = "value", depth: int = 0, nth: int = 0) -> Any:
        if not isinstance(schema, Mapping):
            return {}
        schema = self._resolve(schema)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][nth % len(schema["enum"])]
        if branches := schema.get("anyOf") or schema.get("oneOf"):
            return self.fill(self._branch(branches, depth), name, depth, nth)
        return self.by_type[_type_of(schema)](schema, name, depth, nth)

    def _resolve(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        """The schema without `$ref` and `allOf`, their members merged into it."""
        while "$ref" in schema or "allOf" in schema:
            rest = {key: value for key, value in schema.items() if key not in {"$ref", "allOf"}}
            bases = [self._lookup(schema["$ref"])] if "$ref" in schema else []
            schema = _merge([*bases, *schema.get("allOf", ()), rest])
        return schema

    def _lookup(self, ref: str) -> Mapping[str, Any]:
        node: Any = self.root
        for step in ref.lstrip("#").strip("/").split("/") if ref != "#" else ():
            node = node[step.replace("~1", "/").replace("~0", "~")]
        return node if isinstance(node, Mapping) else {}

    def _branch(self, branches: Sequence[Any], depth: int) -> Any:
        nulls = [branch for branch in branches if isinstance(branch, Mapping) and branch.get("type") == "null"]
        if nulls and depth >= MAX_DEPTH:
            return nulls[0]
        return next((branch for branch in branches if branch not in nulls), branches[0])

    def _object(self, schema: Mapping[str, Any], _name: str, depth: int, nth: int) -> dict[str, Any]:
        properties = schema.get("properties") or {}
        wanted = schema.get("required", () if depth >= MAX_DEPTH else properties)
        return {key: self.fill(properties.get(key, {"type": "string"}), key, depth + 1, nth) for key in wanted}

    def _array(self, schema: Mapping[str, Any], name: str, depth: int, _nth: int) -> list[Any]:
        prefix = schema.get("prefixItems", ())
        length = max(schema.get("minItems", 0), len(prefix) or (1 if depth < MAX_DEPTH else 0))
        length = min(length, schema.get("maxItems", length))
        items = [*prefix, *[schema.get("items", {"type": "string"})] * length][:length]
        return [self.fill(item, name, depth + 1, index) for index, item in enumerate(items)]

    def _string(self, schema: Mapping[str, Any], name: str, _depth: int, nth: int) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = self.hints.string() or f"some {name.replace('_', ' ')}" + (f" {nth + 1}" if nth else "")
        return text.ljust(schema.get("minLength", 0), "x")[: schema.get("maxLength")]

    def _integer(self, schema: Mapping[str, Any], _name: str, _depth: int, nth: int) -> int:
        hint = self.hints.integer()
        return round(_within(schema, 1 + nth if hint is None else hint, step=1))

    def _number(self, schema: Mapping[str, Any], _name: str, _depth: int, nth: int) -> float:
        hint = self.hints.number()
        return _within(schema, 1.5 + nth if hint is None else hint, step=0.5)


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "object" if "properties" in schema else "array" if "items" in schema else "string"
    return str(kind)


def _merge(schemas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for schema in schemas:
        properties = {**merged.get("properties", {}), **schema.get("properties", {})}
        required = [*merged.get("required", ()), *schema.get("required", ())]
        merged |= schema
        merged |= ({"properties": properties} if properties else {}) | ({"required": required} if required else {})
    return merged


def _within(schema: Mapping[str, Any], value: float, step: float) -> float:
    """`value` moved into the bounds of the schema and onto its `multipleOf`."""
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + step)
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - step)
    value = min(max(value, low), high)
    if multiple := schema.get("multipleOf"):
        value = math.ceil(value / multiple) * multiple
        value = value - multiple if value > high else value
    return value
