"""Every KeyStore keeps the same promises: a file, SQLite, PostgreSQL."""

import asyncio
from datetime import timedelta
from types import MappingProxyType

import pytest
from msgspec.structs import replace

from crplugins.core.principal import AliasTarget, Budget, Limits, Principal, Queue
from crplugins.keys.file import FileStore
from crplugins.keys.key import Key
from crplugins.keys.secrets import Digester
from crplugins.keys.sql import SqlStore
from crplugins.keys.store import ChangeRefused, KeyExists, NoSuchKey
from crplugins.settings.errors import Problem
from tests.keys.conftest import LATER, NOW, make_key

A, B, C = (f"sk-secret-of-{name}-0123456789" for name in "abc")

FULL = Key(
    Principal(
        "everything",
        team="search",
        owner="ann@example.com",
        tags=MappingProxyType({"cost_centre": "42"}),
        models=("gpt-4o*", "fast"),
        aliases=MappingProxyType(
            {"fast": (AliasTarget("gpt-4o-mini"),), "canary": (AliasTarget("a", 9), AliasTarget("b", 1))}
        ),
        limits=Limits(requests_per_minute=60, tokens_per_day=100_000, max_parallel_requests=8, queue=Queue(2.5, 7)),
        budget=Budget(12_345_678, "month", shadow=True),
        on_disconnect="drain",
        missing_usage="free",
        models_shadow=True,
        admin=True,
        priority="low",
        weight=3,
    ),
    (Digester().stored(A, NOW), Digester("pepper").stored(B, LATER, LATER + timedelta(days=1))),
    NOW,
    not_before=NOW,
    expires=LATER,
    disabled=True,
)


@pytest.fixture(autouse=True)
def a_busy_machine_is_no_outage(monkeypatch):
    monkeypatch.setattr("crplugins.keys.sql.database.TIMEOUT", 30.0)


@pytest.fixture(params=["yaml", "json", "sqlite", "postgres"])
def make_store(request, tmp_path):
    """Makes stores on one and the same place."""
    if request.param in ("yaml", "json"):
        return lambda **options: FileStore(tmp_path / f"keys.{request.param}", **options)
    url = request.getfixturevalue(f"{request.param}_url")
    return lambda **options: SqlStore(url, **options)


@pytest.fixture
async def store(make_store):
    async with make_store(digester=Digester("pepper")) as store:
        yield store


async def test_everything_about_a_key_comes_back(store):
    await store.add(FULL)
    assert await store.get("everything") == FULL
    await store.add(make_key("bare", C, models=()))
    assert [key.id for key in await store.list()] == ["bare", "everything"]
    assert await store.get("bare") == make_key("bare", C, models=())


async def test_an_id_or_a_secret_stands_once(store):
    await store.add(make_key("team-a", A))
    with pytest.raises(KeyExists, match="there is a key 'team-a' already"):
        await store.add(make_key("team-a", B))
    with pytest.raises(KeyExists, match="the key 'team-a' has this secret already"):
        await store.add(make_key("team-b", A))
    with pytest.raises(KeyExists, match="the key 'team-a' has this secret already"):
        await store.rotate("team-a", Digester().stored(A, NOW), timedelta(), NOW)
    assert await store.list() == [make_key("team-a", A)]


async def test_a_rotated_key_has_both_secrets_in_the_overlap_and_one_id(store):
    await store.add(make_key("team-a", A))
    rotated = await store.rotate("team-a", Digester().stored(B, LATER), timedelta(hours=24), LATER)
    assert rotated == await store.get("team-a")
    assert [(s.hint, s.not_after) for s in rotated.secrets] == [
        ("sk-…6789", LATER + timedelta(hours=24)),
        ("sk-…6789", None),
    ]


async def test_a_rotation_lengthens_no_life(store):
    await store.add(make_key("team-a", A))
    await store.rotate("team-a", Digester().stored(B, NOW), timedelta(hours=1), NOW)
    key = await store.rotate("team-a", Digester().stored(C, LATER), timedelta(hours=24), NOW)
    assert sorted(str(s.not_after) for s in key.secrets) == sorted(map(str, [LATER, NOW + timedelta(hours=24), None]))


async def test_a_revoked_key_keeps_its_id_and_no_living_secret(store):
    await store.add(make_key("team-a", A, B))
    assert {s.not_after for s in (await store.revoke("team-a", LATER)).secrets} == {LATER}
    assert {s.not_after for s in (await store.get("team-a")).secrets} == {LATER}


async def test_a_key_is_disabled_and_enabled(store):
    await store.add(make_key("team-a", A))
    assert (await store.set_disabled("team-a", disabled=True)).disabled
    assert (await store.get("team-a")).disabled
    await store.set_disabled("team-a", disabled=False)
    assert await store.get("team-a") == make_key("team-a", A)


async def test_a_changed_key_keeps_its_id_and_its_secrets(store):
    await store.add(make_key("other", C))
    await store.add(FULL)
    bare = replace(FULL, principal=Principal("everything"), not_before=None, expires=None, disabled=False)
    for after in (bare, FULL):
        assert await store.update("everything", lambda _, after=after: after) == after
        assert await store.get("everything") == after
    assert await store.get("other") == make_key("other", C)


async def test_a_change_that_fails_leaves_the_key_as_it_was(store):
    await store.add(FULL)

    def fail(_key):
        raise ChangeRefused([Problem(("team",), "is none")])

    with pytest.raises(ChangeRefused, match="team: is none"):
        await store.update("everything", fail)
    assert await store.get("everything") == FULL


async def test_a_deleted_key_is_gone_and_its_id_and_its_secret_are_free(store):
    for key_id, secret in (("a", A), ("b", B), ("c", C)):
        await store.add(make_key(key_id, secret))
    await store.delete("b")
    assert [key.id for key in await store.list()] == ["a", "c"]
    with pytest.raises(NoSuchKey):
        await store.get("b")
    await store.add(make_key("b", B))
    for key_id in "bac":
        await store.delete(key_id)
    assert await store.list() == []
    await store.add(make_key("b", A))
    assert await store.list() == [make_key("b", A)]


async def test_an_unknown_id_is_an_error_that_names_the_nearest(store):
    await store.add(make_key("team-search", A))
    for change in (
        store.get("team-serach"),
        store.revoke("team-serach", NOW),
        store.set_disabled("team-serach", disabled=True),
        store.update("team-serach", lambda key: key),
        store.delete("team-serach"),
    ):
        with pytest.raises(NoSuchKey, match="there is no key 'team-serach', did you mean 'team-search'?"):
            await change


async def test_writers_at_once_lose_nothing(make_store):
    async def write(number):
        async with make_store() as store:
            await store.add(make_key(f"key-{number}", f"{A}-{number}"))
            await store.rotate(f"key-{number}", Digester().stored(f"{B}-{number}", NOW), timedelta(), NOW)

    await asyncio.gather(*(write(number) for number in range(8)))
    async with make_store() as store:
        assert [len(key.secrets) for key in await store.list()] == [2] * 8


async def test_of_two_who_add_the_same_key_one_is_told(make_store):
    async with make_store() as one, make_store() as two:
        results = await asyncio.gather(one.add(make_key("a", A)), two.add(make_key("a", B)), return_exceptions=True)
        assert sorted(type(result) for result in results if result) == [KeyExists]
        assert len(await one.list()) == 1
