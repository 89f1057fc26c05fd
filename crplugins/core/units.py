"""Units: what of a request and its answer is charged by number and is no token: pictures, characters, seconds."""

import msgspec


class Units(msgspec.Struct, frozen=True):
    """Attributes:
    pictures: that were made, or are asked for.
    characters: of a text that is to be spoken.
    recorded: seconds of a recording that is to be understood.
    spoken: seconds of the sound that was made.
    queries: that an answer is charged as, where a large one counts as several.
    """

    pictures: int = 0
    characters: int = 0
    recorded: float = 0.0
    spoken: float = 0.0
    queries: int = 0

    def over(self, other: "Units") -> "Units":
        """These, and of what they do not say the other's."""
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(other)
        return Units(*[a or b for a, b in zip(mine, others, strict=True)])


NO_UNITS = Units()

MAX_SECONDS = 100_000.0
"""Of one recording: more than a day."""


_LONGEST_NUMBER = 32


def sane_seconds(value: object) -> float:
    """What a provider says of the length of a recording, vLLM as a text; 0 for nonsense."""
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        try:
            value = float(value)
        except ValueError:
            return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if 0 < value <= MAX_SECONDS else 0.0
