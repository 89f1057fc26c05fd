"""PublishedRecord: the usage record as consumers of a sink get it, and what they may rely on.

A message names its schema, `crplugins.usage/1`, of which `usage-record-1.schema.json` is the JSON schema, written by
`json_schema.py`. While the number stays, fields are only added, and every field keeps its name, its type and its
meaning. One that is added has a default here: messages of earlier releases are without it, and the schema does not
require it. Only an `enum` is a closed list; other texts may get values that nobody has seen. Anything else is another
number, and stands in the changelog.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from crplugins.core.outcome import Outcome
from crplugins.core.usage import UsageSource
from crplugins.metering.record import UsageRecord

SCHEMA: Final = "crplugins.usage/1"

Moment = Annotated[datetime, Meta(tz=True)]


class PublishedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A request that is over: whose it was, which model answered, how it ended, what it took. Nothing that was said."""

    schema: Annotated[Literal["crplugins.usage/1"], Meta(description="The name of this schema, and its version.")]
    request_id: Annotated[
        str,
        Meta(description="The `x-request-id` of the answer. Messages with the same one are the same record."),
    ]
    started_at: Annotated[Moment, Meta(description="When the request came.")]
    ended_at: Annotated[Moment, Meta(description="When its answer was over.")]
    key_id: Annotated[str | None, Meta(description="Whose request it was; null without a key of this gateway's.")]
    team: Annotated[str | None, Meta(description="The team of the key.")]
    user: Annotated[str | None, Meta(description="The request's own word for its user.")]
    tags: Annotated[Mapping[str, str], Meta(description="Those of the key, and the chosen metadata of the request.")]
    endpoint: Annotated[str, Meta(description="The protocol in which the model was asked, such as `chat`.")]
    requested_model: Annotated[str | None, Meta(description="The model that the client asked for.")]
    served_model: Annotated[str | None, Meta(description="The name under which the provider was asked for it.")]
    provider_model: Annotated[str | None, Meta(description="The name that the answer gave itself.")]
    provider: Annotated[str | None, Meta(description="The provider that was called last; null if none was.")]
    stream: Annotated[bool, Meta(description="Whether the client asked for a stream.")]
    status: Annotated[
        int, Meta(description="The status that the client saw; 499 if it disconnected before the first byte.")
    ]
    outcome: Annotated[Outcome, Meta(description="How it ended.")]
    error_type: Annotated[str, Meta(description="What was wrong; empty where nothing was.")]
    finish_reason: Annotated[str | None, Meta(description="Why the model stopped.")]
    input_tokens: Annotated[
        int, Meta(description="Tokens of the input, with those that are counted below as parts of it.")
    ]
    output_tokens: Annotated[
        int, Meta(description="Tokens of the output, with those that are counted below as parts of it.")
    ]
    cached_input_tokens: Annotated[int, Meta(description="Of the input: read from the provider's cache.")]
    cache_write_input_tokens: Annotated[int, Meta(description="Of the input: written to the provider's cache.")]
    long_cache_write_input_tokens: Annotated[int, Meta(description="Of those: written for longer than usual.")]
    reasoning_output_tokens: Annotated[int, Meta(description="Of the output: reasoning.")]
    audio_input_tokens: Annotated[int, Meta(description="Of the input: audio.")]
    cached_audio_input_tokens: Annotated[
        int, Meta(description="Of the audio in the input: read from the provider's cache.")
    ]
    audio_output_tokens: Annotated[int, Meta(description="Of the output: audio.")]
    image_input_tokens: Annotated[int, Meta(description="Of the input: images.")]
    image_output_tokens: Annotated[int, Meta(description="Of the output: images.")]
    video_output_tokens: Annotated[int, Meta(description="Of the output: video.")]
    web_searches: Annotated[int, Meta(description="How often the provider searched the web.")]
    usage_source: Annotated[
        UsageSource, Meta(description="Who counted. The tokens of `cache` are no provider's: leave them out of sums.")
    ]
    service_tier: Annotated[str | None, Meta(description="The processing tier that the answer named.")]
    cost_micro_usd: Annotated[
        int | None, Meta(description="Millionths of a US dollar; null where the price is unknown.")
    ]
    cost_source: Annotated[str | None, Meta(description="Whose price that is; null where there is no cost.")]
    provider_cost_micro_usd: Annotated[
        int | None, Meta(description="What the provider says it cost; null if it says nothing.")
    ]
    attempts: Annotated[int, Meta(description="How many calls of providers it took.")]
    ttft_ms: Annotated[float | None, Meta(description="Milliseconds to the first piece of a stream with content.")]
    time_per_output_token_ms: Annotated[
        float | None, Meta(description="Milliseconds between output tokens of a stream.")
    ]
    longest_gap_ms: Annotated[float | None, Meta(description="The longest silence of a stream, in milliseconds.")]
    duration_ms: Annotated[float, Meta(description="Milliseconds from its arrival to the end of its answer.")]
    overhead_us: Annotated[int, Meta(description="Microseconds of it in which no provider was working.")]
    asked_ms: Annotated[
        float | None, Meta(description="After how many milliseconds it asked its limits; null without any.")
    ]
    queued_ms: Annotated[float | None, Meta(description="How many milliseconds it waited for limits.")]
    admitted_ms: Annotated[
        float | None, Meta(description="After how many milliseconds it was let through; null if it was not.")
    ]
    settled_ms: Annotated[float | None, Meta(description="After how many milliseconds its reservations were settled.")]
    expected_input_tokens: Annotated[
        int | None, Meta(description="Tokens that were reserved for the prompt; null where no limit counts tokens.")
    ]
    output_limit: Annotated[int | None, Meta(description="The client's own limit of output tokens.")]
    choices: Annotated[int | None, Meta(description="How many answers it asked for.")]


class RecordMessage(NamedTuple):
    """What a broker gets. Messages of one key keep their order where the broker has partitions."""

    key: str | None
    value: bytes


_decode: Final = msgspec.json.Decoder(UsageRecord).decode
_encode: Final = msgspec.json.Encoder().encode


def message_of(line: bytes) -> RecordMessage:
    """The message for a line of the outbox, perhaps of an earlier release. Raises `msgspec.DecodeError`."""
    record = _decode(line)
    values = msgspec.structs.asdict(record)
    del values["usage"]
    values["started_at"], values["ended_at"] = _moment(record.started_at), _moment(record.ended_at)
    counts = msgspec.structs.asdict(record.usage)
    return RecordMessage(record.key_id, _encode(PublishedRecord(schema=SCHEMA, **values, **counts)))


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
