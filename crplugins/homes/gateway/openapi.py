"""The gateway's own endpoints in its OpenAPI document: keys, limits, usage."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from pydantic import Field

from crplugins.homes.caller_limits import ADMIN_PATH as ADMIN_LIMITS_PATH
from crplugins.homes.caller_limits import CallerLimits
from crplugins.homes.gateway.admin import AUDIT_PATH, PATH
from crplugins.homes.gateway.limits_api import PATHS as LIMITS_PATHS
from crplugins.homes.gateway.openapi_parts import json_of, ref, response, schemas_of, with_endpoints
from crplugins.homes.gateway.usage_api import ADMIN_PATH, OWN_GROUPS, PATHS
from crplugins.keys.audit import MOST_ENTRIES, AuditEntry
from crplugins.keys.entry import NewKey
from crplugins.keys.service import DEFAULT_OVERLAP, LONGEST_OVERLAP
from crplugins.keys.state import State
from crplugins.ledger.question import GROUPS, MEASURES
from crplugins.settings.json_schema import definitions_of
from crplugins.settings.section import Section

_TEXT: Final = {"type": "string"}
_ETAG: Final = {"description": "The version of the key.", "schema": _TEXT}
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "required": False,
    "description": "The ETag of the version that is to be changed, so that no change of somebody else is lost.",
    "schema": _TEXT,
}
_ERRORS: Final = {
    400: "The body is not what it should be; `param` names the field.",
    401: "The admin token is missing or wrong.",
    404: "There is no such key; the message names the nearest.",
    409: "There is a key with this id already.",
    412: "The key is no longer the version that `If-Match` names; `etag` names the one that it is.",
    413: "The body is too large.",
    500: "The keys file cannot be used; the log says why.",
    503: "The database cannot be asked now.",
}


def with_admin(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of the gateway's document with the paths, schemas and the token of the admin API in it."""
    scheme = {"type": "http", "scheme": "bearer", "description": "The token of `admin` in the configuration."}
    described = with_endpoints(document, admin_paths(), admin_schemas())
    schemes = described["components"]["securitySchemes"] | {"admin": scheme}
    return {**described, "components": {**described["components"], "securitySchemes": schemes}}


