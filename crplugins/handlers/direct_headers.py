"""The headers of requests to an upstream that is asked in its own wire.

Those of a deployment are always the same: its credential as the protocol shows it, and what the configuration adds. Of
a client's headers only those reach an upstream that say how the body is to be read, which reaches it as it is: the
version of Anthropic's protocol, and the names of its features that are not in it yet (`anthropic-beta`). Claude Code
and Anthropic's SDKs cannot do without.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from crplugins.core.dialects import Dialect
from crplugins.core.errors import Header
from crplugins.core.response_ids import ResponsesPlace
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.litellm_settings import headers_in
from crplugins.handlers.upstream import ANTHROPIC, ANTHROPIC_HOST, Upstream

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})

_VERSION: Final = re.compile(r"[0-9A-Za-z._-]{1,64}")
_FEATURE: Final = re.compile(r"[0-9A-Za-z._-]{1,128}")
_MOST_FEATURES: Final = 64
"""Of one request that are passed on; Claude Code names about ten."""


class UpstreamHeaders:
    """The headers of one deployment in one dialect.

    Attributes:
        fixed: those of each request.
    """

    def __init__(self, deployment: Deployment, upstream: Upstream, dialect: Dialect) -> None:
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity", "User-Agent": "crplugins"}
        if dialect.form:
            del headers["Content-Type"]  # that of each request goes with it
        headers |= _credential(upstream, dialect)
        if "organization" in deployment.parameters:
            headers["OpenAI-Organization"] = str(deployment.parameters["organization"])
        configured = headers_in(deployment.parameters)
        self._version, self._default = dialect.version
        self._features: Final = dialect.features
        names = {self._version, self._features}
        own = {name.lower(): value for name, value in configured.items() if name.lower() in names}
        self._own_version: Final = own.get(self._version)
        self._own_features: Final = [*_features([own.get(self._features, "")])] if own else []
        self.fixed: Final = headers | {name: value for name, value in configured.items() if name.lower() not in own}

    def passed_on(self, headers: Sequence[Header]) -> Mapping[str, str]:
        """Of a client's headers, and the same of the configuration: its version counts, its features come first."""
        if not self._version:
            return NO_HEADERS
        asked = next(iter(_values(headers, self._version)), "")
        version = self._own_version or (asked if _VERSION.fullmatch(asked) else self._default)
        features = dict.fromkeys([*self._own_features, *_features(_values(headers, self._features))])
        passed = {self._version: version}
        return passed | {self._features: ",".join(features)} if features else passed


def _values(headers: Sequence[Header], name: str) -> list[str]:
    return [value.decode("latin-1") for key, value in headers if key == name.encode()]


def _features(values: Iterable[str]) -> list[str]:
    """The names in a header that is a list. What is none is left out: no client can make a header of ours of it."""
    names = [name.strip() for value in values for name in value.split(",")]
    return [name for name in names if _FEATURE.fullmatch(name)][:_MOST_FEATURES]


def _credential(upstream: Upstream, dialect: Dialect) -> dict[str, str]:
    """The key as the upstream looks for it.

    Anthropic reads `x-api-key`. Of the servers that speak its protocol some read that and others `authorization`, as
    Claude Code can send either: they get both.
    """
    if not upstream.api_key:
        return {}
    bearer = {"Authorization": f"Bearer {upstream.api_key}"}
    if upstream.provider != ANTHROPIC or not dialect.version[0]:
        return bearer
    is_its_own = urlsplit(upstream.base_url).hostname == ANTHROPIC_HOST
    return {"x-api-key": upstream.api_key} | ({} if is_its_own else bearer)


def place_of(upstream: Upstream, headers: Mapping[str, str]) -> ResponsesPlace:
    """The account whose responses these are: an address, and all that is said to it of who asks."""
    told = repr((upstream.base_url, sorted(headers.items()))).encode()
    return ResponsesPlace(sha256(told).digest(), is_secret=len(upstream.api_key or "") >= _SECRET_LENGTH)


_SECRET_LENGTH: Final = 20
"""Characters of a credential that nobody guesses, as `EMPTY` or `none` is guessed."""
