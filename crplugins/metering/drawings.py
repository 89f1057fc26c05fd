"""About how many tokens the pictures take that a request asks for, by the rule of the model that draws them.

| model | rule | where it is from |
|---|---|---|
| GPT Image 1 and 1.5 | a table of qualities and shapes | [1] |
| GPT Image 2 and later | a grid of quality and shape, which grows with the area | [2] |

Other models are billed by the picture, or say nothing. Each partial picture of a stream takes 100 tokens more ([1]).

[1] https://developers.openai.com/api/docs/guides/image-generation, "Cost and latency"
[2] OpenAI's price calculator on that page, which has no formula beside it. Its figures, and that of those who took it
    apart: https://community.openai.com/t/gpt-image-2-output-pricing-calculator-online-and-in-your-code/1382699
"""

import re
from collections.abc import Mapping
from typing import Final

from crplugins.core.body import Body
from crplugins.core.media import Size
from crplugins.core.request_json import MOST_CHOICES

_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", re.ASCII)
_ASSUMED_QUALITY: Final = "medium"
_ASSUMED_SIZE: Final = Size(1024, 1024)
"""Where the model is left to choose."""

_TABLE: Final[Mapping[str, tuple[int, int, int]]] = {
    "low": (272, 408, 400),
    "medium": (1056, 1584, 1568),
    "high": (4160, 6240, 6208),
}
"""Of a square, an upright and a wide picture."""

_GRID: Final[Mapping[str, int]] = {"low": 16, "medium": 48, "high": 96}
"""Along the longer side."""

_PARTIAL: Final = 100
_MOST_PARTIALS: Final = 3


def drawn_tokens(model: str, body: Body) -> int:
    """Of all pictures together; 0 for a model that draws by no such rule. `model` is as litellm names it."""
    name = model.lower()
    if "gpt-image-" not in name:
        return 0
    size, quality = _size_of(body.get("size")), body.get("quality")
    quality = quality if isinstance(quality, str) and quality in _GRID else _ASSUMED_QUALITY
    one = _by_table(size, quality) if "gpt-image-1" in name else _by_grid(size, quality)
    partials = _number(body, "partial_images", 0, _MOST_PARTIALS)
    return (one + _PARTIAL * partials) * max(_number(body, "n", 1, MOST_CHOICES), 1)


def _by_table(size: Size, quality: str) -> int:
    square, upright, wide = _TABLE[quality]
    return square if size.width == size.height else upright if size.width < size.height else wide


def _by_grid(size: Size, quality: str) -> int:
    longer, shorter = max(size), min(size)
    along = _GRID[quality]
    across = (2 * along * shorter + longer) // (2 * longer)  # rounded
    return -(-along * across * (2_000_000 + size.width * size.height) // 4_000_000)


def _size_of(given: object) -> Size:
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    return _ASSUMED_SIZE if found is None else Size(int(found[1]), int(found[2]))


def _number(body: Body, name: str, default: int, most: int) -> int:
    given = body.get(name) if name in body else None
    return min(max(given, 0), most) if isinstance(given, int) and not isinstance(given, bool) else default
