"""About how many tokens a picture or a recording in a prompt takes, by the documented rule of the model's provider.

| model | rule | documented |
|---|---|---|
| GPT-4o, 4.1, 4.5, 5, o1, o3 | a base and so much per tile of 512 pixels; `detail: low` the base alone | [1] |
| GPT-4.1 mini and nano, o4-mini, GPT-5 mini and nano, GPT-5.2 and later | patches of 32 pixels, times a factor | [1] |
| Claude | width x height / 750, up to 1,600; from Opus 4.7 on up to 4,784 | [2] |
| Gemini up to 2.5 | 258 per tile of 768 pixels, 258 for a picture of up to 384 | [3] |
| Gemini 3 and later | 1,120, whatever the size | [4] |
| GPT Image 1 and 1.5 | a base and so much per tile of 512 pixels of a picture whose shorter side is 512 | [6] |
| GPT Image 2 and later | up to 1,536 patches of 32 pixels, of a small picture that is made larger before | [7] |
| any other | width x height / 750, up to 1,600 | |

A second of speech is 10 tokens ([5]), and 32 for Gemini ([3]). A picture whose size cannot be read, because it is an
address or an unknown format, counts as one of 1024 x 1024.

[1] https://developers.openai.com/api/docs/guides/images-vision, "Calculating costs". For GPT-5 mini and nano it says
    1.62 and 2.46, where OpenAI's own price calculator, and its bills, have 1.2 and 1.5.
[2] https://platform.claude.com/docs/en/build-with-claude/vision, "Evaluate image size"
[3] https://ai.google.dev/gemini-api/docs/tokens, "Multimodal tokens"
[4] https://ai.google.dev/gemini-api/docs/media-resolution, "Token counts"
[5] https://developers.openai.com/api/docs/guides/realtime-costs
[6] https://developers.openai.com/api/docs/guides/images-vision, "GPT Image 1", with more for `input_fidelity: high`
[7] OpenAI documents none. What was found by its bills for a hundred edits:
    https://community.openai.com/t/openai-must-document-the-input-image-pricing-of-gpt-image-2/1382940
"""

import math
import re
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from crplugins.core.media import Size

ASSUMED_SIZE: Final = Size(1024, 1024)
TOKENS_PER_FILE: Final = 1000
"""For a document or a film: its size in base64 has no relation to its tokens."""

_SPEECH_PER_SECOND: Final = 10
_GEMINI_SPEECH_PER_SECOND: Final = 32

# What matches first holds. Names may have a provider before them and a date behind.
_PATCHES: Final[Sequence[tuple[re.Pattern[str], float, int]]] = (
    (re.compile(r"gpt-4\.1-mini"), 1.62, 1536),
    (re.compile(r"gpt-4\.1-nano"), 2.46, 1536),
    (re.compile(r"o4-mini|codex-mini"), 1.72, 1536),
    (re.compile(r"gpt-5-nano"), 1.5, 1536),
    (re.compile(r"gpt-[5-9][^/]*-(?:mini|nano)"), 1.2, 1536),
    (re.compile(r"gpt-(?:5\.[2-9]|[6-9])"), 1.2, 2500),
)
_TILES: Final[Sequence[tuple[re.Pattern[str], int, int]]] = (
    (re.compile(r"gpt-4o-mini"), 2833, 5667),
    (re.compile(r"gpt-4|chatgpt-4o"), 85, 170),
    (re.compile(r"gpt-5"), 70, 140),
    (re.compile(r"(?:^|/)o[13](?![0-9])"), 75, 150),
    (re.compile(r"computer-use"), 65, 129),
)
_DRAWS: Final = "gpt-image-1"
_DRAWS_ON_CANVAS: Final = re.compile(r"gpt-image-(?:[2-9]|1[0-9])")
_GEMINI: Final = re.compile(r"gemini-(?:[12]\b|[12]\.|pro|flash)")
_LARGE_CLAUDE: Final = re.compile(r"opus-4[-.][7-9]|(?:opus|sonnet|haiku|fable|mythos)-[5-9]")


class Attachment(NamedTuple):
    """A part of a prompt that is no text.

    `size` of a picture, if it could be read, and whether it has `detail: low` or `input_fidelity: high`; `seconds` of a
    recording.
    """

    kind: Literal["image", "audio", "file"]
    size: Size | None = None
    low: bool = False
    seconds: float = 0.0
    faithful: bool = False

    def tokens(self, model: str) -> int:
        """Estimated tokens for a model, which is named as its provider names it or as litellm does."""
        if self.kind == "file":
            return TOKENS_PER_FILE
        name = model.lower()
        if self.kind == "audio":
            return math.ceil(self.seconds * (_GEMINI_SPEECH_PER_SECOND if "gemini" in name else _SPEECH_PER_SECOND))
        return image_tokens(name, self.size or ASSUMED_SIZE, low=self.low, faithful=self.faithful)


def image_tokens(model: str, size: Size, *, low: bool = False, faithful: bool = False) -> int:
    """Estimated tokens of a picture in a prompt. `model` in lower case; `low` is `detail: low`, `faithful` is
    `input_fidelity: high`."""
    if "gemini" in model:
        return _gemini(size) if _GEMINI.search(model) else 1120
    if "claude" in model:
        return _by_area(size, 4784 if _LARGE_CLAUDE.search(model) else 1600)
    if _DRAWS_ON_CANVAS.search(model):
        return _patches(_canvas(size), 1536)
    if _DRAWS in model:
        more = 4160 if size.width == size.height else 6240
        return 65 + 129 * _tiles(size, 512) + (more if faithful else 0)
    for pattern, factor, most in _PATCHES:
        if pattern.search(model):
            return math.ceil(_patches(size, most) * factor)
    for pattern, base, tile in _TILES:
        if pattern.search(model):
            return base if low else base + tile * _tiles(size)
    return _by_area(size, 1600)


def _by_area(size: Size, most: int) -> int:
    return min(math.ceil(size.width * size.height / 750), most)


def _gemini(size: Size) -> int:
    if max(size) <= 384:
        return 258
    return 258 * math.ceil(size.width / 768) * math.ceil(size.height / 768)


def _tiles(size: Size, shortest: int = 768) -> int:
    """Fitted into 2048 x 2048, then its shorter side made no longer than that; how many squares of 512 cover it."""
    scale = min(1.0, 2048 / max(size))
    scale *= min(1.0, shortest / (min(size) * scale))
    return math.ceil(size.width * scale / 512) * math.ceil(size.height * scale / 512)


def _canvas(size: Size) -> Size:
    """Made up to twice as large, until its longer side is 1024; and no narrower than a third of that."""
    longer = max(size)
    scale = max(1.0, min(2.0, 1024 / longer))
    narrowest = longer * scale / 3
    return Size(*[math.ceil(max(side * scale, narrowest)) for side in size])


def _patches(size: Size, most: int) -> int:
    """How many squares of 32 cover it, made smaller until that is no more than `most`."""
    count = math.ceil(size.width / 32) * math.ceil(size.height / 32)
    if count <= most:
        return count
    scale = math.sqrt(most * 32 * 32 / (size.width * size.height))
    wide, high = size.width * scale / 32, size.height * scale / 32
    scale *= min(max(math.floor(wide), 1) / wide, max(math.floor(high), 1) / high)
    return min(math.ceil(size.width * scale / 32) * math.ceil(size.height * scale / 32), most)
