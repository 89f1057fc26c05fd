"""The usage endpoints in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any, Final

from crplugins.homes.usage_api import ADMIN_PATH, PATHS
from crplugins.homes.usage_query import OWN_GROUPS
from crplugins.ledger.question import GROUPS, MEASURES

_TEXT: Final = {"type": "string"}
_ERRORS: Final = {
    400: "`param` names the query parameter that is not what it should be.",
    401: "The key, or the admin token, is missing or wrong.",
    503: "The ledger's database cannot be read now.",
}
_TIME: Final = "A time ago such as 30m, 24h or 7d, or a date or time in ISO 8601, in UTC unless it says otherwise."


def with_usage(document: dict[str, Any], *, admin: bool) -> dict[str, Any]:
    """A copy of the gateway's document with the usage endpoints in it. `admin`: that of the operator too.

    For that one the document must know the security scheme `admin`.
    """
    paths = {PATHS[0]: {"get": _operation("usage", "What this key has used.", OWN_GROUPS, "model")}}
    if admin:
        operation = _operation("adminUsage", "What all keys have used.", tuple(GROUPS), "key,model")
        paths[ADMIN_PATH] = {"get": operation | {"security": [{"admin": []}]}}
    components = document["components"]
    schemas = components["schemas"] | {"Usage": _usage(), "UsageList": _list()}
    return {**document, "paths": document["paths"] | paths, "components": {**components, "schemas": schemas}}


def _operation(name: str, summary: str, groups: Sequence[str], default: str) -> dict[str, Any]:
    by = f"What to tell apart, separated by commas: {', '.join(groups)}."
    parameters = [
        _parameter("by", by, default=default),
        _parameter("since", f"The beginning. {_TIME}"),
        _parameter("until", "The end, which is outside."),
        *(_parameter(group, f"Only this {group.replace('_', ' ')}.") for group in groups if group != "day"),
    ]
    refusals = {str(status): _response(text, "ErrorBody") for status, text in _ERRORS.items()}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": _response(summary, "UsageList"), **refusals},
    }


def _usage() -> dict[str, Any]:
    count = {"type": "integer"}
    counts = {name: count for name in MEASURES if name != "cost_micro_usd"}
    cost = {"type": ["number", "null"], "description": "Of the requests whose price is known; null if none is."}
    names = {column: {"type": ["string", "null"]} for column in GROUPS.values()}
    return {"type": "object", "properties": {**names, **counts, "cost_usd": cost}, "required": [*counts, "cost_usd"]}


def _list() -> dict[str, Any]:
    data = {"type": "array", "items": {"$ref": "#/components/schemas/Usage"}}
    return {"type": "object", "properties": {"object": {"const": "list"}, "data": data}}


def _parameter(name: str, description: str, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": _TEXT | schema}


def _response(description: str, schema: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {"description": description, "content": content}
