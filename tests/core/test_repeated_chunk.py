"""A chunk that comes again with another text is known by the bytes around it, and by nothing that only looks like them."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crplugins.core.repeated_chunk import RepeatedChunk
from crplugins.core.sse import Event, Splitter
from crplugins.plugins.aliases.rename import Renaming
from crplugins.plugins.stream_usage import without_usage

OPENAI = (
    '{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1750000000,"model":"gpt-4o-mini-2024-07-18",'
    '"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":%s},"logprobs":null,'
    '"finish_reason":null}],"usage":null,"obfuscation":"%s"}'
)
AZURE = (
    '{"choices":[{"content_filter_results":{"hate":{"filtered":false}},"delta":{"content":%s},"finish_reason":null,'
    '"index":0,"logprobs":null}],"created":1750000000,"id":"c","model":"gpt-4o-2024","object":"chat.completion.chunk"}'
)
GROQ = (
    '{"id":"chatcmpl-2","object":"chat.completion.chunk","created":1750000000,"model":"llama-3.1-8b",'
    '"system_fingerprint":"fp_2","choices":[{"index":0,"delta":{"content":%s},"logprobs":null,"finish_reason":null}]}'
)
OPENROUTER = (
    '{"id":"gen-1","provider":"Groq","model":"meta-llama/llama-3.1-8b","object":"chat.completion.chunk",'
    '"created":1750000000,"choices":[{"index":0,"delta":{"role":"assistant","content":%s},"finish_reason":null,'
    '"native_finish_reason":null,"logprobs":null}]}'
)
VLLM = (
    '{"id":"chatcmpl-3","object":"chat.completion.chunk","created":1750000000,"model":"qwen","choices":[{"index":0,'
    '"delta":{"content":%s,"reasoning_content":null},"logprobs":null,"finish_reason":null}],"usage":null}'
)
SPACED = '{"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": %s}, "finish_reason": null}]}'
FORMS = (OPENAI, AZURE, GROQ, OPENROUTER, VLLM, SPACED)


def chunk(form: str, text: str, padding: str = "x") -> bytes:
    return said(form, json.dumps(text, ensure_ascii=False), padding)


def said(form: str, literal: str, padding: str = "x") -> bytes:
    words = (literal, padding) if form.count("%s") > 1 else (literal,)
    return b"data: " + (form % words).encode("utf-8", "surrogatepass") + b"\n\n"


def events(raw: bytes) -> list[Event]:
    return Splitter().feed(raw)


def changed(event: Event) -> Event:
    """As plugins change it for a client that asked for `fast` and for no usage."""
    renamed = Renaming("fast", ["m"]).event(event)
    shown = without_usage(renamed) if b"usage" in (renamed.data or b"") else renamed
    assert shown is not None
    return shown


def passed(form: str, text: str = "Hello") -> RepeatedChunk:
    repeated = RepeatedChunk()
    [event] = events(chunk(form, text))
    assert repeated.has_passed(event, changed(event))
    return repeated


@pytest.mark.parametrize("form", FORMS)
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4))
@example(texts=['"', "\\", "\n", "usage", '"model":"x"', '"},"logprobs":null'])
@example(texts=["a", "data: b\n\n", "\u2028", "\U0001f600"])
def test_what_comes_again_says_and_becomes_what_it_would_have_if_it_had_been_read(form: str, texts: list[str]) -> None:
    repeated = passed(form)
    piece = b"".join(chunk(form, text, "y" * place or "z") for place, text in enumerate(texts))
    assert repeated.read(piece)
    assert repeated.piece is piece
    assert list(repeated.texts) == texts
    expected = [changed(event) for event in events(piece)]
    assert [event.text for event in events(repeated.outward)] == texts
    for shown, other in zip(events(repeated.outward), expected, strict=True):
        assert json.loads(shown.data or b"") == json.loads(other.data or b"")


@pytest.mark.parametrize("form", FORMS)
@given(literal=st.one_of(st.binary(max_size=12), st.text(max_size=8).map(lambda t: json.dumps(t).encode())))
@example(literal=b'"a"\r')
@example(literal=b'"a"\n\n')
@example(literal=b' "a"')
@example(literal=b'"a\n\nb"')
@example(literal=b'"a","b":"c"')
@example(literal=b'"a"},"finish_reason":"stop","x":{"y":"b"')
@example(literal=b'""')
@example(literal=b'"')
@example(literal=b"null")
@example(literal=b'"\\ud83d"')
@example(literal=b'"\xff"')
def test_whatever_stands_in_the_place_of_the_text_is_known_only_if_it_is_a_text(form: str, literal: bytes) -> None:
    repeated = passed(form)
    before, _, behind = chunk(form, "\0").partition(b'"\\u0000"')
    piece = before + literal + behind
    if repeated.read(piece):
        [event] = events(piece)
        assert event.text == repeated.texts[0]
        assert event.raw == piece
        assert events(repeated.outward)[0].text == event.text


@pytest.mark.parametrize("form", FORMS)
def test_a_chunk_that_differs_in_more_than_its_text_is_another(form: str) -> None:
    repeated = passed(form)
    whole = chunk(form, "more")
    for other in (
        form.replace("1750000000", "1750000001").replace('"c"', '"d"'),
        form.replace('"finish_reason":null', '"finish_reason":"stop"').replace(": null", ': "stop"'),
        form.replace('"index":0', '"index":1').replace('"index": 0', '"index": 1'),
    ):
        assert other != form
        assert not repeated.read(chunk(other, "more"))
        assert not repeated.read(whole + chunk(other, "more"))
    for piece in (whole[:-1], whole[:-2], whole[1:], whole + b"\n", whole + whole[:40], b": comment\n\n" + whole, b""):
        assert not repeated.read(piece)
    assert repeated.read(whole)


def test_padding_is_letters_and_nothing_else() -> None:
    repeated = passed(OPENAI)
    assert repeated.read(chunk(OPENAI, "more", "abc123"))
    assert repeated.read(chunk(OPENAI, "more", ""))
    for padding in ('","usage":{"prompt_tokens":1},"x":"a', "a b", "\\n"):
        assert not repeated.read(chunk(OPENAI, "more", padding))


def test_the_chunk_before_is_forgotten_by_one_that_says_no_text() -> None:
    repeated = passed(GROQ)
    [end] = events(b'data: {"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n')
    assert not repeated.has_passed(end, end)


def test_a_text_that_does_not_stand_under_its_own_key_is_not_learned() -> None:
    repeated = RepeatedChunk()
    form = '{"note":{"content":%s},"model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}'
    [event] = events(chunk(form, "a"))
    assert event.text == "a"
    assert not repeated.has_passed(event, event)


def test_a_stream_none_of_whose_chunks_comes_again_is_soon_no_longer_learned() -> None:
    repeated = RepeatedChunk()
    known = []
    for number in range(10):
        [event] = events(chunk(GROQ.replace("chatcmpl-2", f"chatcmpl-{number}x"), "word"))
        known.append(repeated.has_passed(event, event))
    assert known[0]
    assert not any(known[4:])


def test_a_stream_whose_head_changes_now_and_then_is_learned_anew_each_time() -> None:
    repeated = RepeatedChunk()
    for second in range(20):
        form = GROQ.replace("1750000000", str(second))
        [event] = events(chunk(form, "word"))
        assert repeated.has_passed(event, event)
        assert repeated.read(chunk(form, " more"))
