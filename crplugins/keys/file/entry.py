"""FileEntry: a key as a keys file lists it."""

from typing import ClassVar

from pydantic import ConfigDict, Field

from crplugins.keys.entry import KeyEntry, SecretEntry


class _FileSecretEntry(SecretEntry):
    model_config = ConfigDict(extra="allow")
    likeness: ClassVar[float] = 0.75


class FileEntry(KeyEntry):
    """A key in a file of its own, where people may note more about it than we know."""

    model_config = ConfigDict(extra="allow")
    likeness: ClassVar[float] = 0.75

    secrets: tuple[_FileSecretEntry, ...] = Field(default=(), examples=[[{"secret": "${TEAM_A_KEY}"}]])
    """Several secrets, each with a secret or a hash."""
