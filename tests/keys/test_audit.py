"""The audit log of keys: every change leaves an entry, in every store, and no secret stands in it."""

import asyncio
import json
import re
from datetime import timedelta
from itertools import count

import pytest

from crplugins.keys.audit import AuditQuestion, Author, os_actor
from crplugins.keys.etag import IfMatch, KeyChanged, etag_of
from crplugins.keys.file import FileStore, KeyFileError
from crplugins.keys.service import KeyService
from crplugins.keys.sql import SqlStore
from crplugins.keys.store import ChangeRefused, NoSuchKey
from tests.keys.conftest import NOW, make_key
from tests.keys.test_stores import A, a_busy_machine_is_no_outage, make_store  # noqa: F401  # fixtures

SECRET = re.compile(r"sk-crp_\w{20}|[0-9a-f]{64}")


class Clock:
    """A second later each time."""

    def __init__(self):
        self._seconds = count()

    def __call__(self):
        return NOW + timedelta(seconds=next(self._seconds))


@pytest.fixture
async def store(make_store):  # noqa: F811  # a fixture
    async with make_store() as store:
        yield store


def service_of(store, actor="ann", **fields):
    clock = Clock()
    return KeyService(store, now=clock, author=Author(actor, "admin_api", now=clock, **fields))


async def a_whole_life(service):
    await service.new({"id": "a", "team": "search", "limits": {"requests_per_minute": 60}})
    await service.take({"id": "b", "secret": A})
    await service.update("a", {"limits": {"tokens_per_day": 5}, "team": None, "owner": "ann"})
    await service.rotate("a", timedelta(hours=1))
    await service.set_disabled("a", disabled=True)
    await service.set_disabled("a", disabled=False)
    await service.revoke("a")
    await service.delete("a")


async def test_every_change_leaves_an_entry_with_what_was_before_and_after(store):
    await a_whole_life(service_of(store, request_id="r-1"))
    entries = await store.audit(AuditQuestion())
    assert [(entry.action, entry.key_id) for entry in reversed(entries)] == [
        ("new", "a"), ("import", "b"), ("update", "a"), ("rotate", "a"), ("disable", "a"), ("enable", "a"),
        ("revoke", "a"), ("delete", "a"),
    ]  # fmt: skip
    assert {(entry.actor, entry.via, entry.request_id) for entry in entries} == {("ann", "admin_api", "r-1")}
    assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)
    new, taken, update, rotate, disable, enable, revoke, delete = reversed(entries)
    assert (new.before, new.after["team"]) == (None, "search")
    assert taken.after["secrets"][0]["hint"] == "sk-…6789"
    assert update.before == {"team": "search", "limits": {"requests_per_minute": 60}, "owner": None}
    assert update.after == {
        "team": None, "limits": {"requests_per_minute": 60, "tokens_per_day": 5}, "owner": "ann",
    }  # fmt: skip
    assert (len(rotate.before["secrets"]), len(rotate.after["secrets"])) == (1, 2)
    assert (disable.before, disable.after) == ({"disabled": None}, {"disabled": True})
    assert (enable.before, enable.after) == ({"disabled": True}, {"disabled": None})
    assert revoke.before.keys() == revoke.after.keys() == {"secrets"}
    assert (delete.before["owner"], delete.after) == ("ann", None)


async def test_no_secret_and_no_digest_stands_in_it(store, tmp_path):
    await a_whole_life(service_of(store))
    entries = await store.audit(AuditQuestion())
    written = "".join(path.read_text() for path in tmp_path.glob("*.jsonl"))
    told = json.dumps([[entry.before, entry.after] for entry in entries])
    assert len(entries) == 8
    assert not SECRET.search(told + written)
    assert A not in told + written


async def test_questions_choose_entries_and_page_through_them(store):
    await a_whole_life(service_of(store))
    await service_of(store, "ben").new({"id": "c"})

    async def asked(**question):
        return [(entry.action, entry.key_id) for entry in await store.audit(AuditQuestion(**question))]

    assert await asked(key_id="b") == [("import", "b")]
    assert await asked(actor="ben") == [("new", "c")]
    assert await asked(actor="nobody") == []
    first, *_ = everything = await store.audit(AuditQuestion(actor="ann"))
    assert len(await asked(since=first.at)) == 1
    assert len(await asked(until=first.at)) == 8
    pages, last = [], None
    while page := await store.audit(AuditQuestion(actor="ann", after=last, limit=3)):
        pages.append(len(page))
        last = page[-1].id
    assert pages == [3, 3, 2]
    assert last == everything[-1].id


async def test_what_was_refused_has_no_entry(store):
    await store.add(make_key("a", A))
    service = service_of(store)
    with pytest.raises(ChangeRefused):
        await service.update("a", {"budget": {"usd": 5}})
    with pytest.raises(NoSuchKey):
        await service.delete("b")
    assert [entry.action for entry in await store.audit(AuditQuestion())] == ["new"]


