"""Affinity: requests of one session stay with the deployment in whose cache their prompt is.

A provider bills the beginning of a prompt that it has seen a few minutes ago at a tenth, and answers sooner; but only
where it has seen it. So a session goes where it went last. Where a new one begins is a matter of its hash, so that
several processes and gateways agree without talking to each other (rendezvous hashing, Thaler and Ravishankar 1998),
and none holds more than its share of what is running (consistent hashing with bounded loads, arXiv 1608.01350).
"""

import json
import math
import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from crplugins.core.body import Body
from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError
from crplugins.core.exchange import Exchange
from crplugins.core.identity import IdentitySource
from crplugins.handlers.routing.balancing import Balancer, weighed
from crplugins.handlers.routing.candidate import Candidate
from crplugins.handlers.routing.health import Health

LEAST_PROMPT_BYTES: Final = 4096
"""Messages and tools that are shorter are in no cache: OpenAI, Anthropic and Google keep prompts of 1,024 tokens and
more. They say nothing about the session, unless their client names it."""

MOST_PREFIX_BYTES: Final = 64 * 1024
"""How much of tools and messages is looked at: what is after it belongs to the same session."""

MOST_LOAD: Final = 1.5
"""How many times its share a deployment may be running before a session goes elsewhere."""

MOST_SESSIONS: Final = 10_000
"""How many sessions of one model name are remembered. Those beyond go by their hash, and mostly to the same place."""


class Affinity:
    """Picks the deployment that a request's session had last; for a new session, and where that one has more than its
    share to do, the first by its hash. Requests without a session are for `otherwise`.

    Args:
        otherwise: the strategy of the model name.
        hashed: a session begins where its hash says. Else where `otherwise` says.
        seconds: how long the place of a session is remembered after its last request.
        sessions: where clients name their session.
    """

    def __init__(
        self, otherwise: Balancer, *, hashed: bool, seconds: float, sessions: Sequence[IdentitySource] = ()
    ) -> None:
        self._otherwise: Final = otherwise
        self._hashed: Final = hashed
        self._seconds: Final = seconds
        self._sessions: Final = sessions
        self._places: Final[BoundedMap[bytes, tuple[Health, float]]] = BoundedMap(MOST_SESSIONS)
        self._names: Final[dict[Health, bytes]] = {}

    def pick(self, candidates: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        session = session_of(exchange, body, self._sessions)
        if session is None:
            return self._otherwise.pick(candidates, exchange, body)
        free, now = with_room(candidates), exchange.clock()
        last, since = self._places.get(session, (None, 0.0))
        place = next((each for each in candidates if each.health is last), None)
        if place is None or now - since > self._seconds:
            place = self._begin(session, free, exchange, body)
        elif place not in free:  # this request alone goes elsewhere
            return self._begin(session, free, exchange, body)
        self._places[session] = place.health, now
        return place

    def _begin(self, session: bytes, free: Sequence[Candidate], exchange: Exchange, body: Body) -> Candidate:
        if len(free) == 1:
            return free[0]
        if not self._hashed:
            return self._otherwise.pick(free, exchange, body)
        return min(weighed(free), key=lambda each: self._wait(session, *each))[0]

    def _wait(self, session: bytes, candidate: Candidate, weight: float) -> float:
        """A random time that depends on the session and the deployment alone, exponentially distributed: whose is the
        shortest of several is as likely as its weight says."""
        if (name := self._names.get(candidate.health)) is None:
            name = self._names[candidate.health] = candidate.deployment.account.encode()
        drawn = int.from_bytes(blake2b(session, key=name, digest_size=8).digest())
        return -math.log((drawn + 1) / 2**64) / weight


def with_room(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that would not have more than `MOST_LOAD` times their share of what is running with one request more; at
    least one of them."""
    able = weighed(candidates)
    whole = sum([weight for _, weight in able])
    allowed = MOST_LOAD * (sum([each.health.running for each, _ in able]) + 1) / whole
    return [each for each, weight in able if each.health.running < allowed * weight]


def session_of(exchange: Exchange, body: Body, sources: Sequence[IdentitySource]) -> bytes | None:
    """A digest of what requests of one session have in common; None for a request that says nothing of it.

    The `prompt_cache_key`, else the session that the client names, else the beginning of a long prompt: its tools and
    its messages up to the first of the user. Within the key of the client, whatever it says.
    """
    named = body.get("prompt_cache_key", str) or _named(exchange, sources)
    opening = [named.encode()] if named else _opening(body)
    if not opening:
        return None
    principal = exchange.principal
    digest = blake2b((principal.key_id if principal else "").encode(), digest_size=16)
    digest.update(b"\0named\0" if named else b"\0opening\0")
    for part in opening:
        digest.update(part)
    return digest.digest()


def _named(exchange: Exchange, sources: Sequence[IdentitySource]) -> str | None:
    for source in sources:
        try:
            if (name := source.read(exchange)) is not None:
                return name
        except GatewayError:  # a name that is none: whether it is refused, the limits of sessions decide
            continue
    return None


def _opening(body: Body) -> list[bytes]:
    """Tools, and messages up to the first of the user, `MOST_PREFIX_BYTES` of them; nothing for a short prompt."""
    fields = body.fields
    messages = fields.get("messages")
    if messages is None:
        return []
    tools, asked = memoryview(fields.get("tools", b"")), memoryview(messages)
    if len(tools) + len(asked) < LEAST_PROMPT_BYTES:
        return []
    beginning = tools[:MOST_PREFIX_BYTES]
    text = bytes(asked[: MOST_PREFIX_BYTES - len(beginning)]).decode(errors="replace")
    return [bytes(beginning), text[: _end_of_question(text)].encode()]


_MOST_MESSAGES: Final = 1000
"""No conversation has so many before its first question."""

_BETWEEN: Final = re.compile(r"[\[,\s]*")
_json: Final = json.JSONDecoder(strict=False)


def _end_of_question(messages: str) -> int:
    """Where the first message of the user ends in the beginning of an array of them: where all ends, if it does not."""
    end = 0
    try:
        for _ in range(_MOST_MESSAGES):
            message, end = _json.raw_decode(messages, _BETWEEN.match(messages, end).end())  # type: ignore[union-attr]
            if isinstance(message, dict) and message.get("role") == "user":
                return end
    except (ValueError, RecursionError):  # cut in the middle, or at the end of the array
        pass
    return len(messages)
