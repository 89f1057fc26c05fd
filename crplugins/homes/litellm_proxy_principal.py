"""Who calls: the principal our authentication found, or one made of what LiteLLM's knows."""

from copy import copy
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from litellm.proxy._types import LitellmUserRoles, UserAPIKeyAuth
from pydantic import PrivateAttr

from crplugins.core.principal import Principal

_HASH_LENGTH: Final = 64


class Authenticated(UserAPIKeyAuth):
    """LiteLLM's view of one of our keys. It may ask for answers, and administer nothing."""

    _principal: Principal | None = PrivateAttr(default=None)

    @classmethod
    def of(cls, principal: Principal | None) -> "Authenticated":
        known = _of_key("crplugins", None) if principal is None else _of_key(principal.key_id, principal.team)
        made = copy(known)
        fields = vars(made)
        for name, value in vars(known).items():
            if isinstance(value, dict | list):  # LiteLLM writes into them
                fields[name] = value.copy()
        made._principal = principal
        return made

    @property
    def principal(self) -> Principal | None:
        return self._principal


@lru_cache(maxsize=4096)
def _of_key(key_id: str, team: str | None) -> Authenticated:
    """Made once for each key: its hundred fields take pydantic 50 us."""
    return Authenticated(
        api_key=key_id,  # never the secret: this is written into LiteLLM's logs and metrics
        key_alias=key_id,
        team_id=team,
        team_alias=team,
        user_role=LitellmUserRoles.INTERNAL_USER_VIEW_ONLY,
    )


def principal_of(caller: Any) -> Principal | None:
    """Ours as it is; of a key of LiteLLM's its alias, else `litellm-` and the beginning of its hash."""
    if isinstance(caller, Authenticated):
        return caller.principal
    secret = getattr(caller, "token", None) or getattr(caller, "api_key", None)
    alias = getattr(caller, "key_alias", None)
    if not alias and not secret:
        return None
    team = getattr(caller, "team_alias", None) or getattr(caller, "team_id", None)
    return Principal(key_id=str(alias) if alias else f"litellm-{_hashed(str(secret))[:12]}", team=team)


def _hashed(secret: str) -> str:
    """LiteLLM hashes keys that begin with `sk-` and leaves others as they are."""
    is_hash = len(secret) == _HASH_LENGTH and all(c in "0123456789abcdef" for c in secret)
    return secret if is_hash else sha256(secret.encode()).hexdigest()
