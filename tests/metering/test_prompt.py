"""How many tokens a prompt is taken to have."""

import base64
import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.dialects import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGES,
    MESSAGES,
    MODERATIONS,
    RERANK,
    RESPONSES,
    SPEECH,
    Dialect,
)
from crplugins.metering.estimate import demand_of, prompt_tokens
from crplugins.metering.prompt import MOST_PARTS, prompt_of
from tests.core.test_media import jpeg, png, wav
from tests.litellm_setup import make_exchange


def url(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def picture(data: bytes, **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url(data), **more}}


def tokens(content: Any, model: str = "gpt-4o", *, ascii_only: bool = False, **more: Any) -> int:
    exchange = make_exchange()
    document = {"model": model, "messages": [{"role": "user", "content": content}], **more}
    exchange.body = Body(json.dumps(document, ensure_ascii=ascii_only).encode())
    return prompt_tokens(exchange)


EMPTY = tokens([{"type": "text", "text": ""}])


def test_text_counts_a_token_for_four_characters_and_tools_too() -> None:
    assert tokens("x" * 4000) - tokens("") == 1000
    tools = [{"type": "function", "function": {"name": "ping", "description": "x" * 400}}]
    assert 100 <= tokens("", tools=tools) - tokens("") <= 130


@pytest.mark.parametrize("text", ["Встречу перенесли на четверг", "会议改到星期四", "🎉🚀", "déjà vu"])
def test_it_does_not_matter_whether_a_client_escapes_characters(text: str) -> None:
    plain, escaped = tokens(text * 20), tokens(text * 20, ascii_only=True)
    assert escaped == pytest.approx(plain, rel=0.4)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        (picture(png(1024, 1024) + bytes(10**6)), 765),
        (picture(jpeg(2048, 4096)), 1105),
        (picture(jpeg(2048, 4096), detail="low"), 85),
        ({"type": "image_url", "image_url": url(png(1024, 1024))}, 765),
        ({"type": "image_url", "image_url": {"url": "https://127.0.0.1:1/x.png"}}, 765),
        ({"type": "image_url", "image_url": {"url": "nonsense"}}, 765),
        ({"type": "image_url", "image_url": 7}, 765),
        ({"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(6)).decode(), "format": "wav"}}, 61),
        ({"type": "file", "file": {"file_data": url(bytes(10**5)), "filename": "a.pdf"}}, 1000),
        ({"type": "image", "source": {"type": "base64", "data": base64.b64encode(png(1024, 1024)).decode()}}, 765),
    ],
)
def test_an_attachment_counts_by_its_rule_and_not_by_its_bytes(part: dict[str, Any], expected: int) -> None:
    assert expected - 2 <= tokens([part]) - EMPTY + 8 <= expected + 10


def test_the_rule_is_that_of_the_model_which_serves() -> None:
    assert tokens([picture(png(1000, 1000))], "claude-sonnet-4-5") == tokens([picture(png(1000, 1000))]) - 765 + 1334


def test_speech_in_a_prompt_is_told_apart() -> None:
    exchange = make_exchange()
    part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(6)).decode(), "format": "wav"}}
    exchange.body = Body(json.dumps({"messages": [{"role": "user", "content": [part]}]}).encode())
    prompt = prompt_of(exchange)
    assert prompt is not None
    assert prompt.tokens_of("audio", "gpt-4o-audio-preview") == 61


def test_a_thought_in_the_history_is_no_attachment() -> None:
    thought = {"type": "thinking", "thinking": "x" * 400, "signature": "image_url"}
    assert tokens([thought, {"type": "text", "text": '"image_url"'}]) < 200


def test_messages_that_a_plugin_writes_are_read_again() -> None:
    exchange = make_exchange()
    exchange.body = Body(b'{"messages":[{"role":"user","content":"hi"}]}')
    before = prompt_tokens(exchange)
    exchange.body.set("messages", [{"role": "user", "content": "x" * 400}])
    assert prompt_tokens(exchange) > before + 90


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=10),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["type", "image_url", "url", "detail", "file", "source", "data", "x"]),
                inner,
                max_size=3,
            )
        ),
    )
)
def test_nonsense_in_messages_never_fails(content: Any) -> None:
    assert tokens([content, {"type": "image_url", "image_url": "x"}]) > 0
    assert tokens(content) > 0


def calls_of(content: Any) -> int:
    """Function calls that an estimate makes, in Python and in C."""
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    exchange = make_exchange()
    exchange.body = Body(json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode())
    assert exchange.body.fields  # read already, by whoever comes first
    sys.setprofile(note)
    try:
        prompt_tokens(exchange)
    finally:
        sys.setprofile(None)
    return count


def test_the_work_does_not_grow_with_the_size_of_a_text_or_a_picture() -> None:
    assert calls_of("x" * 8_000_000) == calls_of("x" * 80)
    assert calls_of([picture(png(9, 9) + bytes(6_000_000))]) == calls_of([picture(png(9, 9))])


