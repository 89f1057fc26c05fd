"""What the configuration says about streams that break: the same keys for a deployment, an entry and all models."""

from typing import Annotated, Final

from pydantic import Field

from crplugins.handlers.routing.on_break import Action, OnBreak
from crplugins.settings.section import Count, Number, Section


class OnBreakKeys(Section):
    """What becomes of a stream that breaks after its first token."""

    on_break: Action | None = Field(default=None, examples=["restart"])
    """What happens to a stream that breaks after its first token: `error` ends it with an error, the default; `restart`
    holds its beginning back and, if it breaks within that, sends the answer of the next deployment; `continue` has the
    next deployment go on where it broke, if its provider can."""

    hold_tokens: Count | None = Field(default=None, examples=[50])
    """How many tokens of the beginning `restart` holds back at most; by default 100."""

    hold_seconds: Annotated[Number, Field(ge=0, le=3600)] | None = Field(default=None, examples=[1])
    """For how many seconds after the first token `restart` holds back what comes; by default 2."""


NO_ON_BREAK: Final = OnBreakKeys.without_keys()


def on_break_of(*sections: OnBreakKeys) -> OnBreak:
    """What holds for one deployment. Of a key that several sections give, the first one counts."""
    settings = OnBreak()
    for section in reversed(sections):
        settings = OnBreak(
            settings.action if section.on_break is None else section.on_break,
            settings.hold_tokens if section.hold_tokens is None else section.hold_tokens,
            settings.hold_seconds if section.hold_seconds is None else float(section.hold_seconds),
        )
    return settings
