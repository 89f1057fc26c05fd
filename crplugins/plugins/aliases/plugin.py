"""ModelAliases: clients use their own names for models, and see no others.

`table.py` resolves names, `access.py` says which names a key may call, `rename.py` puts the requested name back into
answers, `explain.py` explains the resolution of a name and warns about doubtful aliases.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, Literal, Self

from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError, model_not_found, shown_name
from crplugins.core.exchange import MODEL_HEADER, Exchange, Slot
from crplugins.core.outcome import ErrorType
from crplugins.core.patterns import LONGEST_MODEL, name_set
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Aliases, Principal
from crplugins.core.redaction import one_line
from crplugins.core.sse import Event
from crplugins.plugins.aliases.access import permitted
from crplugins.plugins.aliases.explain import alias_warnings
from crplugins.plugins.aliases.rename import Renaming
from crplugins.plugins.aliases.table import AliasTable, AliasView, caller_of

logger = logging.getLogger("crplugins.plugins")

RENAMING: Final[Slot[Renaming]] = Slot("aliases.renaming")


class ModelAliases(Plugin):
    """Resolves the model's name in the request and restores the requested name in the response.

        ModelAliases(aliases={"fast": "gpt-4o-mini", "gpt-3.5*": "gpt-4o-mini"}, teams={"search": {"fast": "gpt-4o"}})

    A key's own aliases (`principal.aliases`) take precedence over its team's, those over the gateway's; in each map an
    exact name takes precedence over patterns and a longer pattern over a shorter one. A key with a list of `models` may
    call a name if it, or what it resolves to, is in the list, and no other model either that its request names for the
    provider (Anthropic's `fallbacks` and advisors, OpenRouter's `models`). The served name is in
    `exchange.served_model` only.

    Raises `AliasError`: `AliasCycle` for aliases that form a cycle, `AliasChainTooLong` for too long a chain of them.

    Args:
        aliases: a name, or a list of `{model: NAME, weight: N}`, for each name or pattern with one `*`.
        teams: a mapping like it for each team.
        served: the names and patterns that are served, if known; for `warnings` only.
        response_model: `served` leaves the provider's name in answers and errors.
        hidden_status: the status for a name that the key may not call: 404 as if it did not exist, or 403.
        shadow: that a key calls a name that it may not is only logged and counted, for every key.
    """

    reads_body: bool = True
    rewrites_events: bool = True
    reads_texts: bool = False

    def __init__(
        self,
        *,
        aliases: Mapping[str, Any] | None = None,
        teams: Mapping[str, Mapping[str, Any]] | None = None,
        served: Sequence[str] | None = None,
        response_model: Literal["requested", "served"] = "requested",
        hidden_status: Literal[404, 403] = 404,
        shadow: bool = False,
    ) -> None:
        if response_model not in ("requested", "served") or hidden_status not in (404, 403):
            raise ValueError("response_model is 'requested' or 'served', hidden_status 404 or 403")
        self.needs_principal = bool(teams)
        self.table = AliasTable.parse(aliases or {}, teams)
        self.warnings = alias_warnings(self.table, served)
        self._renames = self.rewrites_events = response_model == "requested"
        self._refusal = model_not_found if hidden_status == 404 else _no_access
        self.shadowed: Counter[ErrorType] = Counter()
        """How many requests the allow-lists in shadow mode would have refused, by reason."""
        self._shadow: Final = shadow
        self._views: Final[BoundedMap[int, tuple[Aliases, str | None, AliasView]]] = BoundedMap()
        self._resolved: Final[BoundedMap[tuple[AliasView, str], tuple[str, ...]]] = BoundedMap()
        """What names lead to, where no weights decide. Clients can invent names: long ones are not kept."""

    def take_over(self, previous: Self) -> None:
        self.shadowed = previous.shadowed

    async def __aenter__(self) -> Self:
        for warning in self.warnings:
            logger.warning("%s", warning)
        return self

    def on_request(self, exchange: Exchange) -> None:
        body, principal = exchange.body, exchange.principal
        assert body is not None, "reads_body"
        name = body.get("model", str)
        if name is None:
            if principal is not None and principal.models is not None:  # an app's default model may not be in the list
                self._refuse(exchange, principal, None, GatewayError(400, "you must provide a model parameter"))
            return
        requested = exchange.requested_model or name
        view = self._view(principal)
        names = self._resolved.get((view, name))
        if principal is not None and principal.models is not None:
            allowed = name_set(principal.models)
            if not (permitted(view, allowed, name) if names is None else allowed.meets(names)):
                self._refuse(exchange, principal, name, self._refusal(requested))
            for other in exchange.dialect.other_models(body):
                if not permitted(view, allowed, other):
                    self._refuse(exchange, principal, other, self._refusal(other))
        if names is None:
            names = self._resolve(exchange, view, name)
        exchange.served_model = served = names[-1]
        if served != name:
            body.set("model", served)
        if self._renames and (served != name or len(requested) <= LONGEST_MODEL):  # an app may answer to any name
            _remember(exchange, requested, names)

    def permits(self, exchange: Exchange, model: str) -> bool:
        """Whether the caller may be served by `model`, a name that it has not asked for."""
        principal = exchange.principal
        if principal is None or principal.models is None or self._shadow or principal.models_shadow:
            return True
        return permitted(self._view(principal), name_set(principal.models), model)

    def on_response(self, exchange: Exchange) -> None:
        renaming = RENAMING.get(exchange)
        if renaming is not None and self._renames:
            resolved = renaming.hidden
            renaming.hide(exchange.served_model)  # a handler has set it to the name that it sent
            _rename_headers(exchange, renaming, resolved)

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        renaming = RENAMING.get(exchange)
        if renaming is None or not self._renames:
            return event
        renamed = renaming.event(event)
        refused = event.document and (exchange.status or 0) >= 400
        answer = event.answer
        if refused or (answer is not None and answer.error is not None):
            renaming.hide(exchange.served_model)  # perhaps that of a later attempt
            return renaming.errors(renamed, whole=refused)
        return renamed

    def _refuse(self, exchange: Exchange, principal: Principal, name: str | None, refusal: GatewayError) -> None:
        """Raise the refusal; of an allow-list in shadow mode only log and count it."""
        if not (self._shadow or principal.models_shadow):
            raise refusal
        self.shadowed[refusal.error_type] += 1
        shown = one_line(name or "", LONGEST_MODEL)
        logger.info("request %s would have been refused: key %s, model '%s'", exchange.id, principal.key_id, shown)

    def _resolve(self, exchange: Exchange, view: AliasView, name: str) -> tuple[str, ...]:
        """The name and what it leads to, step by step; the last is served."""
        links = view.chain(name, lambda entry: entry.choose(_caller(exchange)))
        names = (name, *[link.target for link in links])
        if len(name) <= LONGEST_MODEL and all(len(link.entry.models) == 1 for link in links):
            self._resolved[view, name] = names
        return names

    def _view(self, principal: Principal | None) -> AliasView:
        if principal is None:
            return self.table.gateway
        if not principal.aliases:
            return self.table.view(team=principal.team)
        return self._own_view(principal)

    def _own_view(self, principal: Principal) -> AliasView:
        """The view of a key with its own aliases, made once: a key's map is never changed, only replaced."""
        cached = self._views.get(id(principal.aliases))
        if cached is not None and cached[0] is principal.aliases and cached[1] == principal.team:
            return cached[2]
        view = self.table.view(principal.key_id, principal.team, principal.aliases)
        self._views[id(principal.aliases)] = (principal.aliases, principal.team, view)
        return view


