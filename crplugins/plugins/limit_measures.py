"""Measures: what each limit counts, over which time, and what OpenAI's messages call it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from crplugins.metering.estimate import Unit

_MINUTE: Final = 60_000
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR


class Measure(NamedTuple):
    """One of the limits of `principal.Limits`.

    Attributes:
        name: its name there.
        period: milliseconds; 0 for what is held while a request runs.
        words: as in "Rate limit reached for gpt-4o on tokens per min (TPM)".
    """

    name: str
    unit: Unit
    period: int
    words: str


MEASURES: Final[Mapping[str, Measure]] = {
    measure.name: measure
    for measure in (
        Measure("requests_per_minute", "requests", _MINUTE, "requests per min (RPM)"),
        Measure("requests_per_hour", "requests", _HOUR, "requests per hour (RPH)"),
        Measure("requests_per_day", "requests", _DAY, "requests per day (RPD)"),
        Measure("tokens_per_minute", "tokens", _MINUTE, "tokens per min (TPM)"),
        Measure("tokens_per_hour", "tokens", _HOUR, "tokens per hour (TPH)"),
        Measure("tokens_per_day", "tokens", _DAY, "tokens per day (TPD)"),
        Measure("output_tokens_per_minute", "output_tokens", _MINUTE, "output tokens per min (OTPM)"),
        Measure("output_tokens_per_hour", "output_tokens", _HOUR, "output tokens per hour (OTPH)"),
        Measure("output_tokens_per_day", "output_tokens", _DAY, "output tokens per day (OTPD)"),
        Measure("max_parallel_requests", "parallel", 0, "parallel requests"),
    )
}
