"""The admin API in the OpenAPI document."""

from collections.abc import Iterable
from typing import Any, Final

from crplugins.homes.admin import PATH
from crplugins.keys.desk import DEFAULT_OVERLAP, LONGEST_OVERLAP
from crplugins.keys.policy import BURST_KEYS, LIMIT_KEYS

_TEXT: Final = {"type": "string"}
_TEXT_OR_NULL: Final = {"type": ["string", "null"]}
_MOMENT: Final = {"type": ["string", "null"], "format": "date-time"}
_ERRORS: Final = {
    400: "The body is not what it should be; `param` names the field.",
    401: "The admin token is missing or wrong.",
    404: "There is no such key; the message names the nearest.",
    409: "There is a key with this id already.",
    413: "The body is too large.",
    500: "The keys file cannot be used; the log says why.",
    503: "The database cannot be asked now.",
}


def with_admin(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of the gateway's document with the paths, schemas and the token of the admin API in it."""
    components = document["components"]
    scheme = {"type": "http", "scheme": "bearer", "description": "The token of `admin` in the configuration."}
    return {
        **document,
        "paths": document["paths"] | admin_paths(),
        "components": {
            **components,
            "schemas": components["schemas"] | admin_schemas(),
            "securitySchemes": components["securitySchemes"] | {"admin": scheme},
        },
    }


def admin_paths() -> dict[str, Any]:
    """The paths, which refer to `admin_schemas`, to `ErrorBody` and to the security scheme `admin`."""
    one = PATH + "/{id}"
    parameters = {"parameters": [{"name": "id", "in": "path", "required": True, "schema": _TEXT}]}
    changes = (400, 404, 413)
    return {
        PATH: {
            "get": _operation("listKeys", "Every key.", "AdminKeyList"),
            "post": _operation(
                "createKey", "Makes a key; its secret is shown once.", "AdminNewSecret", (400, 409, 413), "AdminNewKey"
            ),
        },
        one: {"get": _operation("retrieveKey", "One key.", "AdminKey", (404,))} | parameters,
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
    }


def admin_schemas() -> dict[str, Any]:
    key = _object({**_policy(), **_shown()}, required=["id", "state", "secrets"])
    overlap = {
        "type": "number",
        "minimum": 0,
        "maximum": LONGEST_OVERLAP.total_seconds(),
        "default": DEFAULT_OVERLAP.total_seconds(),
    }
    return {
        "AdminKey": key,
        "AdminKeyList": _object({"object": {"const": "list"}, "data": {"type": "array", "items": _ref("AdminKey")}}),
        "AdminNewKey": _object({**_policy(), **_span(), "disabled": {"type": "boolean"}}, required=["id"]),
        "AdminNewSecret": {"allOf": [_ref("AdminKey"), _object({"secret": _TEXT}, required=["secret"])]},
        "AdminRotation": _object({"overlap_seconds": overlap}),
        "AdminDisabling": _object({"disabled": {"type": "boolean", "default": True}}),
    }


def _policy() -> dict[str, Any]:
    budget = {"usd": {"type": ["number", "string"]}, "period": {"enum": ["day", "week", "month", "total"]}}
    return {
        "id": _TEXT,
        "team": _TEXT_OR_NULL,
        "owner": _TEXT_OR_NULL,
        "tags": {"type": "object", "additionalProperties": _TEXT},
        "models": {"type": ["array", "null"], "items": _TEXT, "description": "Wildcards allowed; null: every model."},
        "aliases": {"type": "object"},
        "limits": _object(
            {**_amounts(LIMIT_KEYS), "burst": _object(_amounts(BURST_KEYS)), "shadow": {"type": "boolean"}}
        ),
        "budget": {"anyOf": [_object(budget, required=["usd", "period"]), {"type": "null"}]},
    }


def _amounts(names: Iterable[str]) -> dict[str, Any]:
    return {name: {"type": "integer", "minimum": 1} for name in names}


def _span() -> dict[str, Any]:
    return {"not_before": _MOMENT, "expires": _MOMENT}


def _shown() -> dict[str, Any]:
    secret = {"hint": _TEXT, "created_at": _MOMENT, "not_after": _MOMENT, "live": {"type": "boolean"}}
    return {
        "state": {"enum": ["live", "disabled", "revoked", "expired", "not yet valid"]},
        "created_at": _MOMENT,
        **_span(),
        "disabled": {"type": "boolean"},
        "secrets": {"type": "array", "items": _object(secret)},
    }


def _operation(
    name: str, summary: str, answer: str, errors: tuple[int, ...] = (), body: str | None = None
) -> dict[str, Any]:
    refusals = {str(status): _response(_ERRORS[status], "ErrorBody") for status in sorted({*errors, 401, 500, 503})}
    good = "201" if name == "createKey" else "200"
    operation = {
        "operationId": name,
        "summary": summary,
        "security": [{"admin": []}],
        "responses": {good: _response(summary, answer), **refusals},
    }
    return operation | ({"requestBody": {"content": _json(body)}} if body else {})


def _response(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": _json(schema)}


def _json(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(schema)}}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}
