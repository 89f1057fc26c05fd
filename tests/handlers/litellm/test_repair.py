"""StreamRepair: any provider's chunks in, OpenAI's exact chunks out."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from crplugins.core.sse import Splitter
from crplugins.handlers.litellm.finish import ProviderFailed
from crplugins.handlers.litellm.repair import StreamRepair


def chunk(
    delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **more: Any
) -> dict[str, Any]:
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c1", "created": 1700000000, "model": "m1", "choices": [choice], **more}


def repaired(*items: Any, usage: bool = False) -> list[dict[str, Any]]:
    """All chunks for `items`, `[DONE]` checked and left out."""
    repair = StreamRepair("fallback", shows_usage=usage)
    frames = b"".join(repair.frames(item) for item in items) + repair.end()
    events = Splitter().feed(frames)
    assert events[-1].is_done
    return [msgspec.json.decode(event.data or b"") for event in events[:-1]]


def test_a_chunk_is_openais_to_the_byte():
    repair = StreamRepair("fallback", shows_usage=True)
    repair.frames(chunk({"role": "assistant", "content": "a"}, system_fingerprint="fp_1"))
    assert (
        repair.frames(chunk({"content": "é"}))
        == (
            'data: {"id":"c1","object":"chat.completion.chunk","created":1700000000,"model":"m1","system_fingerprint":"fp_1",'
            '"choices":[{"index":0,"delta":{"content":"é"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
        ).encode()
    )


def test_the_first_delta_has_role_content_and_refusal_and_no_later_one_repeats_the_role():
    chunks = repaired(chunk({"content": "a"}), chunk({"role": "assistant", "content": "b"}), chunk({}, "stop"))
    assert [c["choices"][0]["delta"] for c in chunks] == [
        {"role": "assistant", "content": "a", "refusal": None},
        {"content": "b"},
        {},
    ]


def test_a_tool_answer_starts_with_null_content():
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    first = repaired(chunk({"tool_calls": [call]}))[0]["choices"][0]["delta"]
    assert first == {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def test_two_calls_of_one_chunk_get_a_chunk_each():
    made = [{"index": n, "id": f"call_{n}", "function": {"name": "f", "arguments": "{}"}} for n in range(2)]
    first, second, end = [c["choices"][0] for c in repaired(chunk({"content": "Hm", "tool_calls": made}, "tool_calls"))]
    assert [call["id"] for each in (first, second) for call in each["delta"]["tool_calls"]] == ["call_0", "call_1"]
    assert (first["delta"]["content"], second["delta"].keys()) == ("Hm", {"tool_calls"})
    assert (end["delta"], end["finish_reason"]) == ({}, "tool_calls")


def test_a_finish_reason_beside_text_gets_a_chunk_of_its_own_with_an_empty_delta():
    chunks = repaired(chunk({"content": "a"}), chunk({"content": "b"}, "length"))
    assert [(c["choices"][0]["delta"].get("content"), c["choices"][0]["finish_reason"]) for c in chunks] == [
        ("a", None),
        ("b", None),
        (None, "length"),
    ]


def test_each_index_has_its_own_role_and_one_finish():
    items = [chunk({"content": str(n)}, index=i) for n in range(2) for i in range(3)]
    items += [chunk({}, "stop", index=i) for i in range(3)] + [chunk({}, "stop", index=1)]
    choices = [c["choices"][0] for c in repaired(*items)]
    for index in range(3):
        mine = [c for c in choices if c["index"] == index]
        assert ["role" in c["delta"] for c in mine] == [True, False, False]
        assert [c["finish_reason"] for c in mine] == [None, None, "stop"]


def test_what_a_provider_sends_after_a_finish_reason_is_passed_on_and_the_finish_comes_last():
    chunks = repaired(chunk({"content": "a"}, "stop"), chunk({"content": "b"}, "length"), chunk({}, None))
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, "length"]
    assert [c["choices"][0]["delta"].get("content") for c in chunks] == ["a", "b", None]


@pytest.mark.parametrize("reason", ["", "null", None])
def test_these_are_no_finish_reasons(reason):
    repair = StreamRepair("m", shows_usage=False)
    repair.frames(chunk({"content": "a"}, reason))
    assert not repair.finished


@pytest.mark.parametrize("finish", ["stop", "tool_calls", None])
def test_a_choice_with_tool_calls_that_stops_waits_for_them(finish):
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    chunks = repaired(chunk({"tool_calls": [call]}, finish))
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_a_choice_with_tool_calls_that_is_cut_by_its_length_says_so():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a'}}
    assert repaired(chunk({"tool_calls": [call]}, "length"))[-1]["choices"][0]["finish_reason"] == "length"


def test_a_finish_is_added_where_a_provider_sends_only_its_end_mark():
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    assert repaired(chunk({"content": "a"}))[-1]["choices"][0] == {
        "index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop",
    }  # fmt: skip
    assert repaired(chunk({"tool_calls": [call]}))[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_id_created_and_model_stay_those_of_the_first_chunk():
    later = chunk({"content": "b"}) | {"id": "c2", "created": 1800000000, "model": "m2"}
    heads = {(c["id"], c["created"], c["model"]) for c in repaired(chunk({"content": "a"}), later, chunk({}, "stop"))}
    assert heads == {("c1", 1700000000, "m1")}


def test_a_first_chunk_without_choices_names_nothing():
    azure = {"id": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": []}
    chunks = repaired(azure, chunk({"content": "a"}))
    assert {c["id"] for c in chunks} == {"c1"}


def test_missing_id_created_and_model_are_made_up_once():
    items = [{"choices": [{"delta": {"content": text}}]} for text in "abc"]
    heads = {(c["id"], c["created"], c["model"]) for c in repaired(*items)}
    assert len(heads) == 1
    answer_id, created, model = heads.pop()
    assert answer_id.startswith("chatcmpl-")
    assert created > 1700000000
    assert model == "fallback"


def test_a_float_created_becomes_an_integer():
    assert repaired(chunk({"content": "a"}) | {"created": 1700000000.75})[0]["created"] == 1700000000


def test_usage_is_on_one_chunk_without_choices_and_null_on_all_others():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    chunks = repaired(chunk({"content": "a"}, "stop", usage=usage), usage=True)
    assert [c["usage"] for c in chunks] == [None, None, usage]
    assert chunks[-1]["choices"] == []


def test_usage_on_every_chunk_is_reduced_to_the_last():
    usages = [{"prompt_tokens": 3, "completion_tokens": n, "total_tokens": 3 + n} for n in (1, 2)]
    chunks = repaired(*(chunk({"content": "a"}, usage=u) for u in usages), usage=True)
    assert [c["usage"] for c in chunks if c["usage"]] == usages[1:]


def test_a_client_that_did_not_ask_sees_no_usage_key():
    chunks = repaired(chunk({"content": "a"}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 2}))
    assert all("usage" not in c for c in chunks)
    assert all(c["choices"] for c in chunks)


def test_no_usage_chunk_is_made_up():
    assert [c["usage"] for c in repaired(chunk({"content": "a"}, "stop"), usage=True)] == [None, None]


def test_groqs_own_place_for_usage_is_read_once():
    groq = {"id": "req", "usage": {"prompt_tokens": 18, "completion_tokens": 73, "total_tokens": 91, "queue_time": 0.1}}
    chunks = repaired(chunk({"content": "a"}, "stop", x_groq=groq), usage=True)
    assert chunks[-1]["usage"] == {"prompt_tokens": 18, "completion_tokens": 73, "total_tokens": 91}
    assert all("x_groq" not in c for c in chunks)


def test_nothing_of_the_providers_own_passes():
    delta = {
        "content": "a",
        "provider_specific_fields": {"x": 1},
        "citations": None,
        "audio": None,
        "thinking_blocks": [],
    }
    [first, *_] = repaired(chunk(delta, provider="Amazon", citations=None, obfuscation="xxx", moderation=None))
    assert first.keys() == {"id", "object", "created", "model", "choices"}
    assert first["choices"][0].keys() == {"index", "delta", "logprobs", "finish_reason"}
    assert first["choices"][0]["delta"].keys() == {"role", "content", "refusal"}


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_is_kept_under_one_name(name):
    assert repaired(chunk({name: "hm"}))[0]["choices"][0]["delta"]["reasoning_content"] == "hm"


def test_an_array_of_parts_becomes_text_and_reasoning():
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    delta = repaired(chunk({"content": parts}))[0]["choices"][0]["delta"]
    assert (delta["content"], delta["reasoning_content"]) == ("a", "hm")


def test_a_refusal_comes_back_from_where_litellm_puts_it():
    assert repaired(chunk({"refusal": "no"}))[0]["choices"][0]["delta"]["refusal"] == "no"
    moved = chunk({"provider_specific_fields": {"refusal": "no"}})
    assert repaired(moved)[0]["choices"][0]["delta"]["refusal"] == "no"


def test_logprobs_are_kept_with_both_their_keys():
    item = chunk({"content": "a"})
    item["choices"][0]["logprobs"] = {"content": [{"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}]}
    logprobs = repaired(item)[0]["choices"][0]["logprobs"]
    assert logprobs == {"refusal": None, **item["choices"][0]["logprobs"]}


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("end_turn", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"), ("SAFETY", "content_filter"),
     ("function_call", "function_call"), ("eos", "stop")],
)  # fmt: skip
def test_finish_reasons_are_in_openais_vocabulary(theirs, ours):
    assert repaired(chunk({"content": "a"}, theirs))[-1]["choices"][0]["finish_reason"] == ours


def test_chunks_that_say_nothing_are_dropped():
    nothing = chunk({"content": "", "role": "assistant"}), chunk({}), chunk({"content": None, "reasoning_content": ""})
    assert len(repaired(chunk({"content": "a"}), *nothing, chunk({}, "stop"))) == 2


def test_models_are_read_like_dicts():
    delta = SimpleNamespace(content="a", role="assistant", tool_calls=None)
    item = SimpleNamespace(
        id="c1", created=1, model="m1", choices=[SimpleNamespace(index=0, delta=delta, finish_reason=None)], usage=None
    )
    assert repaired(item)[0]["choices"][0]["delta"] == {"role": "assistant", "content": "a", "refusal": None}


def test_litellms_generic_chunks_are_read_too():
    generic = {"text": "a", "is_finished": False, "finish_reason": "", "usage": None, "index": 0, "tool_use": None}
    tool = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "index": 0}
    empty = generic | {"text": ""}
    chunks = repaired(
        empty, generic, empty | {"tool_use": tool}, empty | {"is_finished": True, "finish_reason": "stop"}
    )
    assert [c["choices"][0]["finish_reason"] for c in chunks] == [None, None, "tool_calls"]
    assert chunks[0]["choices"][0]["delta"]["content"] == "a"
    assert chunks[1]["choices"][0]["delta"]["tool_calls"][0]["id"] == "t1"


def test_an_error_inside_a_chunk_ends_the_answer_but_its_usage_counts():
    repair = StreamRepair("m", shows_usage=False)
    error = {"code": 400, "message": "Token limit reached"}
    with pytest.raises(ProviderFailed) as failed:
        repair.frames(chunk({}, "error", error=error, usage={"prompt_tokens": 43, "completion_tokens": 10}))
    assert failed.value.error == error
    assert failed.value.usage == {"prompt_tokens": 43, "completion_tokens": 10, "total_tokens": 53}


@pytest.mark.parametrize("finish", ["error", "abort"])
def test_the_finish_reasons_error_and_abort_are_failures(finish):
    with pytest.raises(ProviderFailed):
        StreamRepair("m", shows_usage=False).frames(chunk({}, finish))


def test_finished_means_that_every_choice_that_began_has_its_finish():
    repair = StreamRepair("m", shows_usage=False)
    assert not repair.finished
    repair.frames(chunk({"content": "a"}))
    repair.frames(chunk({"content": "a"}, "stop", index=1))
    assert not repair.finished
    repair.frames(chunk({}, "stop"))
    assert repair.finished
