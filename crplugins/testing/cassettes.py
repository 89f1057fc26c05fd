"""Recorded answers of real providers, read from a folder with a `manifest.json`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from crplugins.testing.script import Script


class Metering(msgspec.Struct, frozen=True):
    """What a usage record must hold; counts are tokens, None where the provider said nothing.

    `source`: `provider` (its own numbers), `estimated` (it sent none), `none` (an error body, nothing to count).
    """

    source: Literal["provider", "estimated", "none"]
    where: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None


class Expectation(msgspec.Struct, frozen=True):
    """What a reader of the recording gets: number of JSON events and comments, lengths in characters per choice."""

    json_events: int | None = None
    comments: int | None = None
    event_names: tuple[str, ...] = ()
    done: bool | None = None
    usage_null: int | None = None
    choices: int | None = None
    text_len: tuple[int, ...] = ()
    reasoning_len: tuple[int, ...] = ()
    refusal_len: tuple[int, ...] = ()
    tool_calls: tuple[Any, ...] = ()
    finish_reasons: tuple[Any, ...] = ()
    error: Any = None


class CassetteInfo(msgspec.Struct, frozen=True):
    """One row of the manifest, without its source."""

    id: str
    file: str
    provider: str
    shows: str
    status: int
    content_type: str
    bytes: int
    sha256: str
    model: str | None
    include_usage_asked: bool | None
    response_headers: dict[str, str]
    metering: Metering
    expect: Expectation


class Cassette(msgspec.Struct, frozen=True):
    """A recording: its row and its body, byte for byte."""

    info: CassetteInfo
    data: bytes

    @property
    def id(self) -> str:
        """Its name; a provider that holds it serves it as model `replay-<id>`."""
        return self.info.id

    @property
    def metering(self) -> Metering:
        """What a usage record must hold."""
        return self.info.metering

    @property
    def expect(self) -> Expectation:
        """What a reader gets."""
        return self.info.expect

    @property
    def is_stream(self) -> bool:
        """True for an event stream, False for a JSON body."""
        return self.info.content_type.startswith("text/event-stream")

    def script(self, base: Script | None = None, **options: Any) -> Script:
        """A script that replays the recording, with the timing and faults of `base` and `options`."""
        info = self.info
        replay = Script.replay(self.data, info.content_type, info.status, info.response_headers)
        return replace(
            base or Script(),
            status=replay.status,
            headers=replay.headers,
            content_type=replay.content_type,
            body=replay.body,
            events=replay.events,
            **options,
        )


def load_cassettes(folder: str | Path) -> dict[str, Cassette]:
    """The recordings of `folder` by id. OSError if a file is missing, msgspec.ValidationError for a bad manifest."""
    folder = Path(folder)
    rows = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=list[CassetteInfo])
    return {row.id: Cassette(row, (folder / row.file).read_bytes()) for row in rows}
