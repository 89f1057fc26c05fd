"""What the demo model answers in other protocols than chat completions. Imported where somebody asks in one."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, not_spoken
from crplugins.core.exchange import Exchange
from crplugins.core.request_json import MOST_CHOICES
from crplugins.handlers.demo import echo
from crplugins.handlers.wires import WIRES, Wire
from crplugins.handlers.wires.completion import Completion, ModelChoice, merged, usage_object
from crplugins.handlers.wires.wire import UsagePlace


class WireAnswer(NamedTuple):
    """The frames of a stream, a document, or bytes of a type; and what it has used, if anybody counts."""

    usage: dict[str, Any]
    frames: list[bytes] | None = None
    document: dict[str, Any] | None = None
    raw: tuple[bytes, str] = (b"", "")


def answer_in_wire(exchange: Exchange, body: Body, *, tells_usage: bool) -> WireAnswer:
    """The answer to a request in any protocol. Raises `GatewayError` for one that is not as its protocol has it."""
    wire = WIRES.get(exchange.dialect.path)
    if wire is None:
        raise not_spoken(exchange.requested_model or "", exchange.dialect.path)
    request = {name: body.get(name) for name in body}
    try:
        completion = _completion(wire, exchange, request)
        usage = {**completion.usage}
        if (raw := wire.raw(completion, request)) is not None:
            return WireAnswer(usage, raw=raw)
        if not (exchange.stream and wire.streams):
            return WireAnswer(usage, document=wire.whole(completion, request))
        place: UsagePlace = "own_chunk" if tells_usage or wire.always_tells_usage else "none"
        return WireAnswer(usage, wire.frames(completion, request, usage=place))
    except (LookupError, TypeError, ValueError, AttributeError):
        name = next(reversed(wire.requires), "model")
        raise GatewayError(400, f"The demo model cannot read '{name}' of this request.", param=name) from None


def _completion(wire: Wire, exchange: Exchange, request: Mapping[str, Any]) -> Completion:
    """What is said to a request in any protocol, to each of its prompts by itself."""
    name, created = wire.id_prefix + exchange.id, int(exchange.wall_clock())
    said = list[Completion]()
    model = exchange.served_model or ""
    for asked in wire.asks({**request, "model": model})[:MOST_CHOICES]:
        told = echo(asked["messages"], asked, min(asked.get("n") or 1, MOST_CHOICES))
        choices = [ModelChoice(index, told.pieces, (), told.finish_reason) for index in range(told.choices)]
        used = usage_object(told.usage["prompt_tokens"], told.usage["completion_tokens"])
        said.append(Completion(name, created, model, choices, used))
    completion = merged(said) if said else Completion(name, created, model, (), {})
    return replace(completion, usage=wire.usage(completion, request))
