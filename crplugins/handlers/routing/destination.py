"""Destination: the deployments of one name that a request may still ask."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final

from crplugins.core.body import Body
from crplugins.core.dialects import CHAT, Dialect
from crplugins.handlers.routing.candidate import Candidate

if TYPE_CHECKING:
    from crplugins.handlers.routing.group import Group


class Destination:
    """One name that a request is sent to: first that which was asked for, then its fallbacks.

    Attributes:
        fallback: the name, where it is another one than was asked for.
        left: those that have not been asked, and may answer, in the protocol of the request or in chat completions.
        asked: whether one of them has been.
    """

    __slots__ = ("_dialect", "asked", "fallback", "group", "left")

    def __init__(self, group: "Group", dialect: Dialect = CHAT, fallback: str | None = None) -> None:
        self.group: Final = group
        self.fallback: Final = fallback
        self.left: list[Candidate] = [*group.candidates]
        self.asked = False
        self._dialect: Final = dialect
        if dialect is not CHAT or not group.all_chat:
            self.left = [each for each in self.left if each.protocols.answers(dialect)]

    def keep(self, fits: Callable[[Candidate], bool], but: Collection[Candidate] = ()) -> None:
        """All for which this holds are left, whatever went wrong before, but those."""
        dialect = self._dialect
        self.left = [
            each for each in self.group.candidates if each.protocols.answers(dialect) and fits(each) and each not in but
        ]

    def best(self, now: float) -> list[Candidate]:
        """Those that do not cool down, have the protocol themselves and the lowest order; the one alone that is due for
        its trial.
        """
        well = [each for each in self.left if each.health.admits(now)]
        if len(well) > 1:
            if self._dialect is not CHAT:
                well = [each for each in well if each.protocols.speaks(self._dialect)] or well
            first = min([each.order for each in well])
            well = [each for each in well if each.order == first]
            tried = next((each for each in well if each.health.cools_until), None)
            return well if tried is None else [tried]
        return well

    def model(self, body: Body) -> str:
        """The name that is asked for here."""
        return self.fallback or body.get("model", str) or ""

    def body(self, body: Body) -> Body:
        """The request with that name."""
        if self.fallback is None:
            return body
        copy = body.copy()
        copy.set("model", self.fallback)
        return copy
