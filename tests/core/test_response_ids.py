"""The ids under which clients know responses: bound to a key and to a place, and to nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.response_ids import HERE, Kept, ResponseIds, ResponsesPlace

ACCOUNT = ResponsesPlace(b"a" * 32, is_secret=True)
OTHER = ResponsesPlace(b"b" * 32, is_secret=True)
OPEN = ResponsesPlace(b"c" * 32)
PLACES = {place.tag: place for place in (ACCOUNT, OTHER, OPEN, HERE)}


def ids(*secrets: str, fallback: bytes = b"") -> ResponseIds:
    return ResponseIds(PLACES.get, secrets, fallback)


@given(id=st.text(min_size=1, max_size=300).filter(str.isprintable), key=st.text(max_size=50))
def test_what_a_key_is_shown_it_alone_can_use(id: str, key: str) -> None:
    kept = Kept(id, ACCOUNT)
    shown = ids().shown(kept, key)
    assert shown.startswith("resp_")
    assert shown == ids().shown(kept, key)
    assert set(shown) <= set("resp_ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert ids().read(shown, key) == kept
    assert ids().read(shown, key + "x") is None
    assert ids().shown(Kept(id, OTHER), key) != shown


@given(data=st.data())
def test_no_byte_of_an_id_can_be_changed(data: st.DataObject) -> None:
    shown = ids().shown(Kept("resp_1", ACCOUNT), "ann")
    at = data.draw(st.integers(len("resp_"), len(shown) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_"))
    changed = shown[:at] + letter + shown[at + 1 :]
    assert (ids().read(changed, "ann") is not None) == (changed == shown)


@given(shown=st.text(max_size=200) | st.binary(max_size=100).map(lambda data: "resp_" + data.hex()))
def test_any_text_is_read_and_means_nothing(shown: str) -> None:
    assert ids().read(shown, "ann") is None


def test_a_very_long_id_is_not_read() -> None:
    assert ids().read("resp_" + "A" * 10_000_000, "ann") is None


def test_a_key_whose_name_begins_like_another_is_another() -> None:
    shown = ids().shown(Kept("bc", ACCOUNT), "a")
    assert ids().read(shown, "ab") is None


def test_a_place_that_is_gone_has_nothing() -> None:
    shown = ids().shown(Kept("resp_1", ACCOUNT), "ann")
    assert ResponseIds(lambda _: None).read(shown, "ann") is None


def test_the_first_secret_signs_and_each_reads() -> None:
    kept = Kept("resp_1", ACCOUNT)
    old, new = ids("old"), ids("new", "old")
    assert new.read(old.shown(kept, "ann"), "ann") == kept
    assert new.shown(kept, "ann") == ids("new").shown(kept, "ann") != old.shown(kept, "ann")
    assert ids("new").read(old.shown(kept, "ann"), "ann") is None
    assert ids().read(old.shown(kept, "ann"), "ann") is None


@pytest.mark.parametrize("place", [OPEN, HERE])
def test_where_no_credential_is_secret_the_process_signs(place: ResponsesPlace) -> None:
    kept = Kept("resp_1", place)
    shown = ids(fallback=b"one").shown(kept, "ann")
    assert ids(fallback=b"one").read(shown, "ann") == kept
    assert ids(fallback=b"two").read(shown, "ann") is None
    assert ids("secret").read(ids("secret", fallback=b"one").shown(kept, "ann"), "ann") == kept


def test_with_a_credential_that_is_secret_every_process_signs_alike() -> None:
    kept = Kept("resp_1", ACCOUNT)
    assert ids(fallback=b"two").read(ids(fallback=b"one").shown(kept, "ann"), "ann") == kept
