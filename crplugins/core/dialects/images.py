"""Pictures (OpenAI, "Create image", "Create image edit", "Create image variation"), whose tokens are counted apart from
those of text.

Pictures to be edited come as the files of a form, or in JSON by their addresses. Answers are the same in all three.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from crplugins.core.body import Body
from crplugins.core.dialects.counted import Counted, Members
from crplugins.core.errors import Header
from crplugins.core.lenient_json import NOT_JSON, decode_leniently, object_of, objects_of
from crplugins.core.reported_usage import ReportedUsage, TokenDetails
from crplugins.core.sse import Event
from crplugins.core.units import Units


class Images(Counted):
    """`POST /v1/images/generations`."""

    name = "images"
    path = "/images/generations"
    draws = True
    prompt: tuple[str, ...] = ("prompt",)
    ends: tuple[str, ...] = ("image_generation.completed",)

    def stream_of(self, document: bytes) -> list[Event] | None:
        """Of one picture: the first that is whole is the end of a stream."""
        told = decode_leniently(document)
        pictures = objects_of(told.get("data")) if isinstance(told, dict) and self.ends else []
        if len(pictures) != 1:
            return None
        rest = {name: value for name, value in told.items() if name not in ("created", "data")}
        created = {"created_at": told["created"]} if "created" in told else {}
        return self.events_of([{**rest, **created, **pictures[0], "type": self.ends[0]}])

    def asked_units(self, body: Body) -> Units:
        number = body.get("n", int)
        return Units(pictures=min(max(number or 1, 1), _MOST_PICTURES))

    def other_models(self, body: Body) -> list[str]:
        """The author of a drawing in SVG, which OpenAI asks beside the model; a field of its own in a form."""
        given = body.get("svg")
        try:
            told = decode_leniently(given.encode()) if isinstance(given, str) else given
        except NOT_JSON:
            told = None
        named = (object_of(told).get("model"), body.get("svg[model]"))
        return [name for name in named if isinstance(name, str)]

    def made(self, told: Mapping[str, Any], members: Members) -> Units:
        return Units(pictures=min(_length(members.get("data")), _MOST_PICTURES))

    def usage(self, told: Mapping[str, Any]) -> ReportedUsage | None:
        """Where nothing else is said, all of the output are pictures."""
        usage = super().usage(told)
        if usage is None or usage.output_tokens_details is not None:
            return usage
        return replace(usage, output_tokens_details=TokenDetails(image_tokens=usage.output_tokens))


class ImageEdits(Images):
    """`POST /v1/images/edits`: a form, or JSON whose `images` are addresses or files that OpenAI keeps."""

    name = "image_edits"
    path = "/images/edits"
    form = True
    pictures = ("images", "images[]", "image", "image[]", "mask", "markup")
    prompt = ("prompt", *pictures)
    ends = ("image_edit.completed",)

    def form_of(self, raw: bytes, headers: Iterable[Header]) -> Body:
        headers = list(headers)
        is_form = any(name.lower() == b"content-type" and b"multipart" in value.lower() for name, value in headers)
        return super().form_of(raw, headers) if is_form else Body.of_request(raw)


class ImageVariations(Images):
    """`POST /v1/images/variations`, which OpenAI itself has no more. Other servers do."""

    name = "image_variations"
    path = "/images/variations"
    default_model = "dall-e-2"
    form = True
    pictures = ("image", "image[]")
    prompt = pictures
    ends = ()


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
IMAGE_EDITS: Final = ImageEdits()
IMAGE_VARIATIONS: Final = ImageVariations()
