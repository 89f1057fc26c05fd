"""What an answer says counts, and not the JSON around it: the same for each chunk and for the whole."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.said import TOKENS_PER_CALL, Said, weight, weight_of_json
from crplugins.core.wire import read_answer

ENVELOPE = {"id": "chatcmpl-0123456789", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def heard(*deltas: dict[str, Any], place: str = "delta") -> Said:
    said = Said()
    for delta in deltas:
        answer = read_answer(json.dumps({**ENVELOPE, "choices": [{"index": 0, place: delta}]}).encode())
        said.hear(answer.choices or ())
    return said


def call(arguments: Any = None, name: str | None = None, id_: str | None = None, index: int = 0) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": id_, "type": "function", "function": function}]}


@pytest.mark.parametrize(
    "delta",
    [
        {"role": "assistant"},
        {"content": ""},
        {"content": None, "tool_calls": None},
        {"tool_calls": []},
        {"content": []},
    ],
)
def test_the_role_alone_says_nothing(delta: dict[str, Any]) -> None:
    assert not heard(delta)
    assert heard(delta).tokens() == 0


def test_a_stream_with_a_token_in_each_chunk_has_as_many_tokens() -> None:
    words = ["The", " meeting", " starts", " at", " nine", ",", " not", " ten", "."]
    assert heard(*({"content": word} for word in words)).tokens() == len(words)


def test_a_whole_answer_has_a_token_for_four_characters() -> None:
    assert heard({"content": "x" * 400}, place="message").tokens() == 100
    assert heard(*({"content": "x" * 40} for _ in range(10))).tokens() == 100


def test_a_stream_of_single_characters_has_no_token_for_each() -> None:
    assert heard(*({"content": letter} for letter in "abcd" * 100)).tokens() == 200


def test_a_streamed_tool_call_counts_its_name_and_arguments() -> None:
    pieces = ['{"', "path", '":"', "src", "/main", ".py", '"}'] * 50
    said = heard(call("", "open_file", "call_7f"), *(call(piece) for piece in pieces))
    assert said.tokens() == len(pieces) + 1 + TOKENS_PER_CALL


def test_a_whole_tool_call_is_the_same_in_a_chunk_and_in_a_message() -> None:
    whole = call(json.dumps({"path": "src/main.py", "lines": [1, 200]}), "open_file", "call_7f")
    assert heard(whole).tokens() == heard(whole, place="message").tokens() == 13 + TOKENS_PER_CALL


@pytest.mark.parametrize("id_", [None, "", "call_7f"])
def test_a_name_that_is_repeated_on_each_fragment_counts_once(id_: str | None) -> None:
    fragments = [call("abcd", "open_file", id_) for _ in range(40)]
    once = heard(call("abcd", "open_file", id_), *(call("abcd") for _ in range(39)))
    assert heard(*fragments).tokens() == once.tokens()


def test_each_of_parallel_calls_counts_though_all_have_one_index() -> None:
    calls = [call("{}", "ping", f"call_{number}") for number in range(3)]
    assert heard(*calls).tokens() >= 3 * TOKENS_PER_CALL


@pytest.mark.parametrize(
    "delta",
    [
        {"function_call": {"name": "ping", "arguments": "{}" * 20}},
        call({"a": "x" * 30}, "ping"),  # the object itself
        {"tool_calls": [{"custom": {"name": "ping", "input": "x" * 40}}]},
    ],
)
def test_other_forms_of_a_call_count_too(delta: dict[str, Any]) -> None:
    assert 10 + TOKENS_PER_CALL <= heard(delta).tokens() <= 12 + TOKENS_PER_CALL


@pytest.mark.parametrize(
    "delta",
    [
        {"refusal": "x" * 40},
        {"reasoning_content": "x" * 40},
        {"reasoning": "x" * 40},
        {"reasoning": "x" * 40, "reasoning_content": "x" * 40},  # the same under two names
        {"thinking_blocks": [{"type": "thinking", "thinking": "x" * 40, "signature": "s" * 4000}]},
        {"thinking_blocks": [{"thinking": "x" * 40}], "reasoning_content": "x" * 40},
        {"reasoning_details": [{"type": "reasoning.text", "text": "x" * 40, "signature": "s" * 4000}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "x" * 40}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "x" * 40}], "closed": True}]},
        {"content": [{"type": "text", "text": "x" * 20}, {"type": "text", "text": "x" * 20}]},
        {"audio": {"id": "audio_1", "transcript": "x" * 40, "expires_at": 1}},
    ],
)
def test_what_is_thought_refused_or_spoken_counts_as_text_and_once(delta: dict[str, Any]) -> None:
    assert heard(delta).tokens() == 10


def test_speech_counts_by_the_second_and_not_by_its_base64() -> None:
    second = "A" * 64_000  # of pcm16: 48,000 bytes
    assert heard({"audio": {"data": second}}).tokens() == 20
    assert heard(*({"audio": {"data": second[:16_000]}} for _ in range(4))).tokens() == 20


def test_a_picture_in_an_answer_counts_as_one() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    assert heard({"images": [picture, picture]}).tokens() == 2 * 1290


def test_every_choice_counts() -> None:
    answer = read_answer(
        json.dumps({"choices": [{"index": i, "delta": {"content": " yes"}} for i in range(3)]}).encode()
    )
    said = Said()
    assert said.hear(answer.choices or ())
    assert said.tokens() == 3


def test_what_was_said_after_a_mark_counts_by_itself() -> None:
    said = heard({"content": "x" * 40})
    mark = said.mark()
    said.hear(read_answer(json.dumps({"choices": [{"delta": {"content": "y" * 80}}]}).encode()).choices or ())
    assert (said.tokens(), said.tokens(mark)) == (30, 20)


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("会议改到星期四,因为有两位工程师正在出差。请在来之前阅读会议记录。", 23, 33),  # of o200k and cl100k
        ("Встречу перенесли на четверг, потому что двое инженеров в командировке.", 19, 36),
        ("बैठक गुरुवार को रखी गई है क्योंकि दो इंजीनियर यात्रा पर हैं।", 19, 67),
        ("The meeting has been moved to Thursday because two engineers are travelling.", 13, 20),
    ],
)
def test_other_scripts_have_weights_of_their_own(text: str, least: int, most: int) -> None:
    assert least <= heard({"content": text}, place="message").tokens() <= most


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"))))
def test_the_weight_of_a_text_does_not_depend_on_its_pieces(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert weight(whole) == sum(map(weight, pieces)) == weight_of_json(whole.encode())
    assert 3 * len(whole) <= weight(whole) <= 14 * len(whole)


def test_an_escaped_backslash_before_a_u_is_no_escaped_character() -> None:
    path = rb'"C:\\users"'
    assert weight_of_json(path) == 3 * len(path)
    assert weight_of_json(rb'"\u4e2d"') == 3 * len('""') + weight("中")


def test_half_a_surrogate_pair_weighs_something() -> None:
    assert weight("\ud83d") > 0


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["text", "thinking", "function", "name", "arguments", "id", "index", "data", "x"]),
            inner,
            max_size=4,
        )
    ),
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["content", "refusal", "reasoning", "thinking_blocks", "tool_calls", "function_call", "audio", "images"]
        ),
        json_values,
    )
)
def test_nonsense_in_the_place_of_words_never_fails(delta: dict[str, Any]) -> None:
    assert 0 <= heard(delta).tokens() < 10**5


@pytest.mark.parametrize(
    "delta", [{"content": ["x"] * 200_000}, {"content": [[["x"] * 500] * 20] * 20}, {"tool_calls": [{}] * 200_000}]
)
def test_a_crowd_of_parts_is_not_looked_at_one_by_one(delta: dict[str, Any]) -> None:
    choices = read_answer(json.dumps({"choices": [{"delta": delta}]}).encode()).choices or ()
    calls = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    said = Said()
    sys.setprofile(note)
    try:
        said.hear(choices)
    finally:
        sys.setprofile(None)
    assert calls < 10_000
    assert said.tokens() > 1000


class Counted:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1


@pytest.mark.parametrize("piece", ["a", "word ", "word " * 5, "\u6f22", "\u6f22\u5b57" * 40, "x" * 5_000])
@pytest.mark.parametrize("tokens", [1, 10, 700])
def test_a_call_comes_with_the_piece_that_says_the_last_of_so_many_tokens_and_once(piece: str, tokens: int) -> None:
    said, counted = Said(), Counted()
    choices = read_answer(json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}).encode()).choices or ()
    said.call_at(tokens, counted)
    while said.tokens() < tokens:
        assert counted.calls == 0
        said.hear(choices)
    assert counted.calls == 1
    for _ in range(100):
        said.hear(choices)
    assert counted.calls == 1


def test_several_calls_wait_for_their_own_tokens_and_one_may_ask_for_another() -> None:
    said, calls = Said(), []
    choices = read_answer(json.dumps({"choices": [{"index": 0, "delta": {"content": "word"}}]}).encode()).choices or ()

    def again() -> None:
        calls.append(("again", said.tokens()))
        said.call_at(said.tokens() + 10, again)

    said.call_at(5, again)
    said.call_at(12, lambda: calls.append(("once", said.tokens())))
    for _ in range(40):
        said.hear(choices)
    assert calls == [("again", 5), ("once", 12), ("again", 15), ("again", 25), ("again", 35)]


def test_a_stream_that_says_no_more_than_was_expected_is_looked_at_a_few_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk costs one comparison; each look halves what is missing."""
    looks = Counted()
    tokens = Said.tokens

    def counting(said: Said, *after: Any) -> int:
        looks()
        return tokens(said, *after)

    monkeypatch.setattr(Said, "tokens", counting)
    said = Said()
    said.call_at(1_024, Counted())
    choices = read_answer(json.dumps({"choices": [{"index": 0, "delta": {"content": "word"}}]}).encode()).choices or ()
    for _ in range(1_000):
        said.hear(choices)
    assert looks.calls < 20
