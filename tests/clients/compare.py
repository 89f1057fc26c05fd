"""Every client over the streams of every family, through both handlers: what it reads, held against what is right."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from crplugins import Gateway
from tests.clients.installed import Client
from tests.conftest import serving
from tests.families.catalogue import FAMILIES, find
from tests.families.lab import models_of, signed_in_to_vertex
from tests.families.story import CUT_AT_THE_END, ORDINARY, THINKING, TOOLS, Right
from tests.families.upstream import asking_for, playing

KEY = "sk-client-0123456789"
CASES = (ORDINARY, THINKING, TOOLS, CUT_AT_THE_END)
ASPECTS = ("text", "tools", "reasoning", "usage", "cut")
"""`tools`: two calls at once, each with an id of its own, and their finish reason. `cut`: an answer that was cut off is
an error to the client, no answer."""

Route = tuple[str, str]
"""A family and a handler."""

Wrong = dict[Route, dict[str, str]]
"""What a client read instead of what is right, by aspect."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    },
}


@asynccontextmanager
async def gateway() -> AsyncIterator[str]:
    """Its address."""
    async with AsyncExitStack() as stack:
        stack.enter_context(signed_in_to_vertex())
        upstream = await stack.enter_async_context(playing())
        app = Gateway(
            model_list=[entry for family in FAMILIES.values() for entry in models_of(family, upstream)],
            keys=[{"id": "clients", "secret": KEY}],
        )
        yield await stack.enter_async_context(serving(app))


def routes() -> Iterator[Route]:
    for family in FAMILIES.values():
        if family.direct is not None:
            yield family.name, "direct"
        yield family.name, "litellm"


async def ask(client: Client, url: str) -> Wrong:
    jobs = [
        {
            "key": f"{family}.{handler}.{case}",
            "model": f"{family}.{handler}",
            "message": asking_for(family, case),
            "tools": [WEATHER] if case == TOOLS else [],
        }
        for family, handler in routes()
        for case in CASES
    ]
    read = await client.run({"base_url": f"{url}/v1", "api_key": KEY, "jobs": jobs})
    wrong: Wrong = {}
    for family, handler in routes():
        here = wrong[family, handler] = {}
        for case in CASES:
            seen = read[f"{family}.{handler}.{case}"]
            for aspect, problem in _problems(case, handler, find(family, case).right, seen):
                here[aspect] = f"{here[aspect]}; {problem}" if aspect in here else problem
    return wrong


def _problems(case: str, handler: str, right: Right, seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    error = seen.get("error")
    if case == CUT_AT_THE_END:
        if error is None:
            yield "cut", f"no error, text {seen['text']!r}"
    elif error is not None:
        yield ("tools" if right.calls else "reasoning" if right.reasoning else "text"), str(error)[:200]
    else:
        yield from _misread(handler, right, seen)


def _misread(handler: str, right: Right, seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if seen["text"] != right.text:
        yield "text", repr(seen["text"])
    if seen["reasoning"] != right.reasoning:
        yield "reasoning", repr(seen["reasoning"])
    calls = tuple((name, _decoded(arguments)) for _, name, arguments in seen["calls"])
    ids = {id_ for id_, _, _ in seen["calls"]}
    if calls != right.calls or len(ids) != len(calls) or "" in ids:
        yield "tools", str(seen["calls"])
    if right.calls and seen["finish"] not in ("tool_calls", "tool-calls", "tool_call"):
        yield "tools", f"finish reason {seen['finish']}"
    assert right.usage is not None, "a whole answer of a family tells its usage"
    want = (right.usage.input_tokens, right.usage.output_tokens)
    if handler == "direct" and right.shown is not None:  # the provider's own numbers pass through
        want = right.shown
    if seen["usage"] is None or tuple(seen["usage"]) != want:
        yield "usage", f"{seen['usage']}, not {list(want)}"


def _decoded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
