import hashlib
from pathlib import Path

import msgspec
import pytest

from crplugins.testing import FakeProvider, Script, load_cassettes
from crplugins.testing.received import reported_usage


def test_each_recording_is_whole_and_typed(cassettes) -> None:
    for cassette in cassettes.values():
        assert hashlib.sha256(cassette.data).hexdigest() == cassette.info.sha256
        script = cassette.script()
        frames = script.events if cassette.is_stream else [script.body]
        assert b"".join(frames) == cassette.data
        assert cassette.expect.choices is None or cassette.expect.choices >= 0
        if cassette.metering.where == "own chunk, choices []":
            assert reported_usage(frames) == (cassette.metering.prompt_tokens, cassette.metering.completion_tokens)


@pytest.mark.parametrize("write", ["frame", "all", 7])
async def test_a_recording_is_served_byte_for_byte_however_it_is_written(cassettes, connect, write) -> None:
    async with FakeProvider(cassettes=cassettes, default=Script(write=write)) as provider:
        client = await connect(provider)
        for cassette in cassettes.values():
            if write == 7 and len(cassette.data) > 20_000:
                continue
            answer = await client.post({"model": f"openai/replay-{cassette.id}"})
            assert (answer.status, answer.end, answer.body) == (cassette.info.status, "done", cassette.data)
            assert answer.headers["content-type"] == cassette.info.content_type
            assert cassette.info.response_headers.items() <= answer.headers.items()
            assert answer.headers["x-request-id"].startswith("req_")
            if write == 7 and cassette.is_stream:
                assert {len(chunk) for chunk in answer.chunks[:-1]} == {7}
            if write == "all" and cassette.is_stream:
                assert len(answer.chunks) == 1


async def test_a_recording_is_named_by_header_too_and_on_messages_paths(cassettes, connect) -> None:
    async with FakeProvider(cassettes=cassettes) as provider:
        client = await connect(provider)
        answer = await client.post({}, headers="x-cassette: openai-n3\r\n")
        assert answer.body == cassettes["openai-n3"].data
        answer = await client.post({"model": "replay-anthropic-cache-ping"}, path="/v1/messages")
        assert answer.body == cassettes["anthropic-cache-ping"].data


async def test_an_unknown_recording_is_an_unknown_model(connect) -> None:
    async with FakeProvider() as provider:
        client = await connect(provider)
        for path, model in (("/v1/chat/completions", "replay-nothing"), ("/v1/messages", "replay-claude")):
            answer = await client.post({"model": model, "messages": [{}]}, path=path)
            assert answer.status == 404
            assert b"does not exist or you do not have access to it" in answer.body


async def test_a_recording_takes_the_faults_of_a_script(cassettes, connect) -> None:
    cassette = cassettes["openai-text-usage"]
    async with FakeProvider() as provider:
        provider.enqueue(cassette.script(cut_after=3), cassette.script(Script(write=7), cut_after=5))
        client = await connect(provider)
        whole_frames = b"".join(cassette.script().events[:3])
        assert (await client.post()).body == whole_frames
        assert (await client.post()).body == cassette.data[:35]


def test_a_bad_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_cassettes(tmp_path)
    (tmp_path / "manifest.json").write_text('[{"id": "x"}]')
    with pytest.raises(msgspec.ValidationError):
        load_cassettes(tmp_path)
