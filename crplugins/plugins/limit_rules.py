"""LimitRules: what is limited besides what each key brings with it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from crplugins.core.principal import Limits, Principal
from crplugins.plugins.limit_measures import MEASURES

NO_LIMITS: Final = Limits()


def _no_names() -> Mapping[str, Limits]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LimitRules:
    """Limits by whom and what they bound. Every one that fits a request applies to it.

    Attributes:
        overall: of all requests together.
        per_team: of the keys of a team together.
        per_model: of all requests that a model serves, by the name that serves: those for its aliases count here too.
        per_key: of each key that has no limits of its own.
        per_key_and_model: of each key, for a model.
        per_client_address: of each address that requests come from; of IPv6 each network of 64 bits.
        shadow: what any limit would refuse is noted, and let through.
    """

    overall: Limits = NO_LIMITS
    per_team: Mapping[str, Limits] = field(default_factory=_no_names)
    per_model: Mapping[str, Limits] = field(default_factory=_no_names)
    per_key: Limits = NO_LIMITS
    per_key_and_model: Mapping[str, Limits] = field(default_factory=_no_names)
    per_client_address: Limits = NO_LIMITS
    shadow: bool = False

    def of_key(self, principal: Principal) -> Limits:
        """All of a key's own limits, or all of the default: a mixture of both would be what nobody has written."""
        own = principal.limits
        if any(getattr(own, name) is not None for name in MEASURES):
            return own
        return dataclasses.replace(self.per_key, shadow=True) if own.shadow else self.per_key

    def distinguishes(self, model: str) -> bool:
        """Whether any limit is of this model alone."""
        return model in self.per_model or model in self.per_key_and_model