async def test_a_program_that_does_not_say_who_it_is_is_known_by_its_user(store):
    await store.add(make_key("a", A))
    [entry] = await store.audit(AuditQuestion())
    assert (entry.actor, entry.via) == (os_actor(), "python")
    assert "@" in entry.actor


async def test_of_two_who_have_seen_the_same_version_one_is_told(make_store):  # noqa: F811  # a fixture
    async with make_store() as one, make_store() as two:
        await one.add(make_key("a", A))
        seen = IfMatch.parse([etag_of(await one.get("a"), NOW)])

        async def write(store, owner):
            author = Author(owner, if_match=seen, now=lambda: NOW)
            return await KeyService(store, now=lambda: NOW, author=author).update("a", {"owner": owner})

        results = await asyncio.gather(write(one, "ann"), write(two, "ben"), return_exceptions=True)
        [lost] = [result for result in results if isinstance(result, Exception)]
        key = await one.get("a")
        assert isinstance(lost, KeyChanged)
        assert lost.etag == etag_of(key, NOW)
        updates = [entry.after for entry in await one.audit(AuditQuestion()) if entry.action == "update"]
        assert updates == [{"owner": key.principal.owner}]


async def test_a_version_is_the_same_after_it_was_written_and_another_after_each_change(store):
    service = service_of(store)
    minted = await service.new({"id": "a", "tags": {"b": "1", "a": "2"}, "aliases": {"x": "y"}})
    tags = [etag_of(minted.key, NOW)]
    assert etag_of(await store.get("a"), NOW) == tags[0]
    for patch in ({"owner": "ann"}, {"tags": {"a": "3"}}, {"expires": "2999-01-01"}, {"priority": "high"}):
        tags.append(etag_of(await service.update("a", patch), NOW))
        assert etag_of(await store.get("a"), NOW) == tags[-1]
    tags.append(etag_of((await service.rotate("a", timedelta(hours=1))).key, NOW))
    tags.append(etag_of(await service.set_disabled("a", disabled=True), NOW))
    tags.append(etag_of(await service.revoke("a"), NOW))
    tags.append(etag_of(await store.get("a"), NOW + timedelta(days=1)))  # its secrets have ended, which it shows
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize(
    ("fields", "matches"),
    [
        (["{tag}"], True),
        (["*"], True),
        (['"other", {tag}'], True),
        (['"other"', "{tag}"], True),
        (['"other"'], False),
        (["W/{tag}"], False),
        ([""], False),
    ],
)
def test_if_match_is_read_as_http_says(fields, matches):
    key = make_key("a", A)
    if_match = IfMatch.parse([field.replace("{tag}", etag_of(key, NOW)) for field in fields])
    if matches:
        if_match.check(key, NOW)
    else:
        with pytest.raises(KeyChanged):
            if_match.check(key, NOW)


def test_without_the_field_any_version_will_do():
    assert IfMatch.parse([]) is None


async def test_the_log_of_a_file_is_where_its_setting_says_and_survives_a_cut_line(tmp_path):
    path = tmp_path / "log" / "changes.jsonl"
    store = FileStore(tmp_path / "keys.yaml", audit=path)
    with pytest.raises(KeyFileError, match="changes.jsonl: the audit log cannot be used"):
        await store.add(make_key("a", A))
    assert not (tmp_path / "keys.yaml").exists()
    path.parent.mkdir()
    await store.add(make_key("a", A))
    with path.open("a") as file:
        file.write('{"id": "cut off by a loss of pow')
    await store.revoke("a", NOW)
    assert [entry.action for entry in await store.audit(AuditQuestion())] == ["revoke", "new"]
    assert path.stat().st_mode & 0o777 == 0o600


async def test_of_a_long_log_the_newest_entries_are_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("crplugins.keys.file.audit._BLOCK", 64)  # shorter than a line
    store = FileStore(tmp_path / "keys.yaml")
    await store.add(make_key("a", A))
    for number in range(5):
        await KeyService(store).update("a", {"owner": f"ann-{number}"})
    entries = await store.audit(AuditQuestion(limit=3))
    assert [entry.after["owner"] for entry in entries] == ["ann-4", "ann-3", "ann-2"]
    assert len(await store.audit(AuditQuestion())) == 6


async def test_the_log_of_a_database_goes_with_its_change(sqlite_url):
    async with SqlStore(sqlite_url) as store:
        await store.add(make_key("a", A))

        def fail(_key):
            raise RuntimeError("power")

        with pytest.raises(Exception, match="power"):
            await store.update("a", fail)
        assert len(await store.audit(AuditQuestion())) == 1
