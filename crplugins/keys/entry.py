"""Entries: keys as a configuration or a keys file lists them.

- id: team-a
  secret: ${TEAM_A_KEY}          # or hash: sha256:<64 hex>, or secrets: [{hash: ..., not_after: ...}, ...]
  team: search
  models: [gpt-4o-mini, fast]
  expires: 2027-01-01
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from crplugins.core.principal import Principal
from crplugins.keys.key import Key, SecretDigest
from crplugins.keys.policy import POLICY_KEYS, read_policy, spell_policy
from crplugins.keys.secrets import Digester, parse_hash, spell_hash
from crplugins.keys.words import KeyPath, WordProblem, Words, WordsRefused

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""When a key was made whose entry does not say."""

SECRET_KEYS: Final = ("secret", "hash", "hint", "created_at", "not_after")
ENTRY_KEYS: Final = (*POLICY_KEYS, *SECRET_KEYS, "secrets", "not_before", "expires", "disabled")

_NOTHING: Final = Key(Principal(""), (), LONG_AGO)
_VARIABLE: Final = re.compile(r"\$\{([A-Za-z_]\w*)\}|os\.environ/([A-Za-z_]\w*)", re.ASCII)


class EntryReader:
    """Reads entries, and collects what is wrong with them in `problems`.

    Args:
        digester: that of the source the entries belong to.
        strict: whether every unknown key is a problem, or only a misspelt one.
        environ: where `${NAME}` and `os.environ/NAME` in the place of a secret are read from; None reads no secret so.
    """

    def __init__(self, digester: Digester, *, strict: bool = True, environ: Mapping[str, str] | None = None) -> None:
        self.problems: list[WordProblem] = []
        self.digester: Final = digester
        self._strict, self._environ = strict, environ

    def keys(self, entries: Iterable[Any], path: KeyPath = ("keys",)) -> tuple[Key, ...]:
        """Every entry as a key. Raises `WordsRefused` if there is any problem."""
        keys = tuple(self.key(entry, (*path, index)) for index, entry in enumerate(entries))
        self.problems += repeated(keys, path)
        if self.problems:
            raise WordsRefused(self.problems)
        return keys

    def key(self, entry: Any, path: KeyPath) -> Key:
        """One entry; good for use only if it left no problem."""
        words = Words(entry, ENTRY_KEYS, path, self.problems, strict=self._strict)
        if not isinstance(entry, Mapping):
            return _NOTHING
        return Key(
            read_policy(words),
            self._secrets(words),
            words.moment("created_at") or LONG_AGO,
            not_before=words.moment("not_before"),
            expires=words.moment("expires"),
            disabled=words.flag("disabled", default=False),
        )

    def _secrets(self, words: Words) -> tuple[SecretDigest, ...]:
        if "secrets" not in words:
            return self._secret(words)
        if "secret" in words or "hash" in words:
            words.refuse("secrets", "stands beside a secret or hash; there is room for all of them in the list")
        path = (*words.path, "secrets")
        items = enumerate(words.items("secrets"))
        inner = [Words(item, SECRET_KEYS, (*path, index), self.problems, strict=self._strict) for index, item in items]
        return tuple(secret for each in inner for secret in self._secret(each))

    def _secret(self, words: Words) -> tuple[SecretDigest, ...]:
        if ("secret" in words) == ("hash" in words):
            words.refuse(None, "needs a secret or a hash, and not both")
            return ()
        created, not_after = words.moment("created_at") or LONG_AGO, words.moment("not_after")
        if "secret" in words:
            secret = self._sendable(words)
            return (self.digester.stored(secret, created, not_after),) if secret else ()
        return self._hashed(words, created, not_after)

    def _sendable(self, words: Words) -> str | None:
        secret = self._looked_up(words, words.text("secret"))
        if secret and (secret != secret.strip() or not all(" " <= character <= "~" for character in secret)):
            words.refuse("secret", "must be printable ASCII without spaces around it, or no client could send it")
            return None
        return secret

    def _looked_up(self, words: Words, text: str | None) -> str | None:
        match = _VARIABLE.fullmatch(text or "")
        if self._environ is None or match is None:
            return text
        name = match[1] or match[2]
        if not self._environ.get(name):
            words.refuse("secret", f"the environment variable {name} is not set")
        return self._environ.get(name)

    def _hashed(self, words: Words, created: datetime, not_after: datetime | None) -> tuple[SecretDigest, ...]:
        found = parse_hash(words.text("hash") or "")
        if found is None:
            words.refuse("hash", "must be sha256: or hmac-sha256: with 64 hexadecimal digits behind it")
            return ()
        scheme, digest = found
        if scheme == "hmac-sha256" and self.digester.scheme != scheme:
            words.refuse("hash", "hmac-sha256 needs the pepper it was made with, and there is none")
        return (SecretDigest(digest, words.text("hint") or "…", created, not_after, scheme),)


def spell_key(key: Key) -> dict[str, Any]:
    """The entry of `key`, as `EntryReader` reads it; plain data, times in ISO 8601. No secret, only digests."""
    words = spell_policy(key.principal) | {
        "created_at": _spelled(key.created_at),
        "not_before": _spelled(key.not_before),
        "expires": _spelled(key.expires),
        "disabled": key.disabled or None,
        "secrets": [spell_secret(secret) for secret in key.secrets],
    }
    return {name: value for name, value in words.items() if value is not None}


def spell_secret(secret: SecretDigest) -> dict[str, Any]:
    words = {
        "hash": spell_hash(secret),
        "hint": secret.hint,
        "created_at": _spelled(secret.created_at),
        "not_after": _spelled(secret.not_after),
    }
    return {name: value for name, value in words.items() if value is not None}


def repeated(keys: Iterable[Key], path: KeyPath = ("keys",)) -> Iterator[WordProblem]:
    """Keys of which one would hide the other."""
    ids: dict[str, int] = {}
    digests: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        if key.id and (first := ids.setdefault(key.id, index)) != index:
            yield WordProblem((*path, index, "id"), f"the same id as {path[-1]}[{first}]")
        for digest in {secret.digest for secret in key.secrets}:
            if (first := digests.setdefault(digest, index)) != index:
                yield WordProblem((*path, index, "secret"), f"the same secret as {path[-1]}[{first}]")


def _spelled(moment: datetime | None) -> str | None:
    if moment is None or moment == LONG_AGO:
        return None
    return moment.isoformat().replace("+00:00", "Z")
