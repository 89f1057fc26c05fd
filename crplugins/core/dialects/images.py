"""Images (OpenAI, "Create image"): pictures after a prompt, whose tokens are counted apart from those of text."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from crplugins.core.body import Body
from crplugins.core.dialects.counted import Counted, Members
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, objects_of
from crplugins.core.reported_usage import ReportedUsage, TokenDetails
from crplugins.core.sse import Event
from crplugins.core.units import Units


class Images(Counted):
    """`POST /v1/images/generations`."""

    name = "images"
    path = "/images/generations"
    prompt = ("prompt",)
    ends = ("image_generation.completed",)

    def stream_of(self, document: bytes) -> list[Event] | None:
        """Of one picture: the first that is whole is the end of a stream."""
        told = decode_leniently(document)
        pictures = objects_of(told.get("data")) if isinstance(told, dict) else []
        if len(pictures) != 1:
            return None
        rest = {name: value for name, value in told.items() if name not in ("created", "data")}
        created = {"created_at": told["created"]} if "created" in told else {}
        return self.events_of([{**rest, **created, **pictures[0], "type": "image_generation.completed"}])

    def asked_units(self, body: Body) -> Units:
        number = body.get("n", int)
        return Units(pictures=min(max(number or 1, 1), _MOST_PICTURES))

    def made(self, told: Mapping[str, Any], members: Members) -> Units:
        return Units(pictures=min(_length(members.get("data")), _MOST_PICTURES))

    def usage(self, told: Mapping[str, Any]) -> ReportedUsage | None:
        """Where nothing else is said, all of the output are pictures."""
        usage = super().usage(told)
        if usage is None or usage.output_tokens_details is not None:
            return usage
        return replace(usage, output_tokens_details=TokenDetails(image_tokens=usage.output_tokens))


_MOST_PICTURES: Final = 1000
"""Of one request: OpenAI makes 10."""

_list: Final = msgspec.json.Decoder(list[msgspec.Raw])


def _length(value: Any) -> int:
    """Of a list that need not be decoded."""
    if isinstance(value, msgspec.Raw):
        try:
            return len(_list.decode(value))
        except NOT_JSON:
            return 0
    return len(value) if isinstance(value, list) else 0


IMAGES: Final = Images()
