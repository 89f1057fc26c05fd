"""Images (OpenAI, "Create image"): pictures after a prompt, whose tokens are counted apart from those of text."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from crplugins.core.dialects.counted import Counted
from crplugins.core.reported_usage import ReportedUsage, TokenDetails


class Images(Counted):
    """`POST /v1/images/generations`."""

    name = "images"
    path = "/images/generations"
    prompt = ("prompt",)
    ends = ("image_generation.completed",)

    def usage(self, told: Mapping[str, Any]) -> ReportedUsage | None:
        """Where nothing else is said, all of the output are pictures."""
        usage = super().usage(told)
        if usage is None or usage.output_tokens_details is not None:
            return usage
        return replace(usage, output_tokens_details=TokenDetails(image_tokens=usage.output_tokens))


IMAGES: Final = Images()