def test_no_more_than_so_many_parts_are_looked_at() -> None:
    part = {"type": "image_url", "image_url": "x"}
    more, most = calls_of([part] * (10 * MOST_PARTS)), calls_of([part] * (2 * MOST_PARTS))
    assert more == pytest.approx(most, rel=0.01)


def test_what_several_plugins_ask_for_is_read_once() -> None:
    exchange = make_exchange()
    exchange.body = Body(b'{"messages":[{"role":"user","content":"hi"}]}')
    assert prompt_of(exchange) is prompt_of(exchange)


TEXT = "x" * 4000


@pytest.mark.parametrize(
    ("dialect", "more"),
    [
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "description": TEXT}}]}),
        (CHAT, {"functions": [{"name": "f", "description": TEXT}]}),
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "description": TEXT}}}),
        (CHAT, {"prediction": {"type": "content", "content": TEXT}}),
        (CHAT, {"documents": [{"text": TEXT}]}),  # these of vLLM
        (CHAT, {"chat_template": TEXT}),
        (CHAT, {"chat_template_kwargs": {"system": TEXT}}),
        (MESSAGES, {"system": TEXT}),
        (MESSAGES, {"output_config": {"format": {"type": "json_schema", "schema": {"description": TEXT}}}}),
    ],
)
def test_all_counts_that_a_provider_reads_as_input(dialect: Dialect, more: dict[str, Any]) -> None:
    """Who leaves before the provider has counted pays for what is counted here."""
    exchange = make_exchange()
    exchange.dialect = dialect
    exchange.body = Body(json.dumps({"messages": [{"role": "user", "content": "hi"}], **more}).encode())
    assert 1000 <= prompt_tokens(exchange) <= 1050


def responses_tokens(given: Any, **more: Any) -> int:
    exchange = make_exchange()
    exchange.dialect = RESPONSES
    exchange.body = Body(json.dumps({"model": "gpt-4o", "input": given, **more}).encode())
    return prompt_tokens(exchange)


def test_the_input_of_a_response_counts_in_each_of_its_forms() -> None:
    assert responses_tokens("x" * 4000) - responses_tokens("") == 1000
    assert responses_tokens("", instructions="x" * 4000) - responses_tokens("") >= 1000
    image = png(1024, 1024)
    in_chat = tokens([picture(image)]) - EMPTY
    parts = {
        "message": {"role": "user", "content": [{"type": "input_image", "image_url": url(image)}]},
        "output of a function": {
            "type": "function_call_output",
            "output": [{"type": "input_image", "image_url": url(image)}],
        },
        "screenshot": {
            "type": "computer_call_output",
            "output": {"type": "computer_screenshot", "image_url": url(image)},
        },
        "picture": {"type": "image_generation_call", "result": base64.b64encode(image + bytes(100_000)).decode()},
    }
    for name, item in parts.items():
        assert abs(responses_tokens([item]) - responses_tokens([{}]) - in_chat) < 60, name
    low = {"role": "user", "content": [{"type": "input_image", "image_url": url(image), "detail": "low"}]}
    assert responses_tokens([low]) < responses_tokens([parts["message"]])
    file = {"role": "user", "content": [{"type": "input_file", "file_data": url(bytes(100_000)), "filename": "a.pdf"}]}
    assert responses_tokens([file]) - responses_tokens([{}]) < 1100


def test_a_response_without_input_has_the_prompt_that_is_known() -> None:
    exchange = make_exchange()
    exchange.dialect = RESPONSES
    exchange.body = Body(b'{"model":"m","previous_response_id":"resp_1"}')
    assert prompt_tokens(exchange) == 0
    exchange.body = Body(b'{"model":"m","prompt":{"id":"pmpt_1","variables":{"a":"%s"}}}' % (b"x" * 400))
    assert prompt_tokens(exchange) > 100


