"""The address of a client behind proxies."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def behind_proxy(*headers: tuple[str, str], client: str = "10.0.0.1") -> str:
    pairs = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return ClientAddresses(["10.0.0.0/8", "fd00::/8"]).of(client, pairs)


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["for=198.51.100.1"], "198.51.100.1"),
        (["For=198.51.100.1;proto=https;by=10.0.0.1"], "198.51.100.1"),
        (["proto=https ; for=198.51.100.1"], "198.51.100.1"),
        (["for=6.6.6.6, for=198.51.100.1, for=10.0.0.2"], "198.51.100.1"),
        (["for=6.6.6.6", "for=198.51.100.1,for=10.0.0.2"], "198.51.100.1"),
        (['for="198.51.100.1:4711"'], "198.51.100.1"),
        (['for="[2001:db8::1]:4711"'], "2001:db8::/64"),
        (['for="[2001:db8::1]"'], "2001:db8::/64"),
        (['for="\\1\\9\\8.51.100.1"'], "198.51.100.1"),
        (['for=6.6.6.6;by="a, for=6.6.6.7", for=198.51.100.1'], "198.51.100.1"),
        # Nobody can read these, so the address is that of the last proxy that can be.
        (["for=6.6.6.6, for=unknown"], "10.0.0.1"),
        (["for=6.6.6.6, for=_hidden, for=10.0.0.2"], "10.0.0.2"),
        (["for=6.6.6.6;for=7.7.7.7"], "10.0.0.1"),
        (["proto=https"], "10.0.0.1"),
        (["for"], "10.0.0.1"),
        (["for=6.6.6.6 for=7.7.7.7"], "10.0.0.1"),
        (["198.51.100.1"], "10.0.0.1"),
        ([""], "10.0.0.1"),
        # A quotation that a client leaves open.
        (['for="6.6.6.6, for=198.51.100.1'], "10.0.0.1"),
        (['for="6.6.6.6', "for=198.51.100.1"], "198.51.100.1"),
        (['for="6.6.6.6\\", for=198.51.100.1'], "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_too(lines: list[str], found: str) -> None:
    assert behind_proxy(*(("forwarded", line) for line in lines)) == found


@pytest.mark.parametrize(
    ("plain", "standard", "found"),
    [
        ("198.51.100.1", "for=198.51.100.1", "198.51.100.1"),
        ("2001:db8::1", 'for="[2001:db8::1]"', "2001:db8::/64"),
        ("198.51.100.1", "for=6.6.6.6", "10.0.0.1"),
        ("6.6.6.6", "for=198.51.100.1", "10.0.0.1"),
        ("198.51.100.1", "for=_hidden", "10.0.0.1"),
        ("198.51.100.1", "", "10.0.0.1"),
    ],
)
def test_of_two_headers_that_disagree_neither_is_believed(plain: str, standard: str, found: str) -> None:
    """A client has forged the one that its proxy does not write, and nobody knows which."""
    assert behind_proxy(("x-forwarded-for", plain), ("forwarded", standard)) == found


@pytest.mark.parametrize(
    "value",
    [
        "198.51.100.1,",
        "198.51.100.1, ,",
        "198.51.100.1 ",
        "\t198.51.100.1",
        "6.6.6.6,198.51.100.1:80",
        "%, 198.51.100.1",
    ],
)
def test_gaps_and_junk_further_left_do_not_matter(value: str) -> None:
    assert behind_proxy(("x-forwarded-for", value)) == "198.51.100.1"


@pytest.mark.parametrize(
    "value", ["198.51.100.1.", "0198.51.100.1", "1e3", "[", "[]", ":", "::ffff:", "\xff", "localhost"]
)
def test_what_is_no_address_ends_the_way_back(value: str) -> None:
    assert behind_proxy(("x-forwarded-for", f"6.6.6.6, {value}")) == "10.0.0.1"


def test_other_names_of_one_address_are_the_same_address() -> None:
    names = ["2001:db8::1", "2001:DB8:0:0:0:0:0:1", "[2001:db8::1]:80", "2001:db8::1%eth0", "2001:db8::2"]
    assert {behind_proxy(("x-forwarded-for", name)) for name in names} == {"2001:db8::/64"}
    assert {behind_proxy(("x-forwarded-for", name)) for name in ("::ffff:198.51.100.1", "198.51.100.1")} == {
        "198.51.100.1"
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-forwarded-for", "10.0.0.1," * 8_000),
        ("forwarded", "for=10.0.0.1," * 8_000),
        ("forwarded", 'for="' * 8_000),
        ("forwarded", 'for="\\' * 8_000),
        ("forwarded", ";" * 30_000),
        ("x-forwarded-for", "," * 60_000),
    ],
)
def test_a_long_header_costs_little(name: str, value: str) -> None:
    def seconds(text: str) -> float:
        best = float("inf")
        for _ in range(3):
            begun = time.process_time()
            assert behind_proxy((name, text)) == "10.0.0.1"
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(value) < 40 * seconds(value[: len(value) // 10]) + 0.002


@given(st.lists(st.tuples(st.sampled_from(["x-forwarded-for", "forwarded"]), st.text('for=";,\\ 1.:[]_', max_size=30))))
def test_what_a_proxy_has_added_cannot_be_hidden_by_what_its_client_sent(sent: list[tuple[str, str]]) -> None:
    """Each proxy writes one header, as a further line or into the last one; a forged address is never believed."""
    for name, added in (("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")):
        assert behind_proxy(*sent, (name, added)) in ("198.51.100.1", "10.0.0.1")
        own = [value for key, value in sent if key == name]
        others = [(key, value) for key, value in sent if key != name]
        joined = ", ".join([*own, added])
        assert behind_proxy(*others, (name, joined)) in ("198.51.100.1", "10.0.0.1")
