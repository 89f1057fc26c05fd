"""The address of a client behind proxies."""

import pytest

from crplugins.plugins.rate_limits.address import UNKNOWN, ClientAddresses


def address(client: str | None, *forwarded: str, trusted: tuple[str, ...] = ("10.0.0.0/8", "fd00::/8")) -> str:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode()) for value in forwarded)]
    return ClientAddresses(trusted).of(client, headers)


@pytest.mark.parametrize(
    ("client", "forwarded", "found"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1,10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::/64"),
        ("fd00::1", ["2001:db8:0:1::5"], "2001:db8:0:1::/64"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("2001:db8::1", [], "2001:db8::/64"),
        (None, ["198.51.100.1"], UNKNOWN),
        ("testclient", [], UNKNOWN),
        ("", [], UNKNOWN),
    ],
)
def test_the_nearest_one_that_no_trusted_proxy_has(client: str | None, forwarded: list[str], found: str) -> None:
    assert address(client, *forwarded) == found


def test_without_trusted_proxies_the_header_is_not_believed() -> None:
    assert address("203.0.113.7", "198.51.100.1", trusted=()) == "203.0.113.7"


def test_an_untrusted_network_must_be_one() -> None:
    with pytest.raises(ValueError):
        ClientAddresses(["10.0.0.0/33"])