PNG = base64.b64encode(png(1024, 1024) + bytes(10**5)).decode()
DATA = f"data:image/png;base64,{PNG}"
SHOWN = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
IN_OTHER_DIALECTS: list[tuple[Dialect, dict[str, Any], int]] = [
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": DATA}]}]}, 765),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_data": DATA}]}]}, 1000),
    (RESPONSES, {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}]}, 1000),
    (RESPONSES, {"input": [{"type": "function_call_output", "call_id": "c", "output": [
        {"type": "input_text", "text": "here"}, {"type": "input_image", "image_url": DATA},
    ]}]}, 765),
    (RESPONSES, {"input": [{"type": "computer_call_output", "call_id": "c", "output": {
        "type": "computer_screenshot", "image_url": DATA,
    }}]}, 765),
    (RESPONSES, {"input": [{"type": "image_generation_call", "id": "ig_1", "result": PNG}]}, 765),
    (MESSAGES, {"messages": [{"role": "user", "content": [SHOWN]}]}, 765),
    (MESSAGES, {"messages": [{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "see"}, SHOWN]},
    ]}]}, 765),
    (MESSAGES, {"messages": [{"role": "user", "content": [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PNG}},
    ]}]}, 1000),
    (MODERATIONS, {"input": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": DATA}}]}, 765),
    (EMBEDDINGS, {"input": [{"text": "see"}, {"image": DATA}]}, 765),
    (EMBEDDINGS, {"input": [{"image": PNG}, {"image": "https://example.org/a.png"}]}, 1530),
    (EMBEDDINGS, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": DATA}}]}]}, 765),
    (RERANK, {"query": "q", "documents": [{"image": DATA}]}, 765),
    (RERANK, {"query": "q", "documents": {"content": [{"type": "image_url", "image_url": {"url": DATA}}]}}, 765),
    (RERANK, {"query": "q", "documents": [{"image": "word " * 800}, {"image": "x", "text": "word " * 800}]}, 2010),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "asks", "expected"), IN_OTHER_DIALECTS)
def test_attachments_count_by_their_rule_in_every_dialect(
    dialect: Dialect, asks: dict[str, Any], expected: int
) -> None:
    exchange = make_exchange()
    exchange.dialect, exchange.served_model = dialect, "gpt-4o"
    exchange.body = Body(json.dumps(asks).encode())
    assert expected <= prompt_tokens(exchange) <= expected + 60


def test_a_document_that_is_written_out_counts_as_text() -> None:
    exchange = make_exchange()
    exchange.dialect = MESSAGES
    block = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "words " * 4000}}
    exchange.body = Body(json.dumps({"messages": [{"role": "user", "content": [block]}]}).encode())
    assert prompt_tokens(exchange) > 3500


@pytest.mark.parametrize(("dialect", "asks", "expected"), [
    (EMBEDDINGS, {"input": [123456] * 500}, 500), (EMBEDDINGS, {"input": [[123456] * 250, [7] * 250]}, 500),
    (COMPLETIONS, {"prompt": [123456] * 500}, 500), (COMPLETIONS, {"prompt": [[1, 2], [3]]}, 3),
    (COMPLETIONS, {"prompt": "x", "suffix": "y" * 400}, 100), (RERANK, {"query": "a" * 40, "documents": ["b" * 400]}, 110),
    (SPEECH, {"input": "word " * 100}, 100), (IMAGES, {"prompt": "word " * 100}, 100),
])  # fmt: skip
def test_what_is_read_in_other_dialects_is_weighed_and_numbers_of_tokens_are_tokens(
    dialect: Dialect, asks: dict[str, Any], expected: int
) -> None:
    exchange = make_exchange()
    exchange.dialect = dialect
    exchange.body = Body(json.dumps(asks).encode())
    assert expected * 0.7 <= prompt_tokens(exchange) <= expected * 1.35 + 10
    assert demand_of(exchange, 1024).output == (
        1024 * len(asks["prompt"][:2]) if asks.get("prompt") == [[1, 2], [3]] else 1024 if dialect is COMPLETIONS else 0
    )


SQUARE = url(png(1024, 1024))


def edit(**members: Any) -> tuple[int, int]:
    """The tokens of an edit, and those of its pictures."""
    exchange = make_exchange()
    exchange.dialect = IMAGE_EDITS
    exchange.body = Body(json.dumps({"model": "m", "prompt": "x" * 400, **members}).encode())
    prompt = prompt_of(exchange)
    assert prompt is not None
    return prompt.tokens("m"), prompt.tokens_of("image", "m")


@pytest.mark.parametrize(
    ("members", "pictures"),
    [
        ({"images": [{"image_url": SQUARE}, {"file_id": "f"}]}, 2),
        ({"images": [{"image_url": {"url": SQUARE}}], "mask": {"image_url": SQUARE}}, 2),
        ({"image": {"url": SQUARE, "type": "image_url"}}, 1),  # xAI's
        ({"image": [SQUARE, "https://example.org/a.png"]}, 2),
        ({"images": [], "mask": None, "image": [None]}, 0),
        ({"images": 5, "mask": [[[]]]}, 2),
        ({}, 0),
    ],
)
def test_pictures_to_be_edited_count_by_their_size_and_not_by_their_length(
    members: dict[str, Any], pictures: int
) -> None:
    whole, seen = edit(**members)
    assert seen == 1399 * pictures
    assert 100 <= whole - seen <= 110


def test_of_more_pictures_than_any_provider_takes_the_rest_counts_as_text() -> None:
    few, many = edit(images=[{}] * MOST_PARTS), edit(images=[{}] * (4 * MOST_PARTS))
    assert few[1] == many[1] == 1399 * MOST_PARTS
    assert few[0] < many[0] < few[0] + 4 * MOST_PARTS


def test_what_an_edit_attaches_is_read_once_and_anew_if_a_plugin_writes_another() -> None:
    exchange = make_exchange()
    exchange.dialect = IMAGE_EDITS
    exchange.body = Body(json.dumps({"model": "m", "images": [{"image_url": SQUARE}]}).encode())
    read = prompt_of(exchange)
    exchange.body.set("model", "other")
    assert prompt_of(exchange) is read
    exchange.body.set("images", [])
    assert prompt_of(exchange) != read
