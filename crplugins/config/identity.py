"""The sections about end users and sessions: where requests name them, and how much each may use."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field

from crplugins.core import principal
from crplugins.core.identity import Identities, IdentityRules, IdentitySource, MissingIdentity
from crplugins.core.usage import micro_usd_of
from crplugins.keys.policy import Amounts, BudgetSection
from crplugins.keys.values import NullIsNothing, Usd
from crplugins.plugins.rate_limits.rules import SessionLimits
from crplugins.settings.section import Count, Flag, Section, refusal

_DAY: Final = 86_400
_YEAR: Final = 365 * _DAY
_DAYS: Final = {"day": 1, "week": 7, "month": 31}


class SessionAmounts(Amounts):
    """Limits of a session, by time and in all. What is not given is not limited."""

    requests: Count | None = Field(default=None, examples=[200])
    """Requests in all."""

    tokens: Count | None = Field(default=None, examples=[1000000])
    """Tokens, of prompts and answers together, in all."""

    def session_limits(self) -> SessionLimits:
        """As RateLimits takes them."""
        return SessionLimits(**self.amounts(), requests=self.requests, tokens=self.tokens)


class UserBudget(BudgetSection):
    """How much each end user may spend in each period."""

    period: Literal["day", "week", "month"] = Field(examples=["month"])
    """A calendar day of UTC, a week from Monday, or a calendar month."""


class SessionBudget(NullIsNothing):
    """How much each session may spend in all."""

    usd: Usd = Field(examples=[2])
    """The amount in US dollars."""

    shadow: Flag = Field(default=False, examples=[True])
    """Whether what this budget would refuse is only counted and logged, and let through."""

    def budget(self) -> principal.Budget:
        return principal.Budget(micro_usd_of(self.usd), "total", self.shadow)


def _source(value: str) -> str:
    try:
        IdentitySource.of(value)
    except ValueError as error:
        raise refusal(str(error)) from None
    return value


def _not_empty(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value:
        raise refusal("must not be empty")
    return value


Sources = Annotated[tuple[Annotated[str, AfterValidator(_source)], ...], AfterValidator(_not_empty)]

_RULES: Final = IdentityRules()


class IdentitySection(Section):
    """Where requests name their end user and their session. What a client says here only restricts its key further."""

    user: Sources = Field(default=("safety_identifier", "user"), examples=[["header:x-end-user"]])
    """The places for the end user: a field of the request, `header:NAME` or `metadata:NAME`. The first that names
    somebody counts."""

    session: Sources = Field(default=("header:x-session-id", "metadata:session_id"), examples=[["header:x-run-id"]])
    """The places for the session: a field of the request, `header:NAME` or `metadata:NAME`. The first that names one
    counts."""

    missing_user: MissingIdentity = Field(default=_RULES.missing_user, examples=["refuse"])
    """A request that names no user: `share` counts all such requests of a key as those of one user, `refuse` answers
    400, `ignore` applies no limit of users to it."""

    missing_session: MissingIdentity = Field(default=_RULES.missing_session, examples=["ignore"])
    """A request that names no session: `refuse` answers 400, `share` counts all such requests of a key as one session,
    `ignore` applies no limit of sessions to it."""

    session_idle_seconds: Annotated[Count, Field(le=_YEAR)] = Field(
        default=_RULES.session_idle_seconds, examples=[3600]
    )
    """For how long at least a session is remembered after its last request; by default a day."""

    max_per_key: Count = Field(default=_RULES.max_per_key, examples=[1000])
    """How many users, and how many sessions, of one key are told apart at one time. Those beyond share one scope."""

    @property
    def session_sources(self) -> tuple[IdentitySource, ...]:
        """The places for the session, as they are read."""
        return tuple(IdentitySource.of(text) for text in self.session)

    @property
    def metadata_names(self) -> tuple[str, ...]:
        """The names in a request's metadata that are looked at."""
        sources = [IdentitySource.of(text) for text in (*self.user, *self.session)]
        return tuple(source.name for source in sources if source.where == "metadata")

    def identities(self, user_budget: principal.Budget | None) -> Identities:
        """As the plugins take them."""
        days = 1 if user_budget is None else _DAYS[user_budget.period]
        rules = IdentityRules(
            user=tuple(IdentitySource.of(text) for text in self.user),
            session=self.session_sources,
            missing_user=self.missing_user,
            missing_session=self.missing_session,
            session_idle_seconds=self.session_idle_seconds,
            max_per_key=self.max_per_key,
        )
        return Identities(rules, user_seconds=days * _DAY)
