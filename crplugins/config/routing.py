"""What the configuration says about which deployment is asked, and how often again, in LiteLLM's words."""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from crplugins.config.fallbacks import EntryFallbacks
from crplugins.handlers.routing.settings import FailureKind, GroupSettings, RetryPolicy, RoutingSettings, Strategy
from crplugins.settings.building import Deferred
from crplugins.settings.errors import Problem
from crplugins.settings.section import Number, Section, Whole, refusal

_Times = Annotated[Whole, Field(ge=0, le=100)]


def _retries(kind: FailureKind, example: int) -> Any:
    return Field(default=None, validation_alias=f"{kind}Retries", examples=[example])


class RetryPolicySection(Section):
    """How often the same deployment is asked again for a request, by what went wrong. Where nothing is said,
    `num_retries` holds, and only where the deployment is certainly not at work on the request any more."""

    rate_limit: _Times | None = _retries("RateLimitError", 2)
    """After a 429."""

    internal_server: _Times | None = _retries("InternalServerError", 1)
    """After a 5xx, or when no connection could be made."""

    service_unavailable: _Times | None = _retries("ServiceUnavailableError", 1)
    """After a 503 or 529; by default as after another 5xx."""

    timeout: _Times | None = _retries("TimeoutError", 0)
    """When nothing came in time. The provider may be at work on the request, and bill it twice."""

    bad_request: _Times | None = _retries("BadRequestError", 0)
    """After a 4xx that is none of the others."""

    authentication: _Times | None = _retries("AuthenticationError", 0)
    """When the provider refuses the gateway's key or account."""

    not_found: _Times | None = _retries("NotFoundError", 0)
    """After a 404."""

    content_policy: _Times | None = _retries("ContentPolicyViolationError", 0)
    """When a policy of the provider forbids the content."""

    default: _Times | None = _retries("Default", 0)
    """After any other failure, such as a connection that broke after the request was sent."""

    def by_kind(self) -> dict[FailureKind, int]:
        """What is given."""
        given: dict[FailureKind, int | None] = {
            "RateLimitError": self.rate_limit,
            "InternalServerError": self.internal_server,
            "ServiceUnavailableError": (
                self.internal_server if self.service_unavailable is None else self.service_unavailable
            ),
            "TimeoutError": self.timeout,
            "BadRequestError": self.bad_request,
            "AuthenticationError": self.authentication,
            "NotFoundError": self.not_found,
            "ContentPolicyViolationError": self.content_policy,
            "Default": self.default,
        }
        return {kind: times for kind, times in given.items() if times is not None}


_SHORTEST_PAUSE: Final = 0.05


def _pause(seconds: float) -> float:
    if 0 < seconds < _SHORTEST_PAUSE:  # a provider would be asked without a pause
        raise refusal(f"must be 0, or {_SHORTEST_PAUSE} or more")
    return seconds


class HealthCheckSection(Section):
    """How a deployment is asked for the list of its models (`GET /models`) beside the requests, to see whether it is
    there. When no answer has come three times in a row, or one that is a server error, it gets no requests for a while,
    as if some had failed. This is for models that the direct handler serves; litellm has no such list."""

    seconds: Annotated[Number, Field(ge=0, le=86_400), AfterValidator(_pause)] = Field(examples=[10])
    """Seconds from one check to the next. With 0 there is none."""


class RoutingKeys(Section):
    """How often a deployment is asked again, and when it cools down: for one, or for all."""

    num_retries: _Times | None = Field(default=None, examples=[2])
    """How often the same deployment is asked again for a request, after a 429, a 5xx, or if no connection could be
    made; by default once. Never more than the budget of retries allows: one in twenty requests and one a second."""

    retry_policy: Deferred[RetryPolicySection] | None = None
    """How often the same deployment is asked again, by what went wrong; it comes before `num_retries`."""

    cooldown_time: Annotated[Number, Field(ge=0, le=3600)] | None = Field(default=None, examples=[10])
    """Seconds for which a deployment that failed is not asked, by default 4; longer the longer its outage lasts. With 0
    it is asked as if it had not failed."""

    allowed_fails: _Times | None = Field(default=None, examples=[3])
    """Failures that a deployment may have within a minute, with or without answers in between, before it is not asked
    for `cooldown_time`. By default those in a row count: the second, or the first after which it is not asked again."""

    health_check: Deferred[HealthCheckSection] | None = None
    """Whether the deployment is there is checked beside the requests; by default only requests show it."""


