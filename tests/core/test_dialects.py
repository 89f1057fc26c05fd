"""What each dialect reads in an answer: the same facts, whatever the protocol calls them."""

import json
from typing import Any

import pytest

from crplugins.core.body import Body
from crplugins.core.completeness import Completeness
from crplugins.core.dialects import (
    ALL,
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MESSAGES,
    MODERATIONS,
    RERANK,
    RESPONSES,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Dialect,
)
from crplugins.core.errors import GatewayError
from crplugins.core.form_body import FormBody
from crplugins.core.said import Said

WORDS = "The quick brown fox."


def stream(*events: dict[str, Any] | str) -> bytes:
    return b"".join(
        b"data: " + (event if isinstance(event, str) else json.dumps(event)).encode() + b"\n\n" for event in events
    )


def usage(**counts: int) -> dict[str, int]:
    return counts


STREAMS: dict[str, tuple[Dialect, bytes]] = {
    "chat": (CHAT, stream(
        {"model": "m", "choices": [{"index": 0, "delta": {"content": WORDS}, "finish_reason": None}]},
        {"model": "m", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"model": "m", "choices": [], "usage": usage(prompt_tokens=7, completion_tokens=5)}, "[DONE]",
    )),
    "completions": (COMPLETIONS, stream(
        {"model": "m", "choices": [{"index": 0, "text": WORDS, "finish_reason": None}]},
        {"model": "m", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]},
        {"model": "m", "choices": [], "usage": usage(prompt_tokens=7, completion_tokens=5)}, "[DONE]",
    )),
    "responses": (RESPONSES, stream(
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}},
        {"type": "response.output_text.delta", "delta": WORDS, "output_index": 0},
        {"type": "response.output_text.done", "text": WORDS, "output_index": 0},
        {"type": "response.completed", "response": {
            "id": "resp_1", "model": "m", "status": "completed", "usage": usage(input_tokens=7, output_tokens=5),
            "output": [{"type": "message", "content": [{"type": "output_text", "text": WORDS}]}],
        }},
    )),
    "messages": (MESSAGES, stream(
        {"type": "message_start", "message": {"model": "m", "usage": usage(input_tokens=7, output_tokens=1)}},
        {"type": "ping"},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": WORDS}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage(input_tokens=7, output_tokens=5)},
        {"type": "message_stop"},
    )),
}  # fmt: skip


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_tells_the_same_facts_in_every_dialect(name: str) -> None:
    dialect, body = STREAMS[name]
    said, state, models, counted = Said(), Completeness(), set(), None
    for event in dialect.splitter().feed(body):
        assert not event.is_malformed
        state.see(event)
        if event.answer is not None:
            said.hear(event.answer.choices or ())
            models.add(event.answer.model)
            counted = event.answer.counted or counted
    assert state.complete
    assert state.done
    assert models - {None} == {"m"}
    assert counted is not None
    assert (counted.input_tokens, counted.output_tokens) == (7, 5)
    assert (said.pieces, said.units) == (1, 3 * len(WORDS))


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_anywhere_before_its_end_is_not_complete(name: str) -> None:
    dialect, body = STREAMS[name]
    events = body.split(b"\n\n")[:-1]
    end = len(events) - 1 if dialect is RESPONSES else len(events) - 2
    if dialect in (CHAT, COMPLETIONS):
        end -= 1  # its usage and [DONE] stand behind its end
    for length in range(end):
        state = Completeness()
        for event in dialect.splitter().feed(b"\n\n".join(events[:length]) + b"\n\n"):
            state.see(event)
        assert not state.complete, events[:length]


def test_an_end_mark_before_the_end_is_a_failure() -> None:
    state = Completeness()
    for event in MESSAGES.splitter().feed(stream({"type": "message_start", "message": {}}, {"type": "message_stop"})):
        state.see(event)
    assert state.failed
    assert not state.complete


