"""The published description and RequestGuard say the same of every parameter, down to the last member."""

from typing import Any

import pytest

from crplugins.plugins.guard.checks import (
    AnyObject,
    Array,
    Boolean,
    Check,
    Decimal,
    Either,
    FastPath,
    Integer,
    Map,
    Object,
    OneOf,
    String,
    Tagged,
)
from crplugins.plugins.guard.messages import roles
from crplugins.plugins.guard.parameters import PARAMETERS
from crplugins.schema import ChatCompletionRequest, openapi_document

SCHEMAS = openapi_document(title="crplugins", version="1")["components"]["schemas"]
REQUEST = SCHEMAS["ChatCompletionRequest"]["properties"]
FIRST_BYTES = {"string": b'"', "array": b"[", "object": b"{"}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rpartition("/")[2]]
    return schema


def options(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schema's alternatives, null left out and nested ones joined. A union told apart by a tag is one."""
    schema = resolved(schema)
    found = [one for option in schema["anyOf"] for one in options(option)] if "anyOf" in schema else [schema]
    return [one for one in found if one.get("type") != "null"]


def is_nullable(schema: dict[str, Any]) -> bool:
    return {"type": "null"} in schema.get("anyOf", ())


def only(schema: dict[str, Any]) -> dict[str, Any]:
    (option,) = options(schema)
    return option


def compare_decimal(check: Decimal, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert (one["type"], one["minimum"], one["maximum"]) == ("number", check.low, check.high), path


def compare_integer(check: Integer, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert (one["type"], one["minimum"], one.get("maximum")) == ("integer", check.low, check.high), path


def compare_boolean(check: Boolean, schema: dict[str, Any], path: str) -> None:
    assert only(schema)["type"] == "boolean", path


def compare_string(check: String, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert one["type"] == "string", path
    bounds = (one.get("maxLength"), one.get("minLength", 0), one.get("pattern"))
    assert bounds == (check.longest, check.shortest, check.pattern and check.pattern.pattern), path


def compare_one_of(check: OneOf, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert set(one.get("enum") or [one["const"]]) == set(check.values), path


def compare_array(check: Array, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert (one["type"], one.get("minItems", 0), one.get("maxItems")) == ("array", check.fewest, check.most), path
    compare(check.item, one["items"], path + "[]")


def compare_object(check: Object, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    properties = {name: of for name, of in one.get("properties", {}).items() if name != "type" or "const" not in of}
    assert properties.keys() - {"prompt_cache_breakpoint"} == check.members.keys(), path
    assert set(one.get("required", ())) - {"type"} == set(check.required), path
    for name, member in check.members.items():
        assert is_nullable(properties[name]) == getattr(member, "nullable", False), f"{path}.{name}"
        compare(member, properties[name], f"{path}.{name}")


def compare_tagged(check: Tagged, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    found = one.get("oneOf", [one])
    by_tag = {resolved(variant)["properties"]["type"]["const"]: variant for variant in found}
    assert by_tag.keys() == check.variants.keys(), path
    for tag, variant in check.variants.items():
        members = by_tag[tag]
        if path.startswith("prediction"):
            members = required_as_checked(members, variant)
        compare_object(variant, members, f"{path}<{tag}>")


def required_as_checked(schema: dict[str, Any], check: Object) -> dict[str, Any]:
    """Parts of a content may lack what the description requires; see guard_conversation."""
    return resolved(schema) | {"required": ["type", *check.required]}


def compare_map(check: Map, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert (one["type"], one.get("maxProperties")) == ("object", check.most), path
    assert one.get("propertyNames", {}).get("maxLength") == check.longest_name, path
    compare(check.value, one["additionalProperties"], path + ".*")


def compare_any_object(check: AnyObject, schema: dict[str, Any], path: str) -> None:
    one = only(schema)
    assert one["type"] == "object", path
    assert "properties" not in one, path


def compare_either(check: Either, schema: dict[str, Any], path: str) -> None:
    found = options(schema)
    assert len(found) == len(check.by_first_byte), path
    for one in found:
        compare(check.by_first_byte[FIRST_BYTES[one.get("type", "object")]], one, path)


COMPARISONS = {
    Decimal: compare_decimal,
    Integer: compare_integer,
    Boolean: compare_boolean,
    String: compare_string,
    OneOf: compare_one_of,
    Array: compare_array,
    Object: compare_object,
    Tagged: compare_tagged,
    Map: compare_map,
    AnyObject: compare_any_object,
    Either: compare_either,
}


def compare(check: Check, schema: dict[str, Any], path: str) -> None:
    COMPARISONS[type(check)](check, schema, path)


def test_both_know_the_same_parameters():
    assert set(ChatCompletionRequest.model_fields) == {"model", "messages", *PARAMETERS}


@pytest.mark.parametrize("name", PARAMETERS)
def test_both_describe_a_parameter_the_same_way(name):
    check = PARAMETERS[name].check if isinstance(PARAMETERS[name], FastPath) else PARAMETERS[name]
    assert is_nullable(REQUEST[name]) == check.nullable
    compare(check, REQUEST[name], name)


def described_roles() -> dict[str, dict[str, Any]]:
    variants = [resolved(variant) for variant in REQUEST["messages"]["items"]["oneOf"]]
    return {variant["properties"]["role"]["const"]: variant for variant in variants}


def test_both_know_the_same_roles():
    assert described_roles().keys() == roles(strict=True).keys()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("role", described_roles())
def test_the_guard_knows_every_member_of_a_message_and_requires_no_more(role, strict):
    check, described = roles(strict=strict)[role], described_roles()[role]
    assert described["properties"].keys() - {"role"} <= check.members.keys()
    assert set(described["required"]) - {"role", "content"} == set(check.required)


def test_the_guard_knows_every_part_of_a_content():
    parts = {part for role in described_roles().values() for part in tags_of(role["properties"]["content"])}
    assert parts == roles(strict=True)["user"].members["content"].by_first_byte[b"["].item.variants.keys()


def tags_of(content: dict[str, Any]) -> set[str]:
    arrays = [option["items"] for option in options(content) if option["type"] == "array"]
    variants = [variant for items in arrays for variant in resolved(items).get("oneOf", [items])]
    return {resolved(variant)["properties"]["type"]["const"] for variant in variants}
