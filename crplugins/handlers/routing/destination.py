"""Destination: the deployments of one name that a request may still ask."""

from typing import TYPE_CHECKING, Final

from crplugins.core.body import Body
from crplugins.handlers.routing.candidate import Candidate

if TYPE_CHECKING:
    from crplugins.handlers.routing.group import Group


class Destination:
    """One name that a request is sent to: first that which was asked for, then its fallbacks.

    Attributes:
        fallback: the name, where it is another one than was asked for.
        left: those that have not been asked, and may answer.
        asked: whether one of them has been.
    """

    __slots__ = ("asked", "fallback", "group", "left")

    def __init__(self, group: "Group", fallback: str | None = None) -> None:
        self.group: Final = group
        self.fallback: Final = fallback
        self.left: list[Candidate] = [*group.candidates]
        self.asked = False

    def best(self, now: float) -> list[Candidate]:
        """Those that do not cool down and have the lowest order; the one alone that is due for its trial."""
        well = [each for each in self.left if each.health.admits(now)]
        if len(well) > 1:
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
