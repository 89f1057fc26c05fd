"""ModelAliases: clients ask for names of their own, and see no others."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self

from crplugins.core.errors import GatewayError, model_not_found
from crplugins.core.exchange import Exchange, Slot
from crplugins.core.patterns import name_set
from crplugins.core.plugin import Plugin
from crplugins.core.principal import Aliases, Principal
from crplugins.core.sse import Event
from crplugins.plugins.aliases.access import permitted
from crplugins.plugins.aliases.explain import shadows
from crplugins.plugins.aliases.rename import Renaming
from crplugins.plugins.aliases.table import AliasTable, AliasView, caller_of

logger = logging.getLogger("crplugins.plugins")

RENAMING: Final[Slot[Renaming]] = Slot("how the answer is renamed")
_KEPT_VIEWS: Final = 4096


class ModelAliases(Plugin):
    """Resolves the model's name on the way in and puts the requested one back on the way out.

        ModelAliases(aliases={"fast": "gpt-4o-mini", "gpt-3.5*": "gpt-4o-mini"}, teams={"search": {"fast": "gpt-4o"}})

    A key's own aliases (`principal.aliases`) come before its team's, those before the gateway's; in each map the name
    itself comes before patterns and a longer pattern before a shorter one. A key with a list of `models` may call a
    name if it, or what it resolves to, is in the list. The served name goes to `exchange.served_model` alone.

    Raises `AliasError`, and `AliasCycle` for aliases that lead in a circle.

    Args:
        aliases: a name, or a list of `{model: NAME, weight: N}`, for each name or pattern with one `*`.
        teams: a mapping like it for each team.
        served: the names and patterns that are served, if that is known; for `warnings` only.
        response_model: `served` leaves the provider's name in answers and errors.
        hidden_status: how a name the key may not call is refused: 404 as if it did not exist, or 403.
    """

    reads_body: bool = True
    rewrites_events: bool = True

    def __init__(
        self,
        *,
        aliases: Mapping[str, Any] | None = None,
        teams: Mapping[str, Mapping[str, Any]] | None = None,
        served: Sequence[str] | None = None,
        response_model: Literal["requested", "served"] = "requested",
        hidden_status: Literal[404, 403] = 404,
    ) -> None:
        if response_model not in ("requested", "served") or hidden_status not in (404, 403):
            raise ValueError("response_model is 'requested' or 'served', hidden_status 404 or 403")
        self.table = AliasTable.parse(aliases or {}, teams)
        self.warnings = shadows(self.table, served)
        self._renames = self.rewrites_events = response_model == "requested"
        self._refusal = model_not_found if hidden_status == 404 else _no_access
        self._views: OrderedDict[int, tuple[Aliases, str | None, AliasView]] = OrderedDict()

    async def __aenter__(self) -> Self:
        for warning in self.warnings:
            logger.warning("%s", warning)
        return self

    async def on_request(self, exchange: Exchange) -> None:
        body, principal = exchange.body, exchange.principal
        assert body is not None, "reads_body"
        name = body.get("model", str)
        if name is None:
            _refuse_nameless(principal)
            return
        requested = exchange.requested_model or name
        view = self._view(principal)
        if not _may_call(principal, view, name):
            raise self._refusal(requested)
        links = view.chain(name, lambda entry: entry.choose(_caller(exchange)))
        served = links[-1].target if links else name
        exchange.served_model = served
        if served != name:
            body.set("model", served)
        if self._renames:
            _remember(exchange, requested, [name, *[link.target for link in links]])

    def on_response(self, exchange: Exchange) -> None:
        renaming = RENAMING.get(exchange)
        if renaming is not None and self._renames:
            renaming.hide(exchange.served_model)  # a handler has put in the name it sent
            _rename_headers(exchange, renaming)

    def on_event(self, exchange: Exchange, event: Event) -> Event | None:
        renaming = RENAMING.get(exchange)
        if renaming is None or not self._renames:
            return event
        renamed = renaming.event(event)
        refused = event.document and (exchange.status or 0) >= 400
        answer = event.answer
        if refused or (answer is not None and answer.error is not None):
            renaming.hide(exchange.served_model)  # of a later attempt, perhaps
            return renaming.errors(renamed, whole=refused)
        return renamed

    def _view(self, principal: Principal | None) -> AliasView:
        if principal is None:
            return self.table.gateway
        if not principal.aliases:
            return self.table.view(team=principal.team)
        return self._own_view(principal)

    def _own_view(self, principal: Principal) -> AliasView:
        """The view of a key with aliases of its own, made once: a key's map is never changed, only replaced."""
        kept = self._views.get(id(principal.aliases))
        if kept is not None and kept[0] is principal.aliases and kept[1] == principal.team:
            return kept[2]
        view = self.table.view(principal.key_id, principal.team, principal.aliases)
        self._views[id(principal.aliases)] = (principal.aliases, principal.team, view)
        if len(self._views) > _KEPT_VIEWS:
            self._views.popitem(last=False)
        return view


def _caller(exchange: Exchange) -> str:
    """Who a weighted alias is sticky for. With nobody to be sticky for, each request goes by the weights on its own."""
    body = exchange.body
    user = None if body is None else body.get("user", str) or body.get("safety_identifier", str)
    return caller_of(exchange.principal, user) or exchange.id


def _may_call(principal: Principal | None, view: AliasView, name: str) -> bool:
    return principal is None or principal.models is None or permitted(view, name_set(principal.models), name)


def _remember(exchange: Exchange, requested: str, names: list[str]) -> None:
    renaming = RENAMING.get(exchange)
    if renaming is None:
        RENAMING.set(exchange, Renaming(requested, names))
    else:  # another ModelAliases stands further out
        renaming.hide(*names)


def _rename_headers(exchange: Exchange, renaming: Renaming) -> None:
    """Some servers name the model in a header too (`openai-model`, `x-litellm-model-group`)."""
    if not (hidden := {name.encode() for name in renaming.hidden}):
        return
    requested = renaming.requested
    told = requested.encode() if requested.isascii() and requested.isprintable() else b""
    exchange.response_headers[:] = [(k, told if v in hidden else v) for k, v in exchange.response_headers]


def _refuse_nameless(principal: Principal | None) -> None:
    """Some servers have a default model, which a key's list may not hold."""
    if principal is not None and principal.models is not None:
        raise GatewayError(400, "you must provide a model parameter")


def _no_access(model: str) -> GatewayError:
    """OpenAI's 403 to a project without access to a model (Aider-AI/aider#604), said of the key."""
    return GatewayError(403, f"This key does not have access to model `{model}`", code="model_not_found")
