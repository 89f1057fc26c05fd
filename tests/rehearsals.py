"""One rehearsal of each model per process: it takes a third of a second of CPU, and a thousand tests start a handler.

The next handler of the same model, with the same key and settings, is told what the first has learnt, at its own address.
So are models which are called after a recording, or by other names that mean nothing to litellm, wherever the name is not
part of that.
"""

import asyncio
import dataclasses
import re
from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from crplugins.handlers.litellm import client
from crplugins.handlers.litellm.configs import ConfiguredModel
from crplugins.handlers.litellm.rehearsal import Rehearsed, rehearse

_RECORDED: Final = re.compile(r"replay-[\w.-]+")
_ALIKE: Final[set[str]] = set()
_LEARNT: Final[dict[str, tuple[ConfiguredModel, Rehearsed | None]]] = {}
_LEARNING: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]] = WeakKeyDictionary()


def alike(names: Iterable[str]) -> None:
    """litellm knows none of these models, nor anything of their names."""
    _ALIKE.update(names)


async def _shared(model: ConfiguredModel, *rest: Any) -> Rehearsed | None:
    base = str(model._base)
    name = "any" if model.name in _ALIKE or _RECORDED.fullmatch(model.name) else model.name
    kind = repr((model.provider, name, model._parameters)).replace(base, "")
    async with _LEARNING.setdefault(asyncio.get_running_loop(), asyncio.Lock()):  # many models may be asked at once
        first, rehearsed = _LEARNT.get(kind, (model, None))
        if kind not in _LEARNT or (first.name != model.name and first.name in repr((first.additions, first.answers))):
            first, rehearsed = _LEARNT[kind] = model, await rehearse(model, *rest)
    for learnt in ("uses_sdk", "leaves_texts", "as_given", "answers"):
        setattr(model, learnt, getattr(first, learnt))
    for stream, added in first.additions.items():
        model.additions[stream] = dataclasses.replace(added, url=added.url.replace(str(first._base), base))
    return rehearsed


def share_rehearsals() -> None:
    client.rehearse = _shared
