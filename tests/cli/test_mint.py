"""Minted secrets: their form, their checksum, their randomness."""

import re
import zlib

from crplugins.keys.secrets import has_valid_checksum, mint_secret

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def number(digits):
    return sum(ALPHABET.index(digit) * 62**place for place, digit in enumerate(reversed(digits)))


def test_a_secret_has_the_documented_form():
    assert re.fullmatch(r"sk-crp_[0-9A-Za-z]{49}", mint_secret())


def test_the_body_holds_all_256_bits_and_the_checksum_covers_prefix_and_body():
    secret = mint_secret(lambda n: b"\xff" * n)
    assert number(secret[7:50]) == 2**256 - 1
    assert number(secret[50:]) == zlib.crc32(secret[:50].encode())


def test_small_numbers_are_padded_to_the_same_length():
    secret = mint_secret(bytes)
    assert secret[7:50] == "0" * 43
    assert has_valid_checksum(secret)


def test_two_secrets_differ():
    assert mint_secret() != mint_secret()


def test_a_typo_anywhere_breaks_the_checksum():
    secret = mint_secret(lambda n: bytes(range(n)))
    assert has_valid_checksum(secret)
    for place in range(7, len(secret)):
        wrong = "0" if secret[place] != "0" else "1"
        assert not has_valid_checksum(secret[:place] + wrong + secret[place + 1 :])


def test_foreign_keys_have_no_valid_checksum():
    for foreign in ("", "sk-abc", "sk-crp_", mint_secret()[:-1], mint_secret() + "0", " " + mint_secret()):
        assert not has_valid_checksum(foreign)
