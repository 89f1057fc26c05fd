"""Entries: keys as a configuration or a keys file lists them.

- id: team-a
  secret: ${TEAM_A_KEY}          # or hash: sha256:<64 hex>, or secrets: [{hash: ..., not_after: ...}, ...]
  team: search
  models: [gpt-4o-mini, fast]
  expires: 2027-01-01
"""

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from crplugins.core.final_newline import without_final_newline
from crplugins.core.principal import Principal
from crplugins.keys.key import LONG_AGO, Key, SecretDigest, repeated
from crplugins.keys.policy import PolicySection, policy_to_dict
from crplugins.keys.secrets import Digester, format_hash, parse_hash
from crplugins.keys.values import Moment, NullIsNothing, Text
from crplugins.settings.building import Deferred
from crplugins.settings.errors import ConfigError, KeyPath, Problem
from crplugins.settings.reading import try_section
from crplugins.settings.secret_text import sendable
from crplugins.settings.section import Flag, refusal

_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_]\w*)\}|os\.environ/([A-Za-z_]\w*)", re.ASCII)


class Reading(NamedTuple):
    """What entries are read with: the validation context of the sections below.

    Attributes:
        digester: that of the source the entries belong to.
        environ: where `${NAME}` and `os.environ/NAME` in the place of a secret are read from; None reads no secret so.
    """

    digester: Digester
    environ: Mapping[str, str] | None = None


class NewKey(PolicySection):
    """What a new key may be given; its secret is made for it."""

    not_before: Moment | None = Field(default=None, examples=["2026-01-01"])
    """When the key begins (UTC)."""

    expires: Moment | None = Field(default=None, examples=["2027-01-01"])
    """When the key ends (UTC)."""

    disabled: Flag = Field(default=False, examples=[True])
    """Whether the key is refused until it is enabled."""


class _SecretFields(NullIsNothing):
    secret: Text | None = Field(default=None, repr=False, examples=["${TEAM_A_KEY}"])
    """The secret as text, or `${NAME}`."""

    hash: Text | None = Field(default=None, examples=["sha256:" + 64 * "0"])
    """Or `sha256:` and its SHA-256 in hexadecimal."""

    hint: Text | None = Field(default=None, examples=["sk-crp_…a1B2"])
    """What a list may show of a secret that is known by its hash."""

    created_at: Moment | None = Field(default=None, examples=["2026-01-01"])
    """When it was made (UTC)."""

    not_after: Moment | None = Field(default=None, examples=["2026-02-01"])
    """The end of this secret's life (UTC)."""

    @field_validator("secret")
    @classmethod
    def _is_sendable(cls, text: str | None, info: ValidationInfo) -> str | None:
        secret = sendable(_looked_up(text, info.context)) if text else None
        if secret == "":
            raise refusal("must not be empty")
        return secret

    @field_validator("hash")
    @classmethod
    def _is_hash(cls, text: str | None, info: ValidationInfo) -> str | None:
        found = parse_hash(text or "")
        if found is None:
            raise refusal("must be sha256: or hmac-sha256: with 64 hexadecimal digits after it")
        reading: Reading | None = info.context
        if reading is not None and found[0] == "hmac-sha256" != reading.digester.scheme:
            raise refusal("hmac-sha256 needs the pepper it was made with, and there is none")
        return text

    def digest(self, digester: Digester) -> SecretDigest:
        created = self.created_at or LONG_AGO
        if self.secret is not None:
            return digester.stored(self.secret, created, self.not_after)
        found = parse_hash(self.hash or "")
        assert found is not None  # _is_hash has seen it
        return SecretDigest(found[1], self.hint or "…", created, self.not_after, found[0])

    def _must_have_one_secret(self) -> None:
        if (self.secret is None) == (self.hash is None):
            raise refusal("needs a secret or a hash, and not both")


class SecretEntry(_SecretFields):
    """One secret of a key."""

    @model_validator(mode="after")
    def _has_one_secret(self) -> Self:
        self._must_have_one_secret()
        return self


