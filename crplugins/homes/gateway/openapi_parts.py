"""What the descriptions of the gateway's own endpoints are made of, for its OpenAPI document."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

_REF: Final = "#/components/schemas/{name}"


def with_endpoints(document: dict[str, Any], paths: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the document with `paths` in it, and the `schemas` that they name."""
    components = document["components"]
    components = {**components, "schemas": {**components["schemas"], **schemas}}
    return {**document, "paths": {**document["paths"], **paths}, "components": components}


def schemas_of(types: Iterable[type[msgspec.Struct]]) -> dict[str, Any]:
    """By the names of the types, and of those in them."""
    return msgspec.json.schema_components(types, ref_template=_REF)[1]


def response(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": json_of(schema)}


def json_of(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": ref(schema)}}


def ref(schema: str) -> dict[str, str]:
    return {"$ref": _REF.format(name=schema)}