DOCUMENTS: dict[str, tuple[Dialect, dict[str, Any]]] = {
    "chat": (CHAT, {"model": "m", "choices": [{"index": 0, "message": {"content": WORDS}, "finish_reason": "stop"}],
                    "usage": usage(prompt_tokens=7, completion_tokens=5)}),
    "completions": (COMPLETIONS, {"model": "m", "choices": [{"index": 0, "text": WORDS, "finish_reason": "stop"}],
                                  "usage": usage(prompt_tokens=7, completion_tokens=5)}),
    "responses": (RESPONSES, {"object": "response", "model": "m", "status": "completed",
                              "output": [{"type": "message", "content": [{"type": "output_text", "text": WORDS}]}],
                              "usage": usage(input_tokens=7, output_tokens=5)}),
    "messages": (MESSAGES, {"type": "message", "model": "m", "content": [{"type": "text", "text": WORDS}],
                            "stop_reason": "end_turn", "usage": usage(input_tokens=7, output_tokens=5)}),
}  # fmt: skip


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_whole_answer_tells_the_same_facts_in_every_dialect(name: str) -> None:
    dialect, body = DOCUMENTS[name]
    answer = dialect.document(json.dumps(body).encode()).answer
    assert answer is not None
    said = Said()
    said.hear(answer.choices or ())
    counted = answer.counted
    assert counted is not None
    assert (answer.model, counted.input_tokens, counted.output_tokens) == ("m", 7, 5)
    assert said.units == 3 * len(WORDS)
    assert [choice.finish_reason for choice in answer.choices or ()][-1] == "stop"


def test_vectors_are_an_answer_that_says_nothing() -> None:
    body = {
        "object": "list",
        "model": "m",
        "data": [{"embedding": [0.1]}],
        "usage": usage(prompt_tokens=7, total_tokens=7),
    }
    answer = EMBEDDINGS.document(json.dumps(body).encode()).answer
    assert answer is not None
    assert answer.choices
    assert not answer.says()
    assert answer.counted is not None
    assert (answer.counted.input_tokens, answer.counted.output_tokens) == (7, 0)


@pytest.mark.parametrize("dialect", ALL)
def test_a_failure_in_a_stream_is_read_as_one_in_its_own_dialect(dialect: Dialect) -> None:
    error = GatewayError(502, "Gone.", type="server_error", code="upstream_error")
    state = Completeness()
    for event in dialect.splitter().feed(b"".join([each.raw for each in dialect.last_events(error, "id")])):
        state.see(event)
    assert state.failed
    assert not state.complete
    assert b"Gone." in dialect.error_body(error, "id")


@pytest.mark.parametrize("dialect", [each for each in ALL if not each.passes_bytes])
@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'"x"', b"null", b'{"choices": 1}', b"\xff", b"[" * 5000])
def test_what_is_no_answer_raises_nothing(dialect: Dialect, data: bytes) -> None:
    answer = dialect.document(data).answer
    assert answer is None or not answer.choices


COUNTED: list[tuple[Dialect, dict[str, Any], tuple[int, int] | None]] = [
    (EMBEDDINGS, {"data": [{"embedding": "AAAA"}], "usage": {"prompt_tokens": 7, "total_tokens": 7.0}}, (7, 0)),
    (EMBEDDINGS, {"data": [{"embedding": [0.1]}], "usage": {"total_tokens": 7}}, (7, 0)),
    (EMBEDDINGS, {"data": []}, None),
    (RERANK, {"results": [{"index": 0}], "meta": {"billed_units": {"search_units": 1}}}, None),
    (RERANK, {"results": [], "meta": {"tokens": {"input_tokens": 7, "output_tokens": 0}}}, (7, 0)),
    (RERANK, {"results": [{"index": 0}], "usage": {"total_tokens": 7}}, (7, 0)),
    (RERANK, {"results": [], "meta": {"tokens": {"input_tokens": 7}}, "usage": None}, (7, 0)),
    (RERANK, {"data": [{"index": 0}], "object": "list", "usage": {"total_tokens": 7}}, (7, 0)),
    (MODERATIONS, {"id": "modr", "results": [{"flagged": False}]}, None),
    (IMAGES, {"data": [{"b64_json": "AA"}], "usage": {
        "input_tokens": 7, "output_tokens": 272, "total_tokens": 279, "input_tokens_details": {"text_tokens": 7},
    }}, (7, 272)),
    (TRANSCRIPTIONS, {"text": "Hi", "usage": {
        "type": "tokens", "input_tokens": 7, "input_token_details": {"audio_tokens": 6}, "output_tokens": 2,
        "total_tokens": 9,
    }}, (7, 2)),
    (TRANSCRIPTIONS, {"text": "Hi", "usage": {"type": "duration", "seconds": 3}}, None),
    (TRANSLATIONS, {"text": ""}, None),
    (IMAGE_EDITS, {"data": [{"b64_json": "AA"}], "usage": {
        "input_tokens": 201, "output_tokens": 272, "total_tokens": 473,
        "input_tokens_details": {"text_tokens": 7, "image_tokens": 194},
    }}, (201, 272)),
    (IMAGE_VARIATIONS, {"created": 1, "data": [{"url": "https://example.org/a.png"}]}, None),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "counts"), COUNTED)