class KeyEntry(_SecretFields, NewKey):
    """A whole key, with its secret or secrets."""

    secrets: tuple[Deferred[SecretEntry], ...] = Field(default=(), examples=[[{"secret": "${TEAM_A_KEY}"}]])
    """Several secrets, each with a secret or a hash."""

    @model_validator(mode="after")
    def _has_secrets(self) -> Self:
        if "secrets" not in self.model_fields_set:
            self._must_have_one_secret()
        elif self.secret is not None or self.hash is not None:
            raise refusal("stands beside a secret or hash; there is room for all of them in the list", "secrets")
        return self

    def key(self, digester: Digester) -> Key:
        listed = self.secrets if "secrets" in self.model_fields_set else (self,)
        return Key(
            self.principal(),
            tuple(secret.digest(digester) for secret in listed),
            self.created_at or LONG_AGO,
            not_before=self.not_before,
            expires=self.expires,
            disabled=self.disabled,
        )


SECRET_KEYS: Final = tuple(_SecretFields.model_fields)


def read_keys(
    entries: Iterable[Any | Key], reading: Reading, path: KeyPath = ("keys",), section: type[KeyEntry] = KeyEntry
) -> tuple[Key, ...]:
    """Every entry as a key; a `Key` among them stays as it is.

    Raises `ConfigError`, without file and lines, if there is any problem.
    """
    keys: list[Key] = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries):
        if isinstance(entry, Key):
            keys.append(entry)
            continue
        made, wrong = try_section(section, entry, (*path, index), reading)
        problems += wrong
        keys.append(made.key(reading.digester) if made is not None else _rest_of(entry, wrong, len(path) + 1, reading))
    problems += repeated(keys, path)
    if problems:
        raise ConfigError(problems)
    return tuple(keys)


def _rest_of(entry: Any, problems: Iterable[Problem], depth: int, reading: Reading) -> Key:
    """A key of what is good in an entry, to see whether it stands twice; an empty one if that is too little."""
    from crplugins.keys.file.entry import FileEntry  # which takes whatever else stands in it

    wrong = {problem.path[depth] for problem in problems if len(problem.path) > depth}
    good = {name: item for name, item in entry.items() if name not in wrong} if isinstance(entry, Mapping) else {}
    made, _ = try_section(FileEntry, {"id": "-", **good}, (), reading)
    return _NOTHING if made is None or "id" not in good else made.key(reading.digester)


_NOTHING: Final = Key(Principal(""), (), LONG_AGO)


def _looked_up(text: str, reading: Reading | None) -> str:
    match = _VARIABLE.fullmatch(without_final_newline(text))
    if reading is None or reading.environ is None or match is None:
        return text
    name = match[1] or match[2]
    if not without_final_newline(reading.environ.get(name, "")):
        raise refusal(f"the environment variable {name} is not set")
    return reading.environ[name]


def key_to_dict(key: Key) -> dict[str, Any]:
    """The entry of `key`, as `Entry` reads it; plain data, times in ISO 8601. No secret, only digests."""
    words = policy_to_dict(key.principal) | {
        "created_at": _format_moment(key.created_at),
        "not_before": _format_moment(key.not_before),
        "expires": _format_moment(key.expires),
        "disabled": key.disabled or None,
        "secrets": [secret_to_dict(secret) for secret in key.secrets],
    }
    return {name: value for name, value in words.items() if value is not None}


def secret_to_dict(secret: SecretDigest) -> dict[str, Any]:
    words = {
        "hash": format_hash(secret),
        "hint": secret.hint,
        "created_at": _format_moment(secret.created_at),
        "not_after": _format_moment(secret.not_after),
    }
    return {name: value for name, value in words.items() if value is not None}


def _format_moment(moment: datetime | None) -> str | None:
    if moment is None or moment == LONG_AGO:
        return None
    return moment.isoformat().replace("+00:00", "Z")
