"""What consumers may rely on: the schema that is published is that of the messages, and only grows."""

import json

import jsonschema
import msgspec
import pytest

from crplugins.core.usage import TokenUsage
from crplugins.ledger.encoding import encode
from crplugins.ledger.inserts import COLUMNS
from crplugins.metering.record import UsageRecord
from crplugins.sinks.json_schema import FILE, schema, text
from crplugins.sinks.message import SCHEMA, PublishedRecord, message_of
from tests.ledger.conftest import make_record

FIRST = {
    "schema": "crplugins.usage/1",
    **dict.fromkeys(["started_at", "ended_at"], "date-time"),
    **dict.fromkeys(["request_id", "outcome", "error_type", "usage_source", "endpoint"], "string"),
    **dict.fromkeys(
        [
            "key_id", "team", "user", "requested_model", "served_model", "provider_model", "provider", "finish_reason",
            "service_tier", "cost_source",
        ],
        "string or null",
    ),
    "stream": "boolean",
    "tags": "object",
    **dict.fromkeys(
        [
            "status", "attempts", "overhead_us", "input_tokens", "output_tokens", "cached_input_tokens",
            "cache_write_input_tokens", "long_cache_write_input_tokens", "reasoning_output_tokens", "audio_input_tokens",
            "cached_audio_input_tokens", "audio_output_tokens", "image_input_tokens", "image_output_tokens",
            "video_output_tokens", "web_searches",
        ],
        "integer",
    ),
    **dict.fromkeys(
        ["cost_micro_usd", "provider_cost_micro_usd", "expected_input_tokens", "output_limit", "choices"],
        "integer or null",
    ),
    "duration_ms": "number",
    **dict.fromkeys(
        [
            "ttft_ms", "time_per_output_token_ms", "longest_gap_ms", "asked_ms", "queued_ms", "admitted_ms", "settled_ms",
        ],
        "number or null",
    ),
}  # fmt: skip
"""The fields of version 1 as they were first published. Of these none may be changed or left out: that is version 2."""


def kind_of(described: dict) -> str:
    if "anyOf" in described:
        return " or ".join(each["type"] for each in described["anyOf"])
    if "enum" in described:
        return "string" if len(described["enum"]) > 1 else described["enum"][0]
    return described.get("format") or described["type"]


def test_the_published_file_is_that_of_the_code():
    assert FILE.read_text() == text(), "run: python -m crplugins.sinks.json_schema"
    jsonschema.Draft202012Validator.check_schema(schema())


def test_what_was_published_first_stays_and_what_is_added_is_not_required():
    document = schema()
    assert sorted(document["required"]) == sorted(FIRST)
    assert {name: kind_of(document["properties"][name]) for name in FIRST} == FIRST
    assert "additionalProperties" not in document, "a consumer must take fields that are added"
    assert all(each["description"] for each in document["properties"].values())


def test_every_fact_of_a_record_is_published():
    """A new field of the record is given to consumers too: add it to PublishedRecord, with a default."""
    recorded = {*UsageRecord.__struct_fields__, *TokenUsage.__struct_fields__, "schema"} - {"usage"}
    assert {*PublishedRecord.__struct_fields__} == recorded
    assert {*COLUMNS} <= recorded


def test_a_message_is_the_record_and_is_as_the_schema_says():
    record = make_record(started_at=1_780_315_200.25, key_id="käse", error_type="upstream_5xx")
    key, value = message_of(encode(record))
    message = json.loads(value)
    jsonschema.validate(message, schema())
    assert key == "käse"
    assert message.pop("schema") == SCHEMA
    assert message.pop("started_at") == "2026-06-01T12:00:00.250000Z"
    assert message.pop("ended_at") == "2026-06-01T12:00:01.500000Z"
    expected = {**msgspec.structs.asdict(record), **msgspec.structs.asdict(record.usage)}
    for name in ("usage", "started_at", "ended_at"):
        del expected[name]
    assert message == msgspec.to_builtins(expected)


@pytest.mark.parametrize(
    "field", [name for name in UsageRecord.__struct_fields__ if name not in ("request_id", "usage")]
)
def test_whatever_is_unknown_the_message_is_as_the_schema_says(field):
    """Each field with the least that it may have."""
    least = {
        "tags": {},
        "stream": False,
        "status": 499,
        "outcome": "cancelled",
        "error_type": "",
        "usage_source": "none",
        "endpoint": "chat",
    }
    numbers = ("started_at", "ended_at", "attempts", "duration_ms", "overhead_us")
    value = least.get(field, 0 if field in numbers else None)
    jsonschema.validate(json.loads(message_of(encode(make_record(**{field: value}))).value), schema())


def test_a_line_that_an_earlier_release_has_left_can_be_published():
    line = json.loads(encode(make_record()))
    for name in ("provider_model", "service_tier", "cost_source", "provider_cost_micro_usd", "queued_ms", "choices"):
        del line[name]
    del line["usage"]["web_searches"]
    message = json.loads(message_of(json.dumps(line).encode()).value)
    jsonschema.validate(message, schema())
    assert message["queued_ms"] is None
    assert message["web_searches"] == 0
