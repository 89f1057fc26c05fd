"""Both roads of the litellm handler for hundreds of models, of which not each is rehearsed: that takes a third of a second."""

from typing import Any, Literal

import pytest

from crplugins.handlers.litellm.client import Known, LitellmClient

Road = Literal["long", "short"]
"""Through `acompletion`, or with litellm's configuration of the provider alone."""


def all_take(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first model is rehearsed for all, which stand at one address; or none is, and nobody takes the short road."""
    learnt: list[Known] = []
    rehearse, complete = LitellmClient._rehearse, LitellmClient.complete

    async def once(self: LitellmClient, model: str, known: Known) -> None:
        if road == "short" and not learnt:
            await rehearse(self, model, known)
            learnt.append(known)

    async def completed(self: LitellmClient, model: str, *rest: Any) -> Any:
        known = self._models.get(model)
        if learnt and known is not None and known.configured is not None and known.rehearsing is None:
            known.configured.additions.update(learnt[0].configured.additions)  # type: ignore[union-attr]
            known.rehearsed, known.rehearsing = learnt[0].rehearsed, learnt[0].rehearsing
        return await complete(self, model, *rest)

    monkeypatch.setattr(LitellmClient, "_rehearse", once)
    monkeypatch.setattr(LitellmClient, "complete", completed)
