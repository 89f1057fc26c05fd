"""What the fake provider knows to answer, and which answer a request gets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from crplugins.handlers.wires import Wire, wire_of
from crplugins.handlers.wires.chat import CHAT_WIRE
from crplugins.testing.cassettes import Cassette
from crplugins.testing.received import ReceivedRequest
from crplugins.testing.refusal import unknown_model, unknown_url
from crplugins.testing.reply import ProviderReply, plain, refused, reply_to
from crplugins.testing.script import Script


@dataclass(slots=True, kw_only=True)
class Repertoire:
    """The scripts, in order of precedence: `queue` (one request each), `by_model`, `cassettes`, `default`.

    `now` gives `created`, in seconds since 1970.
    """

    default: Script
    models: Sequence[str]
    cassettes: Mapping[str, Cassette]
    now: Callable[[], float]
    queue: deque[Script] = field(default_factory=deque)
    by_model: dict[str, Script] = field(default_factory=dict)

    def answer(self, request: ReceivedRequest) -> tuple[Script, ProviderReply]:
        """The script that governs timing and faults, and the reply; with an `x-request-id` in OpenAI's form."""
        wire = wire_of(_path(request)) or CHAT_WIRE
        chosen = self._choose(request, wire)
        script = chosen if isinstance(chosen, Script) else Script()
        reply = chosen if isinstance(chosen, ProviderReply) else self._reply(chosen, request, wire)
        if all(name != wire.id_header for name, _ in reply.headers):
            reply.headers.append((wire.id_header, f"req_{request.number:032x}"))
        return script, reply

    def _reply(self, script: Script, request: ReceivedRequest, wire: Wire) -> ProviderReply:
        name = f"{wire.id_prefix}fake{request.number:024d}"
        return reply_to(script, request.json, id=name, created=int(self.now()), wire=wire)

    def _choose(self, request: ReceivedRequest, wire: Wire) -> Script | ProviderReply:
        path = _path(request)
        if request.method == "GET" and "/models" in path:
            return self._models_reply(unquote(path.partition("/models")[2].removeprefix("/")))
        if request.method != "POST" or wire_of(path) is None:
            return refused(unknown_url(request.method, path))
        return self.queue.popleft() if self.queue else self._by_name(request, wire)

    def _by_name(self, request: ReceivedRequest, wire: Wire) -> Script | ProviderReply:
        model = request.model or ""
        bare = model.rpartition("/")[2]
        if script := self.by_model.get(model) or self.by_model.get(bare):
            return script
        recording = request.headers.get("x-cassette") or (bare.startswith("replay-") and bare.removeprefix("replay-"))
        if recording and recording in self.cassettes:
            return self.cassettes[recording].script(self.default)
        return refused(unknown_model(model), wire) if recording else self.default

    def _models_reply(self, name: str) -> ProviderReply:
        names = dict.fromkeys([*self.models, *self.by_model])
        if not name:
            return plain(200, {"object": "list", "data": [self._model(one) for one in names]})
        return plain(200, self._model(name)) if name in names else refused(unknown_model(name))

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": int(self.now()), "owned_by": "fake"}


def _path(request: ReceivedRequest) -> str:
    return request.path.partition("?")[0].rstrip("/")
