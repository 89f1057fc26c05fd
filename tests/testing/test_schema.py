import jsonschema
import pytest

from crplugins.testing.hints import Hints
from crplugins.testing.schema import fill

TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/node"}},
                "parent": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["name", "children", "parent"],
        }
    },
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}, "required": ["a"]},
        {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 4, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 2, "uniqueItems": True},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        {"type": "integer", "minimum": 10, "maximum": 12},
        {"type": "integer", "exclusiveMinimum": -1000, "exclusiveMaximum": 1000, "multipleOf": 7},
        {"type": "integer", "maximum": -3},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
        {"type": "string", "minLength": 40},
        {"type": "string", "maxLength": 3},
        {"type": "string", "format": "email"},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "ipv6"},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["null", "integer"]},
        {"enum": ["red", "green"]},
        {"const": {"k": [1]}},
        {"anyOf": [{"type": "null"}, {"type": "string"}]},
        {"oneOf": [{"type": "object", "properties": {"k": {"const": "a"}}, "required": ["k"]}]},
        {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["b"]}]},
        {"properties": {"deep": {"$ref": "#/definitions/d"}}, "definitions": {"d": {"type": "boolean"}}},
        {"type": "object", "properties": {"self": {"$ref": "#"}}},
        TREE,
        {},
        True,
    ],
)
def test_the_value_validates_against_its_schema(schema: object) -> None:
    value = fill(schema)
    jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(value)
    assert fill(schema) == value


def test_only_required_members_are_filled_where_the_schema_names_them() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    assert fill({"type": "object", "properties": properties, "required": ["b"]}) == {"b": 1}
    assert fill({"type": "object", "properties": properties}) == {"a": 1, "b": 1}


def test_values_of_the_prompt_are_used_where_they_fit() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}, "name": {"type": "string"}}}
    assert fill(schema, Hints("take 9 of 'apple'")) == {"n": 5, "name": "apple"}


def test_a_reference_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(KeyError):
        fill({"$ref": "#/$defs/missing"})