class DeploymentKeys(RoutingKeys):
    """The same of one deployment, and its place among those of its name."""

    fallbacks: EntryFallbacks = Field(default=(), examples=[[]])
    """The models that are asked, one after the other, when no deployment of this name answers."""

    order: Annotated[Whole, Field(ge=0)] | None = Field(default=None, examples=[1])
    """Deployments of one name with the lowest order are asked first, those without one last."""

    weight: Annotated[Number, Field(ge=0, le=1_000_000)] | None = Field(default=None, examples=[3])
    """The share of the requests among deployments of one order; by default 1. With 0 it is asked if no other can be."""


class GroupKeys(Section):
    """How one of the healthy deployments of a model name is chosen: for one name, or for all."""

    routing_strategy: Strategy | None = Field(default=None, examples=["least-busy"])
    """Which of the healthy deployments of one `order` answers: by `weight` (`simple-shuffle`, the default), the one
    with the fewest requests running for its weight (`least-busy`), the one that answers soonest
    (`latency-based-routing`), or the one where the request costs least (`cost-based-routing`)."""

    affinity_seconds: Annotated[Number, Field(ge=0, le=86_400)] | None = Field(default=None, examples=[600])
    """Seconds for which a session stays with the deployment that has its prompt in its cache, after its last request;
    by default 300. A session is a `prompt_cache_key`, one that `limits.identity` finds, or the beginning of a prompt of
    4096 bytes and more. With 0 each request is on its own."""


NOTHING_SAID: Final = RoutingKeys.without_keys()


def routing_settings(*sections: RoutingKeys) -> RoutingSettings:
    """What holds for one deployment. Of a key that several sections give, the last one counts."""
    policy, by_kind, settings = RetryPolicy(), dict[FailureKind, int](), RoutingSettings()

    def said(key: str, otherwise: Any) -> Any:
        given = [value for section in sections if (value := getattr(section, key, None)) is not None]
        return given[-1] if given else otherwise

    for section in sections:
        if section.retry_policy is not None:
            by_kind.update(section.retry_policy.by_kind())
    weight = said("weight", settings.weight)
    return RoutingSettings(
        order=said("order", None),
        weight=float(weight),
        retries=RetryPolicy(said("num_retries", policy.retries), _frozen(by_kind)),
        cooldown_seconds=float(said("cooldown_time", settings.cooldown_seconds)),
        allowed_fails=said("allowed_fails", None),
        check_seconds=float(check.seconds) if (check := said("health_check", None)) is not None else 0.0,
    )


def group_settings(*sections: GroupKeys) -> GroupSettings:
    """What holds for one model name. Of a key that several sections give, the last one counts."""
    strategy, seconds = GroupSettings().strategy, GroupSettings().affinity_seconds
    for each in sections:
        strategy = strategy if each.routing_strategy is None else each.routing_strategy
        seconds = seconds if each.affinity_seconds is None else each.affinity_seconds
    return GroupSettings(strategy, seconds)


def group_problems(entries: Iterable[tuple[str, GroupKeys]]) -> Iterator[Problem]:
    """Where two entries of `model_list` with one name say different things about the choice between them."""
    said: dict[tuple[str, str], Any] = {}
    for index, (name, entry) in enumerate(entries):
        for key in GroupKeys.model_fields:
            value = getattr(entry, key)
            if value is not None and said.setdefault((name, key), value) != value:
                where = "an entry of the same name, which stands before it, says otherwise"
                yield Problem(("model_list", index, key), where)


def _frozen(by_kind: Mapping[FailureKind, int]) -> Mapping[FailureKind, int]:
    return MappingProxyType(dict(by_kind))
