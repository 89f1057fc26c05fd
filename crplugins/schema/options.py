"""The parameters of a request that are objects."""

from typing import Literal

from pydantic import Field

from crplugins.schema.messages import Open, TextPart

Level = Literal["low", "medium", "high"]


class StreamOptions(Open):
    include_usage: bool | None = Field(default=None, description="Send the token counts on a chunk before [DONE].")
    include_obfuscation: bool | None = Field(default=None, description="Pad chunks to hide their lengths.")


class CustomVoice(Open):
    id: str


class AudioOptions(Open):
    voice: str | CustomVoice = Field(description="A voice by name, such as `alloy`, or one of your own by id.")
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]


class Prediction(Open):
    type: Literal["content"]
    content: str | list[TextPart]


class Place(Open):
    country: str | None = Field(default=None, description="Two letters of ISO 3166-1.")
    region: str | None = None
    city: str | None = None
    timezone: str | None = Field(default=None, description="An IANA name, such as `Europe/Berlin`.")


class UserLocation(Open):
    type: Literal["approximate"]
    approximate: Place


class WebSearchOptions(Open):
    user_location: UserLocation | None = None
    search_context_size: Level | None = Field(
        default=None, description="How much of the search results the model reads."
    )


class Policy(Open):
    mode: Literal["score", "block"]


class Policies(Open):
    input: Policy | None = None
    output: Policy | None = None


class Moderation(Open):
    model: str = Field(description="The model that moderates.")
    policy: Policies | None = None


class PromptCacheOptions(Open):
    mode: Literal["implicit", "explicit"] | None = Field(
        default=None,
        description="Whether the provider sets a breakpoint of its own in addition to those of the messages.",
    )
    ttl: Literal["30m"] | None = Field(default=None, description="The minimum lifetime of an entry.")
