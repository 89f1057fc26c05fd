"""ResponseIds: the ids under which clients know responses that a provider keeps.

A provider keeps a response for its account, which all clients of a gateway share. So a client is given another id than
the provider's: that, where it is kept, and a signature that binds both to the key which made the response. An id with
which somebody else comes is none. Nothing is stored: whatever is needed stands in the id.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

PREFIX: Final = "resp_"
_VERSION: Final = b"\x01"
_TAG: Final = 6
_MAC: Final = 16
_LONGEST: Final = 2048
"""Characters of an id that are read. LiteLLM's are of some hundreds."""


class ResponsesPlace(NamedTuple):
    """Where responses are kept: an account at a provider.

    Attributes:
        digest: of its address and credential; 32 bytes.
        is_secret: nobody who does not know the credential can find out the digest.
    """

    digest: bytes
    is_secret: bool = False

    @property
    def tag(self) -> bytes:
        """What stands for it in an id. Nothing can be learned from it."""
        return sha256(b"tag of " + self.digest).digest()[:_TAG]


HERE: Final = ResponsesPlace(sha256(b"the app inside").digest())
"""Where the app inside keeps them, in front of which plugins stand."""


class Kept(NamedTuple):
    """A response that a provider keeps, under its own id."""

    id: str
    place: ResponsesPlace


class ResponseIds:
    """Makes the ids that clients are shown, and reads them.

    Args:
        find: where responses are kept, by its tag; None for where none are kept any more.
        secrets: the first one signs, and what any has signed is read. Without one, the credential of the gateway at the
            provider signs, which all its processes have before and after a restart, and no client.
        fallback: signs where there is no such credential.
    """

    def __init__(
        self, find: Callable[[bytes], ResponsesPlace | None], secrets: Sequence[str] = (), fallback: bytes = b""
    ) -> None:
        self._find = find
        self._secrets: Final = [b"of the configuration " + secret.encode() for secret in secrets]
        self._fallback: Final = b"of the process " + fallback

    def shown(self, kept: Kept, key_id: str) -> str:
        """The id for the client with this key. Always the same for the same response."""
        secret = self._secrets_of(kept.place)[0]
        data = _VERSION + kept.place.tag + kept.id.encode()
        signed = data[: 1 + _TAG] + _signature(secret, kept.place, key_id, data) + data[1 + _TAG :]
        return PREFIX + urlsafe_b64encode(signed).rstrip(b"=").decode()

    def read(self, shown: str, key_id: str) -> Kept | None:
        """What a client with this key means by an id; None if that is nothing of its own."""
        signed = _decoded(shown)
        head, mac, own = signed[: 1 + _TAG], signed[1 + _TAG : 1 + _TAG + _MAC], signed[1 + _TAG + _MAC :]
        if head[:1] != _VERSION or not own or (place := self._find(head[1:])) is None:
            return None
        for secret in self._secrets_of(place):
            if hmac.compare_digest(mac, _signature(secret, place, key_id, head + own)):
                return Kept(own.decode(), place)
        return None

    def _secrets_of(self, place: ResponsesPlace) -> Sequence[bytes]:
        if self._secrets:
            return self._secrets
        return [b"" if place.is_secret else self._fallback]


def _signature(secret: bytes, place: ResponsesPlace, key_id: str, data: bytes) -> bytes:
    signing_key = sha256(b"ids of responses\0" + place.digest + secret).digest()
    bound = len(key_id.encode()).to_bytes(4, "big") + key_id.encode() + data
    return hmac.digest(signing_key, bound, "sha256")[:_MAC]


def _decoded(shown: str) -> bytes:
    """The bytes of an id that is spelled as we spell it; b"" for any other."""
    text = shown.removeprefix(PREFIX)
    if text == shown or len(text) > _LONGEST or not text.isascii():
        return b""
    try:
        signed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return b""
    return signed if urlsafe_b64encode(signed).rstrip(b"=").decode() == text else b""
