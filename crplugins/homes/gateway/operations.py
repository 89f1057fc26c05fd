"""What an operator looks at while the gateway runs, behind the admin token.

GET /admin/live             the requests that run now
GET /admin/refusals         the latest requests that were refused or have failed
GET /admin/deployments      how each deployment fares
GET /admin/explain          ?key=team-a&model=fast: what would happen to a request, step by step, and how the key's
                            limits and budgets stand

Nothing of a prompt or an answer is among it. With several workers it is of all of them: each tells the others what it
is doing once a second.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crplugins.config import Config
from crplugins.core.principal import Principal
from crplugins.homes.caller_limits import CallerLimits
from crplugins.homes.explained import explained
from crplugins.homes.explained_deployments import ExplainedStep
from crplugins.homes.gateway.admin_token import AdminToken, bad_field
from crplugins.homes.gateway.openapi_parts import response, schemas_of, with_endpoints
from crplugins.homes.gateway.parameters import read_parameters
from crplugins.homes.gateway.store_errors import as_gateway_errors
from crplugins.homes.gateway.worker_states import WorkerState, WorkerStates
from crplugins.keys.key import utc_now
from crplugins.keys.service import KeyService
from crplugins.limits.reservations import limits_unavailable
from crplugins.limits.store import StoreUnavailable
from crplugins.plugins.activity import RefusedRequest, RunningRequest

LIVE_PATH: Final = "/admin/live"
REFUSALS_PATH: Final = "/admin/refusals"
DEPLOYMENTS_PATH: Final = "/admin/deployments"
EXPLAIN_PATH: Final = "/admin/explain"

PUBLIC_PATHS: Final = (LIVE_PATH, REFUSALS_PATH, DEPLOYMENTS_PATH, EXPLAIN_PATH)
"""Not Auth's to guard: the token is no key, and is looked at here."""

MOST: Final = 500
"""Entries in one answer."""

Workers = Annotated[int, Meta(description="Of how many processes it is.")]


class RunningRequests(Struct, frozen=True):
    """The oldest first, 500 at most."""

    workers: Workers
    data: list[RunningRequest]
    object: Literal["list"] = "list"


class RefusedRequests(Struct, frozen=True):
    """The newest first, 500 at most, since each process began."""

    workers: Workers
    data: list[RefusedRequest]
    object: Literal["list"] = "list"


class DeploymentHealth(Struct, frozen=True):
    """The number of processes in which a deployment is in each state, and what all of them together have of it."""

    model: str
    deployment: str
    healthy: int
    cooling: int
    trial: int
    cooldowns: Annotated[int, Meta(description="How often it has begun to cool down.")]
    running: Annotated[int, Meta(description="How many requests it is answering.")]


class DeploymentsHealth(Struct, frozen=True):
    """In the order of the configuration."""

    workers: Workers
    data: list[DeploymentHealth]
    object: Literal["list"] = "list"


class Explained(Struct, frozen=True):
    """As `crplugins explain` shows it. `limits`: how those of the key stand; null for a key that nobody knows."""

    key: str
    model: str
    served: Annotated[bool, Meta(description="Whether it would be served, as long as limits and budgets last.")]
    steps: list[ExplainedStep]
    limits: CallerLimits | None