def _caller(exchange: Exchange) -> str:
    """The identity for which a weighted alias is sticky. Without one, the weights alone decide each time."""
    body = exchange.body
    user = None if body is None else body.get("user", str) or body.get("safety_identifier", str)
    return caller_of(exchange.principal, user) or exchange.id


def _remember(exchange: Exchange, requested: str, names: Sequence[str]) -> None:
    renaming = RENAMING.get(exchange)
    if renaming is None:
        RENAMING.set(exchange, Renaming(requested, names, exchange.dialect.model_within))
    else:  # there is another ModelAliases further out
        renaming.hide(*names)


def _rename_headers(exchange: Exchange, renaming: Renaming, resolved: Collection[str]) -> None:
    """Some servers name the model in a header too (`openai-model`, `x-litellm-model-group`).

    In ours only a `resolved` name is replaced: that of a fallback is told.
    """
    headers = exchange.response_headers
    hidden = set(map(str.encode, renaming.hidden))
    if hidden.isdisjoint(map(itemgetter(1), headers)):
        return
    for place, (name, value) in enumerate(headers):
        if value in hidden and (name != MODEL_HEADER or value.decode() in resolved):
            requested = renaming.requested
            shown = requested.encode() if requested.isascii() and requested.isprintable() else b""
            headers[place] = (name, shown)


def _no_access(model: str) -> GatewayError:
    """OpenAI's 403 for a project without access to a model (Aider-AI/aider#604), about the key."""
    return GatewayError(403, f"This key does not have access to model `{shown_name(model)}`", code="model_not_found")