def admin_paths() -> dict[str, Any]:
    """The paths, which refer to `admin_schemas`, to `ErrorBody` and to the security scheme `admin`."""
    one = PATH + "/{id}"
    parameters = {"parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}]}
    changes = (400, 404, 412, 413)
    return {
        PATH: {
            "get": _operation("listKeys", "Every key.", "AdminKeyList"),
            "post": _operation(
                "createKey", "Makes a key; its secret is shown once.", "AdminNewSecret", (400, 409, 413), "AdminNewKey"
            ),
        },
        one: {
            "get": _operation("retrieveKey", "One key.", "AdminKey", (404,)),
            "patch": _operation(
                "changeKey", "Changes what is given; null takes it away.", "AdminKey", changes, "AdminKeyChange"
            ),
            "delete": _operation("deleteKey", "Removes the key and its secrets.", "AdminDeletedKey", changes),
        }
        | parameters,
        f"{one}/rotate": {
            "post": _operation(
                "rotateKey", "One more secret, shown once; the others end.", "AdminNewSecret", changes, "AdminRotation"
            )
        }
        | parameters,
        f"{one}/revoke": {"post": _operation("revokeKey", "Ends every secret now.", "AdminKey", changes)} | parameters,
        f"{one}/disable": {
            "post": _operation("disableKey", "Refuses the key or takes it back.", "AdminKey", changes, "AdminDisabling")
        }
        | parameters,
        AUDIT_PATH: {"get": _operation("listAudit", "Who changed what, the newest first.", "AdminAuditList", (400,))}
        | {"parameters": [_parameter(*each) for each in _AUDIT_PARAMETERS]},
    }


_AUDIT_PARAMETERS: Final = (
    ("key", "Only changes of this key."),
    ("actor", "Only changes by this one."),
    ("since", "The beginning: a time ago such as 7d, or a date or time in ISO 8601."),
    ("until", "The end, which is outside."),
    ("limit", f"How many, at most {MOST_ENTRIES}; 100 without it."),
    ("after", "The id of the last entry that is known already: for the next page."),
)


class Secret(Section):
    """What is shown of a secret."""

    hint: str = Field(description="Enough to tell which of one's own it is.")
    created_at: datetime | None = Field(description="When it was made.")
    not_after: datetime | None = Field(description="The end of its life; null for none of its own.")
    live: bool = Field(description="Whether its life has not ended.")


class KeySection(NewKey):
    """A key as it is shown."""

    state: State = Field(description="What a client with its newest secret meets.")
    created_at: datetime | None = Field(description="When it was made; null if that is not known.")
    secrets: tuple[Secret, ...] = Field(description="Its secrets, the newest last.")


def admin_schemas() -> dict[str, Any]:
    """Keys as the sections describe them that read them."""
    overlap = {
        "type": "number",
        "minimum": 0,
        "maximum": LONGEST_OVERLAP.total_seconds(),
        "default": DEFAULT_OVERLAP.total_seconds(),
    }
    sections = definitions_of((KeySection, NewKey), ref_template="#/components/schemas/Admin{model}")
    return {
        **{f"Admin{name.removesuffix('Section')}": _concise(schema) for name, schema in sections.items()},
        "AdminKeyChange": {
            "type": "object",
            "description": "A merge patch (RFC 7396) of AdminNewKey, without `id`: null takes a word away.",
            "examples": [{"limits": {"requests_per_minute": 120}, "expires": None}],
        },
        **audit_schemas(),
        "AdminDeletedKey": _object({"id": _TEXT, "object": {"const": "key.deleted"}, "deleted": {"const": True}}),
        "AdminKeyList": _object({"object": {"const": "list"}, "data": {"type": "array", "items": ref("AdminKey")}}),
        "AdminNewSecret": {"allOf": [ref("AdminKey"), _object({"secret": _TEXT}, required=["secret"])]},
        "AdminRotation": _object({"overlap_seconds": overlap}),
        "AdminDisabling": _object({"disabled": {"type": "boolean", "default": True}}),
    }


def audit_schemas() -> dict[str, Any]:
    ref_template = "#/components/schemas/Admin{name}"
    _, schemas = msgspec.json.schema_components([AuditEntry], ref_template=ref_template)
    data = {"type": "array", "items": ref("AdminAuditEntry")}
    listed = _object({"object": {"const": "list"}, "data": data, "has_more": {"type": "boolean"}})
    return {"AdminAuditEntry": schemas["AuditEntry"], "AdminAuditList": listed}


def _concise(schema: Any) -> Any:
    """Without what pydantic adds: titles made of names, null or nothing as defaults. Sections by their short names."""
    if isinstance(schema, list):
        return [_concise(item) for item in schema]
    if not isinstance(schema, dict):
        return schema.removesuffix("Section") if isinstance(schema, str) and schema.startswith("#/") else schema
    empty = isinstance(schema.get("default"), dict | None)
    dropped = {"title", "additionalProperties"} | ({"default"} if empty else set())
    keeps = isinstance(schema.get("additionalProperties"), dict)  # of a mapping, whose values it describes
    return {
        name: _concise(value)
        for name, value in schema.items()
        if name not in dropped or (keeps and name == "additionalProperties")
    }


def _operation(
    name: str, summary: str, answer: str, errors: tuple[int, ...] = (), body: str | None = None
) -> dict[str, Any]:
    refusals = {str(status): response(_ERRORS[status], "ErrorBody") for status in sorted({*errors, 401, 500, 503})}
    good = "201" if name == "createKey" else "200"
    tag = {"headers": {"etag": _ETAG}} if answer in ("AdminKey", "AdminNewSecret") else {}
    operation = {
        "operationId": name,
        "summary": summary,
        "security": [{"admin": []}],
        "responses": {good: response(summary, answer) | tag, **refusals},
    }
    if 412 in errors:
        operation["parameters"] = [_IF_MATCH]
    return operation | ({"requestBody": {"content": json_of(body)}} if body else {})


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


_USAGE_ERRORS: Final = {
    400: "`param` names the query parameter that is not what it should be, or `by` has more than 10,000 lines.",
    401: "The key, or the admin token, is missing or wrong.",
    429: "Too many questions of this key are being answered.",
    503: "The ledger's database cannot be read now.",
}
_TIME: Final = "A time ago such as 30m, 24h or 7d, or a date or time in ISO 8601, in UTC unless it says otherwise."


def with_usage(document: dict[str, Any], *, admin: bool) -> dict[str, Any]:
    """A copy of the gateway's document with the usage endpoints in it. `admin`: that of the operator too.

    For that one the document must know the security scheme `admin`.
    """
    paths = {PATHS[0]: {"get": _usage_operation("usage", "What this key has used.", OWN_GROUPS, "model")}}
    if admin:
        operation = _usage_operation("adminUsage", "What all keys have used.", tuple(GROUPS), "key,model")
        paths[ADMIN_PATH] = {"get": operation | {"security": [{"admin": []}]}}
    return with_endpoints(document, paths, {"Usage": _usage(), "UsageList": _list()})


def _usage_operation(name: str, summary: str, groups: Sequence[str], default: str) -> dict[str, Any]:
    by = f"What to tell apart, separated by commas: {', '.join(groups)}."
    parameters = [
        _parameter("by", by, default=default),
        _parameter("since", f"The beginning. {_TIME}"),
        _parameter("until", "The end, which is outside."),
        *(_parameter(group, f"Only this {group.replace('_', ' ')}.") for group in groups if group != "day"),
    ]
    refusals = {str(status): response(text, "ErrorBody") for status, text in _USAGE_ERRORS.items()}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "responses": {"200": response(summary, "UsageList"), **refusals},
    }


