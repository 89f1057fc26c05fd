"""The audit log of keys: who changed what of which key, and when. A secret never stands in it, nor a digest of one.

A store writes an entry with each change it makes, or does not make the change.
"""

import os
import pwd
import socket
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import cache
from random import getrandbits
from typing import Any, Final, Literal

import msgspec

from crplugins.keys.entry import key_to_dict
from crplugins.keys.etag import IfMatch
from crplugins.keys.key import LONG_AGO, Key, utc_now

Action = Literal["new", "import", "update", "rotate", "revoke", "disable", "enable", "delete"]

Via = Literal["command", "admin_api", "python"]
"""The way that a change came: `crplugins keys`, the admin API, or a program that uses a store itself."""

MOST_ENTRIES: Final = 1000
"""How many entries one question is answered with."""


class AuditEntry(msgspec.Struct, frozen=True):
    """One change.

    Attributes:
        id: sorts by time.
        actor: the name of the admin token, or the user of the operating system and the machine (`ann@box`).
        before, after: the words of the key that differ, None for one that is not set; secrets by their hints. All of
            them after a key is made and before it is deleted; None where there is no key.
        request_id: of the request to the admin API, as its answer and the log name it.
    """

    id: str
    at: datetime
    actor: str
    via: Via
    action: Action
    key_id: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    request_id: str | None = None


class Author(msgspec.Struct, frozen=True):
    """Who changes a key.

    Attributes:
        if_match: which version of a key is to be changed, and no other.
        now: the wall clock.
    """

    actor: str
    via: Via = "python"
    request_id: str | None = None
    if_match: IfMatch | None = None
    now: Callable[[], datetime] = utc_now

    def check(self, key: Key) -> None:
        """Raises `KeyChanged` for another version of a key than that which is to be changed."""
        if self.if_match is not None:
            self.if_match.check(key, self.now())

    def entry(self, action: Action, before: Key | None, after: Key | None) -> AuditEntry:
        key = before or after
        assert key is not None, "a change is of some key"
        old, new = _differing(before, after)
        at = self.now()
        return AuditEntry(_new_id(at), at, self.actor, self.via, action, key.id, old, new, self.request_id)


@cache
def os_actor() -> str:
    """The user of the operating system, not as the environment names it: that may be set to anything."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container without such an entry
        name = f"uid {uid}"
    return f"{name}@{socket.gethostname()}"


def this_process() -> Author:
    """A program that uses a store and does not say who it is."""
    return Author(os_actor())


class AuditQuestion(msgspec.Struct, frozen=True):
    """Which entries are wanted, the newest first.

    Attributes:
        since, until: from the one, and before the other.
        after: the id of the last entry that is known already.
    """

    key_id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    after: str | None = None
    limit: int = 100

    def wants(self, entry: AuditEntry) -> bool:
        return (
            (self.key_id is None or entry.key_id == self.key_id)
            and (self.actor is None or entry.actor == self.actor)
            and (self.since is None or entry.at >= self.since)
            and (self.until is None or entry.at < self.until)
            and (self.after is None or entry.id < self.after)
        )


def _new_id(at: datetime) -> str:
    """Text that sorts by microseconds: of two changes by one process the later one comes later."""
    return f"{(at - LONG_AGO) // timedelta(microseconds=1):014x}-{getrandbits(32):08x}"


def _differing(before: Key | None, after: Key | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    old, new = _words(before), _words(after)
    if old is None or new is None:
        return old, new
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: old.get(name) for name in names}, {name: new.get(name) for name in names}


def _words(key: Key | None) -> dict[str, Any] | None:
    """All that is set of a key, its secrets without their digests."""
    if key is None:
        return None
    words = key_to_dict(key)
    secrets: Sequence[dict[str, Any]] = words["secrets"]
    return words | {"secrets": [{name: part for name, part in each.items() if name != "hash"} for each in secrets]}
