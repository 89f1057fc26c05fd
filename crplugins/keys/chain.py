"""Chain: several key sources, asked in order."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from crplugins.core.shared import Shared
from crplugins.keys.key import Key
from crplugins.keys.source import Found, KeySource, SecretRefused, SourceUnavailable, listed_keys


class Chain(Shared):
    """The first source that has the key answers, also where another is unavailable or has refused it.

    If none has it, one that could not be asked makes it unavailable: it may have been there.
    """

    def __init__(self, sources: Sequence[KeySource]) -> None:
        self.sources: Final = tuple(sources)
        self._stack = AsyncExitStack()

    @property
    def keys(self) -> tuple[Key, ...]:
        """Those of the sources that know theirs; see `ListsKeys`."""
        return tuple(key for source in self.sources for key in listed_keys(source))

    async def find(self, secret: str) -> Found | None:
        unavailable: SourceUnavailable | None = None
        refused: SecretRefused | None = None
        for source in self.sources:
            try:
                found = await source.find(secret)
            except SourceUnavailable as error:
                unavailable = error
            except SecretRefused as error:
                if refused is None or refused.reason == "wrong_issuer":  # the right issuer's source knows better
                    refused = error
            else:
                if found is not None:
                    return found
        if problem := unavailable or refused:
            raise problem
        return None

    async def open(self) -> None:
        async with AsyncExitStack() as stack:
            for source in self.sources:
                await stack.enter_async_context(source)
            self._stack = stack.pop_all()

    async def close(self) -> None:
        await self._stack.aclose()

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.sources))})"
