"""RequestGuard against generated requests: all the description allows pass, and none breaks it."""

import contextlib
import copy

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crplugins.plugins.guard.checks import closed
from crplugins.plugins.guard.messages import ChatMessages
from crplugins.plugins.guard.parameters import ORDINARY_TOOLS, PARAMETERS
from crplugins.schema import openapi_document
from tests.long import times
from tests.plugins.guard.setup import check, with_changes
from tests.schema.samples import CALL, CALLED, EVERYTHING, RESULT

SCHEMAS = openapi_document(title="crplugins", version="1")["components"]["schemas"]
REQUEST = SCHEMAS["ChatCompletionRequest"]["properties"]

texts = st.text(max_size=8)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def strings(schema: dict) -> st.SearchStrategy:
    if "pattern" in schema:
        return st.text("abc_-9", min_size=schema.get("minLength", 0), max_size=schema.get("maxLength"))
    return st.text(min_size=schema.get("minLength", 0), max_size=min(schema.get("maxLength", 9), 80))


def arrays(schema: dict) -> st.SearchStrategy:
    low = schema.get("minItems", 0)
    return st.lists(valid(schema["items"]), min_size=low, max_size=min(schema.get("maxItems", 9), low + 2))


def objects(schema: dict) -> st.SearchStrategy:
    if "properties" not in schema:
        names = st.text(max_size=min(schema.get("propertyNames", {}).get("maxLength", 9), 64))
        values = schema.get("additionalProperties")
        most = min(schema.get("maxProperties", 3), 3)
        return st.dictionaries(names, valid(values) if isinstance(values, dict) else anything, max_size=most)
    required = schema.get("required", ())
    members = {name: valid(member) for name, member in schema["properties"].items()}
    return st.fixed_dictionaries(
        {name: members[name] for name in required},
        optional={name: member for name, member in members.items() if name not in required},
    )


BY_TYPE = {
    "null": lambda _: st.none(),
    "boolean": lambda _: st.booleans(),
    "integer": lambda schema: st.integers(schema.get("minimum"), schema.get("maximum")),
    "number": lambda schema: st.floats(schema.get("minimum"), schema.get("maximum")) | st.just(schema["maximum"]),
    "string": strings,
    "array": arrays,
    "object": objects,
}


def valid(schema: dict) -> st.SearchStrategy:
    """Values that fit a schema of the document."""
    if "$ref" in schema:
        return st.deferred(lambda: valid(SCHEMAS[schema["$ref"].rpartition("/")[2]]))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        return st.one_of([valid(branch) for branch in branches])
    return BY_TYPE[schema["type"]](schema) if "type" in schema else anything


def in_order(messages: list[dict]) -> list[dict]:
    """The messages without results of tools nobody called, which no schema can forbid."""
    kept: list[dict] = []
    for message in messages:
        called = kept and (
            kept[-1]["role"] == "tool" or (kept[-1]["role"] == "assistant" and kept[-1].get("tool_calls"))
        )
        if message["role"] != "tool" or called:
            kept.append(message)
    return kept


def on_its_own(name: str, value: object) -> dict:
    """A request with one more parameter, and the one it depends on."""
    beside = {"top_logprobs": {"logprobs": True}, "stream_options": {"stream": True}}.get(name, {})
    return with_changes(**{name: value}, **beside)


@pytest.mark.parametrize("name", PARAMETERS)
@settings(max_examples=times(15, 1_000))
@given(st.data())
def test_every_value_the_description_allows_passes(name, data):
    assert check(on_its_own(name, data.draw(valid(REQUEST[name])))) is None


@given(st.lists(valid(REQUEST["messages"]["items"]), min_size=1, max_size=4).map(in_order).filter(bool))
def test_every_conversation_the_description_allows_passes(messages):
    assert check({"model": "m", "messages": messages}) is None


def spoilt(value: object, draw: st.DrawFn) -> object:
    """A copy of `value` in which one place, anywhere, holds something else."""
    value = copy.deepcopy(value)
    places: list[tuple] = []

    def collect(node: object) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, inner in items:
            places.append((node, key))
            collect(inner)

    collect(value)
    node, key = draw(st.sampled_from(places))
    node[key] = draw(anything)
    return value


@st.composite
def nearly_valid(draw: st.DrawFn) -> dict:
    return spoilt(EVERYTHING, draw)


@settings(max_examples=times(300, 20_000))
@given(nearly_valid(), st.booleans())
def test_one_wrong_value_anywhere_is_refused_or_harmless(request_, strict):
    error = check(request_, strict=strict)
    assert error is None or error.status == 400


documents = st.dictionaries(st.sampled_from(["model", "messages", "x", *PARAMETERS]), anything, max_size=6)
members = ["role", "content", "tool_calls", "tool_call_id", "name", "function_call", "audio", "refusal"]
odd_messages = st.lists(
    st.dictionaries(st.sampled_from(members), anything | st.sampled_from(["user", "tool", "assistant"]), max_size=4),
    max_size=3,
)


@given(documents, st.booleans())
def test_no_document_breaks_the_guard(document, strict):
    error = check(document, strict=strict)
    assert error is None or error.status == 400


@given(odd_messages, st.booleans())
def test_no_messages_break_the_guard(items, strict):
    error = check({"model": "m", "messages": items}, strict=strict)
    assert error is None or (error.status == 400 and error.error.param.startswith("messages"))


@given(st.binary(max_size=60))
def test_no_bytes_break_the_guard(raw):
    assert check(raw).status == 400
    for nested in (
        b'"messages":[{"role":"user","content":"%b"}]',
        b'"messages":[%b]',
        b'"stop":"%b"',
        b'"metadata":%b',
    ):
        error = check(b'{"model":"m",' + nested.replace(b"%b", raw) + b"}")
        assert error is None or error.status == 400


ordinary_messages = [
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "u"}}]},
    CALLED | {"name": None, "refusal": None, "function_call": None, "audio": None},
    RESULT | {"name": "f"},
    {"role": "assistant", "content": "x", "tool_calls": None},
    {"role": "user", "content": None, "tool_calls": [CALL]},
]


@st.composite
def nearly_ordinary(draw: st.DrawFn) -> bytes:
    messages = draw(st.lists(st.sampled_from(ordinary_messages), min_size=1, max_size=4))
    return msgspec.json.encode(spoilt(messages, draw) if draw(st.booleans()) else messages)


@settings(max_examples=times(200, 20_000))
@given(nearly_ordinary(), st.booleans())
def test_what_the_quick_look_accepts_the_thorough_one_accepts(raw, strict):
    messages = ChatMessages(strict=strict)
    if messages._is_ordinary(msgspec.Raw(raw)):
        messages._check_each(raw)


@st.composite
def nearly_ordinary_tools(draw: st.DrawFn) -> bytes:
    tools = [{"type": "function", "function": {"name": "f", "description": None, "parameters": {}, "strict": True}}] * 2
    return msgspec.json.encode(spoilt(tools, draw))


@settings(max_examples=times(100, 20_000))
@given(nearly_ordinary_tools())
def test_tools_that_pass_at_a_look_pass_the_strictest_check(raw):
    with contextlib.suppress(msgspec.DecodeError):
        ORDINARY_TOOLS.decode(raw)
        closed(PARAMETERS["tools"]).check("tools", raw)
