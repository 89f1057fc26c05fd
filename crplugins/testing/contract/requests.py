"""What a plugin may do to a request on its way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crplugins.core.body import Body
from crplugins.testing.answer import Answer
from crplugins.testing.contract.stage import (
    CHAT,
    PATH,
    ScriptedApp,
    Stage,
    Witness,
    answer,
    around,
    ask,
    check_faults,
    foreign,
    request,
    spied,
)

_MESSAGES = CHAT["messages"]
ODD_BODIES: Sequence[tuple[str, Any]] = (
    ("an empty object", {}),
    ("no model", {"messages": _MESSAGES}),
    ("a model that is no name", {"model": 7, "messages": _MESSAGES}),
    ("no messages", {"model": "gpt-4o-mini"}),
    ("messages that are null", {"model": "gpt-4o-mini", "messages": None}),
    ("messages that are no list", {"model": "gpt-4o-mini", "messages": "hi"}),
    ("messages that are no objects", {"model": "gpt-4o-mini", "messages": [None, 1, "x", []]}),
    ("a message without content", {"model": "gpt-4o-mini", "messages": [{"role": "assistant", "content": None}]}),
    ("a stream flag that is a word", {**CHAT, "stream": "yes"}),
    ("stream options that are no object", {**CHAT, "stream_options": "x"}),
    ("stream options that are null", {**CHAT, "stream_options": None}),
    ("numbers out of range", {**CHAT, "n": -1, "max_tokens": 10**30, "temperature": "hot"}),
    ("no JSON", b"model=gpt"),
    ("an empty body", b""),
    ("a list", b"[]"),
    ("text that is none", b'{"model": "\xff"}'),
)


class Requests(Stage):
    async def test_the_accepted_request_reaches_the_app(self) -> None:
        seen, app, faults = await self._send(self.accepted_request())
        assert not faults, f"hooks raised: {faults}"
        assert app.bodies, f"accepted_request() did not get through: {seen.status} {seen.body!r}"
        assert seen.status == 200, f"accepted_request() was answered with {seen.status}"

    async def test_a_value_it_does_not_change_keeps_its_bytes(self) -> None:
        options = request(self.accepted_request())
        _, app, _ = await self._send(options)
        assert app.bodies, "accepted_request() did not get through"
        sent, arrived = options["body"], app.bodies[0]
        if not isinstance(sent, bytes) or sent == arrived:
            return
        assert decoded(sent) != decoded(arrived), "the body was written again though nothing in it had changed"
        before, after = Body(sent), Body(arrived)
        for key in before:
            if before.get(key) == after.get(key):
                assert before.bytes_of(key) == after.bytes_of(key), f"the value of {key!r} was written again"

    async def test_a_refusal_has_openais_shape(self) -> None:
        refused = self.refused_request()
        if refused is None:
            return
        plugin = self.make_plugin()
        calls, app = spied(plugin), ScriptedApp(answer(*self.stream()))
        stack = around(app, [plugin])
        seen = (await ask(stack, refused)).answer
        check_faults(stack, plugin, "refused_request()")
        calls.check("a refusal")
        assert not app.bodies, "refused_request() reached the app"
        check_error(seen)

    async def test_odd_requests_are_no_bug(self) -> None:
        headers = self.accepted_request().get("headers", {})
        for name, body in ODD_BODIES:
            seen, _, faults = await self._send({"headers": headers, "body": body})
            assert not faults, f"{name}: hooks raised: {faults}"
            assert seen.status < 500, f"{name}: answered with {seen.status}"
        _, _, faults = await self._send({"headers": headers}, method="GET", path="/v1/models")
        assert not faults, f"another path: hooks raised: {faults}"

    async def test_it_works_alone_fused_and_behind_a_foreign_layer(self) -> None:
        alone = await self._arranged("alone")
        for arrangement in ("fused outside", "fused inside", "split outside", "split inside"):
            seen = await self._arranged(arrangement)
            assert seen == alone, f"{arrangement}: {seen} instead of {alone}"

    async def _send(
        self, options: Mapping[str, Any], method: str = "POST", path: str = PATH
    ) -> tuple[Answer, ScriptedApp, list[str]]:
        """The answer, the app, and the hooks that raised."""
        app = ScriptedApp(answer(*self.stream()))
        stack = around(app, [self.make_plugin()])
        seen = (await ask(stack, options, method=method, path=path)).answer
        return seen, app, [hook for _, hook in stack.faults]

    async def _arranged(self, arrangement: str) -> list[object]:
        """What a request becomes when the plugin has a neighbour that reads everything, in one boundary or two."""
        app, plugin, neighbour = ScriptedApp(answer(*self.stream())), self.make_plugin(), Witness()
        place, _, side = arrangement.partition(" ")
        outer, inner = (plugin, neighbour) if side == "outside" else (neighbour, plugin)
        layer = foreign if place == "split" else lambda app: app
        stack = around(app, [plugin]) if not side else around(layer(around(app, [inner])), [outer])
        seen = (await ask(stack, self.accepted_request())).answer
        return [seen.status, sorted(seen.headers), seen.body, app.bodies]


def check_error(seen: Answer) -> None:
    """Fail unless the answer is an error as OpenAI writes it."""
    assert seen.complete, "the refusal is not a whole answer"
    assert 400 <= seen.status < 600, f"refused_request() was answered with {seen.status}"
    assert seen.headers.get("content-type", "").startswith("application/json"), "a refusal must be JSON"
    assert seen.headers.get("x-request-id"), "a refusal must carry x-request-id"
    error = decoded(seen.body).get("error")
    assert isinstance(error, dict), f"a refusal must have an error object: {seen.body!r}"
    assert set(error) == {"message", "type", "param", "code"}, f"an error has four keys, not {sorted(error)}"
    assert error["message"], "an error has a message"
    assert isinstance(error["message"], str), "an error's message is text"


def decoded(data: bytes) -> Any:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise AssertionError(f"no JSON: {data!r}") from error
