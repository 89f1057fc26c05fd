"""What a broker of Kafka with SASL does before it takes requests: PLAIN and SCRAM (RFC 5802), as the protocol has it."""

import base64
import hashlib
import hmac
import os
import struct

MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_HANDSHAKE, _VERSIONS, _AUTHENTICATE = 17, 18, 36
_FAILED = 58
_ROUNDS = 4096


class KafkaLogin:
    """Of one connection.

    Attributes:
        done: whether the client has said who it is.
    """

    def __init__(self, name, password):
        self._expected = (name, password)
        self._steps = None
        self.done = False

    def answer(self, request):
        """The answer to a request, or None where the broker behind answers. Raises EOFError for one that is too early."""
        kind, _version, correlation = struct.unpack_from(">hhi", request)
        if kind == _VERSIONS or self.done:
            return None
        fields = request[10 + struct.unpack_from(">h", request, 8)[0] :]  # behind the name of the client
        if kind == _HANDSHAKE:
            mechanism = fields[2:].decode()
            self._steps = self._plain() if mechanism == "PLAIN" else self._scram(mechanism)
            next(self._steps)
            names = b"".join(struct.pack(">h", len(name)) + name.encode() for name in MECHANISMS)
            return struct.pack(">ihi", correlation, 0, len(MECHANISMS)) + names
        if kind != _AUTHENTICATE:
            raise EOFError
        try:
            said = self._steps.send(fields[4:])
        except PermissionError:
            return struct.pack(">ihhi", correlation, _FAILED, -1, 0)
        return struct.pack(">ihhi", correlation, 0, -1, len(said)) + said

    def _plain(self):
        said = yield
        if said.decode().split("\0")[-2:] != list(self._expected):
            raise PermissionError
        self.done = True
        yield b""

    def _scram(self, mechanism):
        kind = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
        name, password = self._expected
        first = (yield).decode().removeprefix("n,,")
        asked = dict(part.split("=", 1) for part in first.split(","))
        nonce = asked["r"] + "0123456789"
        salt = os.urandom(16)
        offered = f"r={nonce},s={base64.b64encode(salt).decode()},i={_ROUNDS}"
        last = (yield offered.encode()).decode()
        unproved, _, proof = last.rpartition(",p=")
        signed = f"{first},{offered},{unproved}".encode()
        salted = hashlib.pbkdf2_hmac(kind, password.encode(), salt, _ROUNDS)
        stored = hashlib.new(kind, hmac.digest(salted, b"Client Key", kind)).digest()
        signature = hmac.digest(stored, signed, kind)
        key = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True))
        if asked["n"] != name or hashlib.new(kind, key).digest() != stored:
            raise PermissionError
        self.done = True
        own = hmac.digest(hmac.digest(salted, b"Server Key", kind), signed, kind)
        yield b"v=" + base64.b64encode(own)


def with_login(answer):
    """What a broker says it understands, and the requests of a login."""
    correlation, error, number = struct.unpack_from(">ihi", answer)
    more = struct.pack(">hhh", _HANDSHAKE, 1, 1) + struct.pack(">hhh", _AUTHENTICATE, 0, 0)
    return struct.pack(">ihi", correlation, error, number + 2) + more + answer[10:]
