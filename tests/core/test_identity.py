"""Who a request says it is for: where that stands, what is missing, and how many names a key may invent."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.core.body import Body
from crplugins.core.errors import GatewayError, Header
from crplugins.core.exchange import Exchange, Timings
from crplugins.core.identity import LONGEST_NAME, Identities, IdentityRules, IdentitySource
from crplugins.core.principal import Principal
from crplugins.testing import FrozenClock

CLOCK = FrozenClock()


def asking(
    body: Any = None, *, headers: Sequence[Header] = (), key_id: str | None = "team-a", clock: FrozenClock = CLOCK
) -> Exchange:
    return Exchange(
        id="r",
        method="POST",
        path="/v1/chat/completions",
        headers=headers,
        client=None,
        clock=clock,
        timings=Timings(0.0),
        body=Body(body if isinstance(body, bytes) else msgspec.json.encode(body or {})),
        principal=None if key_id is None else Principal(key_id),
    )


def digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def scope_of(name: str) -> str:
    return f"key/team-a/user/{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def from_places(*places: str, **rules: Any) -> Identities:
    return Identities(IdentityRules(user=tuple(IdentitySource.of(place) for place in places), **rules))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"user": "ann@example.com"}, "ann@example.com"),
        ({"safety_identifier": "a", "user": "b"}, "a"),
        ({"safety_identifier": " ", "user": "b"}, "b"),
        ({"safety_identifier": None, "user": " b "}, "b"),
        ({"user": 7}, "7"),
        (b'{"user": "\\u0061"}', "a"),
        ({"user": "\U0001f600"}, "\U0001f600"),
    ],
)
def test_a_user_stands_in_either_field_and_leaves_as_a_digest(body: Any, name: str) -> None:
    assert Identities().user_of(asking(body)) == f"key/team-a/user/{digest(name)}"


def test_a_session_stands_in_the_header_or_in_the_metadata() -> None:
    header = [(b"x-session-id", b"run-1")]
    scopes = [
        Identities().session_of(asking(headers=header)),
        Identities().session_of(asking({"metadata": {"session_id": "run-1"}})),
        Identities().session_of(asking({"metadata": {"session_id": "run-2"}}, headers=header)),
    ]
    assert scopes == [f"key/team-a/session/{digest('run-1')}"] * 3


UNNAMED = "key/team-a/user/unnamed"


@pytest.mark.parametrize("user", [None, "", "  ", True, 1.5, ["ann"], {"id": "ann"}])
def test_what_names_nobody_is_missing(user: Any) -> None:
    assert Identities().user_of(asking({"user": user})) == UNNAMED


@pytest.mark.parametrize("value", [b'"\xff"', b"1" * 5000, b"[" * 500 + b"]" * 500])
def test_what_cannot_be_read_names_nobody_and_is_no_bug(value: bytes) -> None:
    identities = from_places("metadata:id")
    assert identities.user_of(asking(b'{"metadata": {"id": ' + value + b"}}")) == UNNAMED
    assert Identities().user_of(asking(b'{"user": ' + value + b"}")) == UNNAMED


def test_a_name_is_the_same_in_a_header_and_in_a_body() -> None:
    for name in ("ann", "\u00e4nne", "\U0001f600"):
        header = asking(headers=[(b"x-end-user", name.encode())])
        assert from_places("header:x-end-user").user_of(header) == Identities().user_of(asking({"user": name}))
    assert from_places("header:x-end-user").user_of(asking(headers=[(b"x-end-user", b"\xe4")])) == scope_of("\u00e4")


@pytest.mark.parametrize("metadata", [None, "session_id", ["session_id"], {}, {"session_id": None}])
def test_requests_without_a_session_are_refused_by_name(metadata: Any) -> None:
    with pytest.raises(GatewayError, match="header 'x-session-id' or 'metadata.session_id'") as refused:
        Identities().session_of(asking({"metadata": metadata}))
    assert (refused.value.status, refused.value.error.param) == (400, "metadata.session_id")
    assert refused.value.error.code == "missing_required_parameter"


def test_one_word_says_what_becomes_of_the_missing() -> None:
    assert from_places("user", missing_user="ignore").user_of(asking()) is None
    assert from_places("user", missing_user="share").user_of(asking()) == "key/team-a/user/unnamed"
    with pytest.raises(GatewayError, match="the user of the request, in 'user'"):
        from_places("user", missing_user="refuse").user_of(asking())


def test_no_name_is_that_of_all_the_unnamed() -> None:
    assert Identities().user_of(asking({"user": "unnamed"})) != Identities().user_of(asking())


def test_only_the_places_that_are_named_count() -> None:
    request = asking({"user": "ann"}, headers=[(b"x-end-user", b"ben")])
    assert from_places("header:X-End-User").user_of(request) == f"key/team-a/user/{digest('ben')}"
    assert from_places("header:x-other").user_of(request) == "key/team-a/user/unnamed"


def test_a_header_that_a_proxy_has_added_to_the_clients_own_is_refused() -> None:
    twice = asking(headers=[(b"x-end-user", b"mallory"), (b"x-end-user", b"ben")])
    with pytest.raises(GatewayError, match="more than once") as refused:
        from_places("header:x-end-user").user_of(twice)
    assert (refused.value.status, refused.value.error.param) == (400, "x-end-user")


def test_a_name_has_a_longest_length() -> None:
    assert Identities().user_of(asking({"user": "a" * LONGEST_NAME}))
    with pytest.raises(GatewayError, match="'user': string too long. Expected a string with maximum length 256") as no:
        Identities().user_of(asking({"user": "a" * (LONGEST_NAME + 1)}))
    assert no.value.error.code == "string_above_max_length"


@pytest.mark.parametrize("text", ["", "header:", "cookie:a", ":a", "header: a", "metadata:\u00e4"])
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a field of the request"):
        IdentitySource.of(text)


@given(key_id=st.text(min_size=1), user=st.text(min_size=1).filter(str.strip))
def test_no_key_and_no_name_reach_the_scope_of_another(key_id: str, user: str) -> None:
    scope = Identities().user_of(asking({"user": user[:256]}, key_id=key_id))
    other = Identities().user_of(asking({"user": user[:256]}, key_id=f"{key_id}/user"))
    assert scope is not None
    assert scope.isascii()
    assert scope.count("/") == 3
    assert scope != other


def test_without_a_key_names_are_anybodys() -> None:
    assert Identities().user_of(asking({"user": "ann"}, key_id=None)) == f"anyone/user/{digest('ann')}"


def test_a_key_that_invents_names_has_room_for_so_many_and_takes_nothing_from_another_key(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, few = FrozenClock(), from_places("user", max_per_key=3)

    def scope(name: str, key_id: str = "team-a") -> str | None:
        return few.user_of(asking({"user": name}, key_id=key_id, clock=clock))

    own = [scope(name) for name in "abc"]
    clock.advance(10)
    assert scope("b") == own[1]
    assert [scope(str(number)) for number in range(1000)] == ["key/team-a/user/others"] * 1000
    assert caplog.messages == [
        "key/team-a names more than 3 users: further ones share one scope (limits.identity.max_per_key)"
    ]
    assert [scope(name) for name in "abc"] == own
    assert scope("d", "team-b") == f"key/team-b/user/{digest('d')}"
    clock.advance(5)
    assert scope("a") == own[0]
    clock.advance(86_395)
    assert scope("e") == f"key/team-a/user/{digest('e')}"
    assert scope("f") == f"key/team-a/user/{digest('f')}"
    assert scope("b") == "key/team-a/user/others", "two that were idle have made room, and the third was in use"
    assert scope("a") == own[0]
    assert sum(len(seen) for seen in few._user._seen_by_key.values()) <= 4


def test_names_that_nobody_uses_any_more_take_no_memory_in_however_many_keys() -> None:
    """In a year each of a thousand keys would have the most names that it may have at one time."""
    clock, users = FrozenClock(), from_places("user")
    for number in range(20_000):
        users.user_of(asking({"user": str(number)}, key_id=f"team-{number % 500}", clock=clock))
    assert sum(map(len, users._user._seen_by_key.values())) == 20_000
    clock.advance(86_401)
    for number in range(20_000):
        users.user_of(asking({"user": str(number)}, key_id="team-0", clock=clock))
    assert [*map(len, users._user._seen_by_key.values())] == [10_000]


def test_two_plugins_are_told_the_same_of_one_request() -> None:
    few = from_places("user", max_per_key=1)
    first, second = asking({"user": "a"}), asking({"user": "b"})
    assert few.user_of(first) == few.user_of(first) != few.user_of(second) == few.user_of(second)


def test_a_session_is_remembered_for_its_idle_time_and_up_to_an_hour_more() -> None:
    identities = Identities(IdentityRules(session_idle_seconds=60))
    hour = 3_600_000
    for now in (0, 1, hour - 1, hour):
        assert 60_000 < identities.session_end(now) - now <= 60_000 + hour