def test_of_what_passes_as_it_is_the_usage_is_read(
    dialect: Dialect, body: dict[str, Any], counts: tuple[int, int] | None
) -> None:
    answer = dialect.document(json.dumps(body).encode()).answer
    assert answer is not None
    assert [choice.finish_reason for choice in answer.choices or ()] == ["stop"]
    assert not answer.says()
    told = answer.counted
    assert (None if told is None else (told.input_tokens, told.output_tokens)) == counts


def test_kinds_of_tokens_that_cost_otherwise_are_told_apart() -> None:
    drawn = IMAGES.document(json.dumps(COUNTED[9][1]).encode()).answer
    heard = TRANSCRIPTIONS.document(json.dumps(COUNTED[10][1]).encode()).answer
    assert drawn is not None
    assert heard is not None
    assert drawn.counted is not None
    assert heard.counted is not None
    assert drawn.counted.image_output_tokens == 272
    assert heard.counted.audio_input_tokens == 6
    edited = IMAGE_EDITS.document(json.dumps(COUNTED[13][1]).encode()).answer
    assert edited is not None
    assert edited.counted is not None
    assert (edited.counted.image_input_tokens, edited.counted.image_output_tokens) == (194, 272)


def form(*parts: bytes) -> FormBody:
    raw = b"".join(b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n" for part in parts) + b"--b--\r\n"
    body = TRANSCRIPTIONS.form_of(raw, [(b"content-type", b"multipart/form-data; boundary=b")])
    assert isinstance(body, FormBody)
    return body


@pytest.mark.parametrize("headers", [
    [(b"content-type", b"application/json"), (b"content-type", b"multipart/form-data; boundary=b")],
    [(b"content-type", b"application/json, Multipart/form-data; boundary=b")],
    [(b"content-type", b"multipart/mixed; boundary=b")],
])  # fmt: skip
def test_what_may_be_read_as_a_form_and_as_json_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(GatewayError) as refused:
        IMAGE_EDITS.form_of(b'{"model": "m"}', headers)
    assert refused.value.status == 415


def test_edits_are_read_as_json_too_and_other_forms_are_not() -> None:
    json_type = [(b"content-type", b"application/json")]
    assert IMAGE_EDITS.form_of(b'{"model": "m", "n": 2}', json_type).get("n", int) == 2
    for other in (IMAGE_VARIATIONS, TRANSCRIPTIONS):
        with pytest.raises(GatewayError):
            other.form_of(b'{"model": "m"}', json_type)


@pytest.mark.parametrize("dialect", [IMAGES, IMAGE_EDITS])
def test_the_author_of_a_drawing_is_a_further_model(dialect: Dialect) -> None:
    assert dialect.other_models(Body(b'{"model": "m", "svg": {"model": "author"}}')) == ["author"]
    assert dialect.other_models(Body(b'{"model": "m", "svg": [1]}')) == []
    assert dialect.other_models(form(b'name="svg[model]"\r\n\r\nauthor')) == ["author"]
    assert dialect.other_models(form(b'name="svg"\r\n\r\n{"model": "author"}')) == ["author"]
    assert dialect.other_models(form(b'name="svg"\r\n\r\n{')) == []


@pytest.mark.parametrize("dialect", [TRANSCRIPTIONS, TRANSLATIONS, SPEECH])
def test_sound_and_subtitles_are_answers_and_half_a_document_is_none(dialect: Dialect) -> None:
    for body in (
        b"\xff\xfb\x90\x00",
        b"WEBVTT\n\n",
        b"Hello there",
        b"ID3",
        b"[Music] Hello",
        b"{laughs}",
        b"[1\0",
        b" {\0",
    ):
        answer = dialect.document(body).answer
        assert answer is not None
        assert answer.choices
    for body in (
        b'{"text": "Hel',
        b'{ "error": {"message": "no"}}',
        b'[{"error": 1',
        b"[]",
        b"{",
        b"{}",
        b"\n<!DOCTYPE html>",
        b"<html>",
    ):
        answer = dialect.document(body).answer
        assert answer is None or not answer.choices


@pytest.mark.parametrize("dialect", [TRANSCRIPTIONS, TRANSLATIONS, SPEECH])
def test_of_silence_the_text_is_empty_and_no_sound_is(dialect: Dialect) -> None:
    answer = dialect.document(b"").answer
    assert (answer is not None and bool(answer.choices)) == (dialect is not SPEECH)


@pytest.mark.parametrize(("dialect", "events"), [
    (IMAGES, [{"type": "image_generation.partial_image", "b64_json": "AA"}, {"type": "image_generation.completed"}]),
    (IMAGE_EDITS, [{"type": "image_edit.partial_image", "b64_json": "AA"}, {"type": "image_edit.completed"}]),
    (TRANSCRIPTIONS, [{"type": "transcript.text.delta", "delta": WORDS}, {"type": "transcript.text.done"}]),
    (TRANSCRIPTIONS, [{"type": "transcription.text.delta", "text": WORDS}, {"type": "transcription.done"}]),
    (SPEECH, [{"type": "speech.audio.delta", "audio": "AA"}, {"type": "speech.audio.done"}]),
])  # fmt: skip
def test_a_stream_of_pictures_or_sound_ends_with_its_last_event(dialect: Dialect, events: list[dict[str, Any]]) -> None:
    counts = {"input_tokens": 7, "output_tokens": 5, "total_tokens": 12}
    begun, whole = Completeness(), Completeness()
    read = dialect.splitter().feed(stream(events[0], {**events[1], "usage": counts}))
    begun.see(read[0])
    for event in read:
        whole.see(event)
    assert begun.begun
    assert not begun.complete
    assert whole.complete
    assert whole.done
    assert read[0].answer is not None
    assert read[0].answer.says()
    assert read[1].answer is not None
    assert read[1].answer.counted is not None
    assert read[1].answer.counted.output_tokens == 5


def heard(content: str | None, reason: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk of a transcription, as vLLM and Together send it."""
    return {
        "object": "transcription.chunk",
        "choices": [{"delta": {"content": content}, "finish_reason": reason}],
        **more,
    }


@pytest.mark.parametrize("dialect", [TRANSCRIPTIONS, TRANSLATIONS])
def test_a_transcription_in_chunks_ends_with_its_end_mark_and_not_with_the_end_of_a_piece(dialect: Dialect) -> None:
    counts = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
    events = [heard(WORDS), heard("", "stop"), heard(WORDS, "stop"), {"choices": [], "usage": counts}]
    state, said = Completeness(), Said()
    for event in dialect.splitter().feed(stream(*events)):
        assert not event.is_heartbeat
        state.see(event)
        assert event.answer is not None
        said.hear(event.answer.choices or ())
        assert not state.complete
    assert event.answer is not None
    assert event.answer.counted is not None
    assert (event.answer.counted.input_tokens, event.answer.counted.output_tokens) == (7, 5)
    assert said.units == 2 * 3 * len(WORDS)
    [mark] = dialect.splitter().feed(stream("[DONE]"))
    state.see(mark)
    assert state.complete


def test_a_piece_of_a_transcription_that_failed_is_a_failure() -> None:
    state = Completeness()
    for event in TRANSCRIPTIONS.splitter().feed(stream(heard(WORDS, "error"))):
        state.see(event)
    assert state.failed


@pytest.mark.parametrize(("asks", "shown", "generated"), [
    ({"prompt": "a"}, 1, 1), ({"prompt": "a", "n": 3}, 3, 3), ({"prompt": ["a", "b"], "n": 2}, 4, 4),
    ({"prompt": ["a", "b"], "best_of": 5}, 2, 10), ({"prompt": "a", "n": 2, "best_of": 1}, 2, 2),
    ({"prompt": [1, 2, 3]}, 1, 1), ({"prompt": [[1, 2], [3]], "n": 2}, 4, 4), ({"prompt": []}, 1, 1), ({}, 1, 1),
    ({"prompt": 5, "best_of": None}, 1, 1),
])  # fmt: skip
def test_of_completions_more_may_be_generated_than_is_shown(asks: dict[str, Any], shown: int, generated: int) -> None:
    body = Body(json.dumps(asks).encode())
    assert (COMPLETIONS.choices(body), COMPLETIONS.generated(body)) == (shown, generated)


@pytest.mark.parametrize("address", ["url", "file_url", None])
def test_a_recording_at_an_address_is_no_shorter_for_a_file_beside_it(address: str | None) -> None:
    held = b"" if address is None else b"x"
    parts = [b'form-data; name="file"; filename="a.wav"\r\n\r\n' + held]
    if address is not None:
        parts.append(b'form-data; name="%b"\r\n\r\nhttps://example.org/a.wav' % address.encode())
    raw = b"".join(b"--b\r\nContent-Disposition: " + part + b"\r\n" for part in parts) + b"--b--\r\n"
    body = FormBody.of_form(raw, [(b"content-type", b"multipart/form-data; boundary=b")])
    assert TRANSCRIPTIONS.asked_units(body).recorded >= 3600
