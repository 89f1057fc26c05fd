"""Absence is taken for presence: whoever has not shown a key, in the one place where a key stands, is nobody."""

from base64 import b64encode

import pytest

from tests.attacks.house import KEY, Door, http, question, send

SECRET = KEY.encode()

# What stands in place of `authorization: Bearer KEY`: name -> whole lines.
NOBODY: dict[str, bytes] = {
    "nothing": b"",
    "an empty header": b"authorization:\r\n",
    "a scheme alone": b"authorization: Bearer\r\n",
    "a scheme and blanks": b"authorization: Bearer    \r\n",
    "a key alone": b"authorization: " + SECRET + b"\r\n",
    "a tab behind the scheme": b"authorization: Bearer\t" + SECRET + b"\r\n",
    "a colon behind the scheme": b"authorization: Bearer:" + SECRET + b"\r\n",
    "a blank of another kind": b"authorization: Bearer\xa0" + SECRET + b"\r\n",
    "the scheme twice": b"authorization: Bearer Bearer " + SECRET + b"\r\n",
    "a scheme in quotes": b'authorization: "Bearer" ' + SECRET + b"\r\n",
    "a key in quotes": b'authorization: Bearer "' + SECRET + b'"\r\n',
    "a key as token68": b"authorization: Bearer " + b64encode(SECRET) + b"\r\n",
    "a key as a parameter": b'authorization: Bearer token="' + SECRET + b'"\r\n',
    "a key in a list": b"authorization: Bearer x, Bearer " + SECRET + b"\r\n",
    "Basic": b"authorization: Basic " + b64encode(b"user:" + SECRET) + b"\r\n",
    "Basic with the key as user": b"authorization: Basic " + b64encode(SECRET + b":") + b"\r\n",
    "Digest": b"authorization: Digest " + SECRET + b"\r\n",
    "Token": b"authorization: Token " + SECRET + b"\r\n",
    "a second header": b"authorization: Bearer x\r\nauthorization: Bearer " + SECRET + b"\r\n",
    "another header behind a wrong key": b"authorization: Bearer x\r\nx-api-key: " + SECRET + b"\r\n",
    "a header with a line": b"authorization_: Bearer " + SECRET + b"\r\nx_api_key: " + SECRET + b"\r\n",
    "a proxy's header": b"proxy-authorization: Bearer " + SECRET + b"\r\n",
    "a forwarded header": b"x-forwarded-authorization: Bearer " + SECRET + b"\r\nx-original-authorization: " + SECRET + b"\r\n",
    "a cookie": b"cookie: authorization=Bearer " + SECRET + b"; api_key=" + SECRET + b"\r\n",
    "a user's name": b"x-forwarded-user: client\r\nx-remote-user: client\r\nremote-user: client\r\nx-key-id: client\r\n",
    "capitals": b"authorization: Bearer " + SECRET.upper() + b"\r\n",
    "a letter more": b"authorization: Bearer " + SECRET + b"0\r\n",
    "a letter less": b"authorization: Bearer " + SECRET[:-1] + b"\r\n",
    "a byte more": b"authorization: Bearer " + SECRET + b"\xff\r\n",
    "a key of 60,000 characters": b"authorization: Bearer " + SECRET * 2000 + b"\r\n",
    "a key that is a pattern": b"authorization: Bearer *\r\n",
    "a key of blanks": b"x-api-key:   \r\napi-key: \r\n",
    "null": b"authorization: Bearer null\r\n",
    "undefined": b"authorization: Bearer undefined\r\n",
    "a token without a signature": b"authorization: Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJjbGllbnQifQ.\r\n",
    "the key's id": b"authorization: Bearer client\r\n",
    "websocket's protocol": b"sec-websocket-protocol: openai-insecure-api-key." + SECRET + b"\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", NOBODY)
def test_a_key_that_is_not_where_keys_stand_is_none(door: Door, name: str) -> None:
    asked = len(door.asked())
    answer = send(door.port, http(body=question(door.model), headers=NOBODY[name], key=None))
    assert answer.status == 401
    assert answer.error["type"] in {"invalid_request_error", "authentication_error"}
    assert SECRET not in answer.raw
    assert len(door.asked()) == asked


@pytest.mark.parametrize(
    "query", [b"key=", b"api_key=", b"api-key=", b"access_token=", b"token=", b"authorization=Bearer%20"]
)
def test_a_key_in_an_address_is_none(door: Door, query: bytes) -> None:
    target = b"/v1/chat/completions?" + query + SECRET
    assert send(door.port, http(target, question(door.model), key=None)).status == 401


@pytest.mark.parametrize(
    "line",
    [b"Authorization: bearer ", b"AUTHORIZATION: BEARER    ", b"authorization:Bearer ", b"x-api-key: ", b"api-key:"],
)
def test_a_key_in_its_place_is_one(door: Door, line: bytes) -> None:
    assert send(door.port, http(body=question(door.model), headers=line + SECRET + b"  \r\n", key=None)).status == 200