def _usage() -> dict[str, Any]:
    count = {"type": "integer"}
    counts = {name: count for name in MEASURES if not name.endswith("_micro_usd")}
    cost = {"type": ["number", "null"], "description": "Of the requests whose price is known; null if none is."}
    told = {"type": "number", "description": "What providers say that the requests cost, as far as they say it."}
    names = {column: {"type": ["string", "null"]} for column in GROUPS.values()}
    costs = {"cost_usd": cost, "provider_cost_usd": told}
    return {"type": "object", "properties": {**names, **counts, **costs}, "required": [*counts, *costs]}


def _list() -> dict[str, Any]:
    data = {"type": "array", "items": ref("Usage")}
    return {"type": "object", "properties": {"object": {"const": "list"}, "data": data}}


def _parameter(name: str, description: str, **schema: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "description": description, "schema": _TEXT | schema}


def with_limits(document: dict[str, Any], *, admin: bool) -> dict[str, Any]:
    """A copy of the gateway's OpenAPI document with the endpoint in it. `admin`: that of operators too."""
    paths = {
        LIMITS_PATHS[0]: {
            "get": _limits_operation("limits", "What this key may use and spend, and how much of it is used.")
        }
    }
    if admin:
        key = {"name": "key", "in": "query", "required": True, "schema": {"type": "string"}}
        operation = _limits_operation("adminLimits", "What a key may use and spend, and how much of it is used.")
        operation["responses"]["404"] = response("There is no such key.", "ErrorBody")
        paths[ADMIN_LIMITS_PATH] = {"get": operation | {"parameters": [key], "security": [{"admin": []}]}}
    return with_endpoints(document, paths, schemas_of([CallerLimits]))


def _limits_operation(name: str, summary: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "responses": {
            "200": response("How the limits and budgets of the key and of its team stand.", "CallerLimits"),
            "401": response("The key, or the admin token, is missing or wrong.", "ErrorBody"),
            "503": response("The store of the limits cannot be read now.", "ErrorBody"),
        },
    }
