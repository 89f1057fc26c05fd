"""What is stored of a secret."""

import hashlib
import hmac

import pytest

from crplugins.keys.secrets import Digester, format_hash, hint, mint_secret, parse_hash
from tests.keys.conftest import NOW

SECRET = "sk-of-another-system-0123456789"


def test_a_secret_is_stored_as_its_sha256():
    stored = Digester().stored(SECRET, NOW)
    assert (stored.digest, stored.scheme) == (hashlib.sha256(SECRET.encode()).digest(), "sha256")


@pytest.mark.parametrize("pepper", ["pepper", "é", "x" * 64, "x" * 65])
def test_with_a_pepper_it_is_an_hmac_and_plain_ones_are_looked_up_too(pepper):
    digester = Digester(pepper)
    expected = hmac.digest(pepper.encode(), SECRET.encode(), "sha256")
    assert (digester.stored(SECRET, NOW).digest, digester.scheme) == (expected, "hmac-sha256")
    assert digester.candidates(SECRET) == (expected, hashlib.sha256(SECRET.encode()).digest())


def test_an_empty_pepper_is_a_mistake():
    with pytest.raises(ValueError, match="must not be empty"):
        Digester("")


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("sk-crp_" + "x" * 45 + "a1B2", "sk-crp_…a1B2"),
        (SECRET, "sk-…6789"),
        ("gw-0123456789abcdef", "…cdef"),
        ("short", "…"),
    ],
)
def test_a_hint_shows_the_kind_and_the_end(secret, shown):
    assert hint(secret) == shown


@pytest.mark.parametrize("pepper", [None, "pepper"])
def test_a_hash_reads_back(pepper):
    stored = Digester(pepper).stored(mint_secret(), NOW)
    assert parse_hash(format_hash(stored)) == (stored.scheme, stored.digest)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sha256:",
        "md5:" + "0" * 64,
        "sha256:" + "0" * 63,
        "sha256:" + "g" * 64,
        " sha256:" + "0" * 64,
        "sha256:" + "0" * 64 + "\n",
    ],
)
def test_another_text_is_no_hash(text):
    assert parse_hash(text) is None


def test_no_repr_shows_the_pepper():
    assert "pepper" not in repr(Digester("hot-pepper"))