class OperationsApi:
    """The endpoints, as routes of an app that renders `GatewayError`.

    Args:
        states: what the processes are doing.
        keys: those of all sources.
        limits_of: how the limits and budgets of a key stand; raises `StoreUnavailable`.
        tokens: the bearer tokens of operators by name, one of which every request needs; any other is 401.
        now: the wall clock.
    """

    def __init__(
        self,
        config: Config,
        states: WorkerStates,
        keys: KeyService,
        limits_of: Callable[[Principal], Awaitable[CallerLimits]],
        tokens: Mapping[str, str],
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._config = config
        self._states = states
        self._keys = keys
        self._limits_of = limits_of
        self._token = AdminToken(tokens)
        self._now = now

    def routes(self) -> list[Route]:
        return [
            self._route(LIVE_PATH, self.live),
            self._route(REFUSALS_PATH, self.refusals),
            self._route(DEPLOYMENTS_PATH, self.deployments),
            self._route(EXPLAIN_PATH, self.explain),
        ]

    async def live(self, _request: Request) -> RunningRequests:
        states = await self._states.all()
        running = sorted((each for state in states for each in state.running), key=lambda each: each.started_at)
        return RunningRequests(len(states), running[:MOST])

    async def refusals(self, _request: Request) -> RefusedRequests:
        states = await self._states.all()
        refused = sorted((each for state in states for each in state.refused), key=lambda each: each.at, reverse=True)
        return RefusedRequests(len(states), refused[:MOST])

    async def deployments(self, _request: Request) -> DeploymentsHealth:
        states = await self._states.all()
        return DeploymentsHealth(len(states), list(_summed(states)))

    async def explain(self, request: Request) -> Explained:
        given = read_parameters(request.query_params.multi_items(), ("key", "model"))
        for name in ("key", "model"):
            if not given.get(name):
                raise bad_field(name, "is needed")
        key_id, model = given["key"], given["model"]
        with as_gateway_errors():
            keys = await self._keys.list()
        steps = await asyncio.to_thread(explained, self._config, keys, key_id, model, now=self._now())
        key = next((key for key in keys if key.id == key_id), None)
        try:
            limits = None if key is None else await self._limits_of(key.principal)
        except StoreUnavailable:
            raise limits_unavailable() from None
        return Explained(key_id, model, all(step.ok for step in steps), steps, limits)

    def _route(self, path: str, answer: Callable[[Request], Awaitable[Struct]]) -> Route:
        async def guarded(request: Request) -> Response:
            self._token.check(request.scope["headers"])
            body = msgspec.json.encode(await answer(request))
            return Response(body, headers={"cache-control": "no-store"}, media_type="application/json")

        return Route(path, guarded, methods=["GET"])


def _summed(states: Iterable[WorkerState]) -> Iterable[DeploymentHealth]:
    """One entry for each deployment."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for state in states:
        for each in state.deployments:
            counts = sums.setdefault((each.model, each.deployment), Counter())
            counts.update({each.state: 1, "cooldowns": each.cooldowns, "running": each.running})
    for (model, deployment), counts in sums.items():
        numbers = (counts[name] for name in ("healthy", "cooling", "trial", "cooldowns", "running"))
        yield DeploymentHealth(model, deployment, *numbers)


def with_operations(document: dict[str, Any]) -> dict[str, Any]:
    """A copy of the gateway's OpenAPI document with the endpoints in it. It knows the security scheme `admin`."""
    answers = (RunningRequests, RefusedRequests, DeploymentsHealth, Explained)
    asked = [
        {"name": name, "in": "query", "required": True, "description": text, "schema": {"type": "string"}}
        for name, text in (("key", "The key's id, not its secret."), ("model", "The name a client would ask for."))
    ]
    paths = {
        LIVE_PATH: _operation("liveRequests", "The requests that run now.", "RunningRequests"),
        REFUSALS_PATH: _operation("refusals", "The latest that were refused or have failed.", "RefusedRequests"),
        DEPLOYMENTS_PATH: _operation("deployments", "How each deployment fares.", "DeploymentsHealth"),
        EXPLAIN_PATH: _operation("explain", "What would happen to a request.", "Explained", asked),
    }
    return with_endpoints(document, paths, schemas_of(answers))


def _operation(name: str, summary: str, schema: str, parameters: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    refusals = {"401": "The admin token is missing or wrong."}
    if parameters:
        refusals |= {
            "400": "`param` names the query parameter that is not what it should be.",
            "503": "The keys or the limits cannot be read now.",
        }
    operation = {
        "operationId": name,
        "summary": summary,
        "security": [{"admin": []}],
        "responses": {
            "200": response(summary, schema),
            **{status: response(text, "ErrorBody") for status, text in sorted(refusals.items())},
        },
    }
    return {"get": operation | ({"parameters": list(parameters)} if parameters else {})}
