"""FileKeys: a file of keys, followed."""

import asyncio
import logging
import os
from datetime import UTC, datetime

import pytest

from crplugins.keys.file import FileKeys, KeyFileError
from crplugins.keys.file.source import POLL_SECONDS, QUIET_SECONDS
from crplugins.keys.secrets import Digester, sha256
from crplugins.keys.source import SourceUnavailable
from tests.keys.conftest import Sleep

A, B = "sk-secret-of-a-0123456789", "sk-secret-of-b-0123456789"
WORKS = f"keys:\n- id: a\n  hash: sha256:{sha256(A).hex()}\n"


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text(WORKS)
    return path


def replace(path, text):
    """As programs do that write a file whole: renaming it is the last thing that happens to it."""
    new = path.with_name("new")
    new.write_text(text)
    os.utime(new, (1, 1))
    new.replace(path)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


async def quietly(source, clock):
    """Two looks between which nothing is written for long enough."""
    await source.refresh()
    clock.now += QUIET_SECONDS
    await source.refresh()


async def found(source, secret):
    key = await source.find(secret)
    return key and key.key.id


async def test_a_file_has_the_keys_it_lists_by_hash_or_secret_or_environment(path):
    path.write_text(WORKS + "- id: b\n  secret: ${B_KEY}\n- {id: c, secret: sk-c, expires: 2027-01-01}\n")
    async with FileKeys(path, environ={"B_KEY": B}) as source:
        assert [await found(source, secret) for secret in (A, B, "sk-c", "sk-d", "${B_KEY}")] == [
            "a",
            "b",
            "c",
            None,
            None,
        ]
        assert (await source.find("sk-c")).key.expires == datetime(2027, 1, 1, tzinfo=UTC)


async def test_json_reads_the_same(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(
        '{\n\t"keys": [{"id": "a", "secret": "SECRET", "not_before": "2026-01-01T01:00:00+01:00"}]}'.replace(
            "SECRET", A
        )
    )
    async with FileKeys(path) as source:
        assert (await source.find(A)).key.not_before == datetime(2026, 1, 1, tzinfo=UTC)


async def test_a_pepper_finds_hmac_and_plain_digests(path):
    digester = Digester("pepper")
    path.write_text(WORKS + f"- id: b\n  hash: hmac-sha256:{digester.candidates(B)[0].hex()}\n")
    async with FileKeys(path, digester=digester) as source:
        assert [await found(source, A), await found(source, B)] == ["a", "b"]


async def test_a_replaced_file_counts_at_the_next_look(path):
    async with FileKeys(path, sleep=(sleep := Sleep())) as source:
        replace(path, f"keys: [{{id: b, secret: {B}}}]")
        assert await found(source, B) is None
        await sleep.look()
        assert [await found(source, A), await found(source, B)] == [None, "b"]


@pytest.mark.parametrize("how", ["in place", "removed before", "behind a link"])
async def test_a_file_written_slowly_counts_once_it_has_stopped_changing(path, clock, how):
    if how == "behind a link":
        path.rename(path.with_name("real.yaml"))
        path.symlink_to("real.yaml")
    async with FileKeys(path, clock=clock) as source:
        if how != "in place":
            real = path.resolve()
            path.resolve().rename(path.with_name("old.yaml"))  # so that its inode is not given out again
            real.touch()
        for text in ("keys: []\n", "keys:\n", f"keys:\n- {{id: b, secret: {B}}}\n"):
            path.write_text(text)
            for _ in range(3):  # a look now and then while nothing is written, as a slow copy makes it
                await source.refresh()
                clock.now += QUIET_SECONDS / 4
                assert await found(source, A) == "a"
        path.write_text(WORKS + f"- {{id: b, secret: {B}}}\n")
        await quietly(source, clock)
        assert [await found(source, A), await found(source, B)] == ["a", "b"]


async def test_without_a_change_the_file_is_not_read(path, monkeypatch):
    async with FileKeys(path) as source:
        monkeypatch.setattr(source._file, "read", lambda: pytest.fail("read again"))
        await source.refresh()
        await source.refresh()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys:\n- id: a\n  hash: nonsense\n", "keys.yaml, line 3: keys[0].hash: must be sha256: or hmac-sha256:"),
        ("keys:\n- id: a\n  secret: [\n", "keys.yaml, line 4: not valid YAML"),
        (WORKS + f"- id: a\n  secret: {B}\n", "keys.yaml, line 4: keys[1].id: the same id as keys[0]"),
        (WORKS + "  expire: 2027-01-01\n", "line 4: keys[0].expire: unknown key, did you mean 'expires'?"),
        (WORKS + "  id: b\n", "line 4: keys[0].id: stands twice"),
        (
            WORKS + "- id: b\n  secret: ${NOT_SET}\n",
            "line 5: keys[1].secret: the environment variable NOT_SET is not set",
        ),
        ("- id: a\n", "keys.yaml, line 1: the file must hold a list under 'keys:'"),
        ("", "keys.yaml: there must be a list under 'keys:'"),
        ("keys: !!python/object:os.system x\n", "keys.yaml, line 1: keys: YAML tags (!) are not read here"),
    ],
)
async def test_a_broken_file_keeps_the_last_good_one_and_says_so_once_then_recovers(path, caplog, text, said):
    caplog.set_level(logging.WARNING)
    async with FileKeys(path, environ={}) as source:
        replace(path, text)
        for _ in range(3):
            await source.refresh()
        assert await found(source, A) == "a"
        (record,) = caplog.records
        assert said in record.getMessage()
        assert said in source.problem
        replace(path, f"keys: [{{id: b, secret: {B}}}]")
        await source.refresh()
        assert [await found(source, B), source.problem] == ["b", None]
        assert "good again" in caplog.messages[-1]


async def test_a_file_that_is_taken_away_keeps_its_keys(path, caplog, clock):
    async with FileKeys(path, clock=clock) as source:
        path.unlink()
        await source.refresh()
        assert await found(source, A) == "a"
        assert "there is no such file" in caplog.messages[0]
        path.write_text(f"keys: [{{id: b, secret: {B}}}]")
        await quietly(source, clock)
        assert await found(source, B) == "b"


async def test_a_file_that_is_back_as_it_was_is_good_again_or_as_bad_as_before(path, caplog):
    folder, away = path.parent, path.parent.with_name(f"{path.parent.name}-away")
    async with FileKeys(path) as source:
        for text, problem in ((None, None), ("keys: {}\n", "there must be a list")):
            if text is not None:
                replace(path, text)
                await source.refresh()
            folder.rename(away)
            await source.refresh()
            assert "there is no such file" in source.problem
            away.rename(folder)
            await source.refresh()
            assert source.problem is None if problem is None else problem in source.problem
        assert await found(source, A) == "a"
    assert [message for message in caplog.messages if "good again" in message] == ["keys.yaml is good again: 1 keys"]


@pytest.mark.parametrize("text", [None, "keys: {}"])
async def test_at_startup_a_file_that_cannot_be_used_is_an_error(path, text):
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(KeyFileError):
        async with FileKeys(path):
            pass


async def test_a_source_that_was_not_entered_is_unavailable(path):
    with pytest.raises(SourceUnavailable):
        await FileKeys(path).find(A)


async def test_a_symlink_swapped_to_another_file_is_a_change(tmp_path):
    for name, key in (("one", A), ("two", B)):
        (tmp_path / name).write_text(f"keys: [{{id: {name}, secret: {key}}}]")
    link = tmp_path / "keys.yaml"
    link.symlink_to("one")
    async with FileKeys(link) as source:
        (tmp_path / "swap").symlink_to("two")
        (tmp_path / "swap").replace(link)
        await source.refresh()
        assert [await found(source, A), await found(source, B)] == [None, "two"]


async def test_a_change_in_place_is_live_within_two_seconds(path, clock):
    assert 2 * POLL_SECONDS + QUIET_SECONDS < 2
    async with FileKeys(path, sleep=(sleep := Sleep()), clock=clock) as source:
        path.write_text(f"keys: [{{id: b, secret: {B}}}]\n")
        while await found(source, B) is None:
            await sleep.look()
            clock.now += POLL_SECONDS
        assert clock.now < 2


async def test_a_real_change_is_live_by_itself(path):
    async with FileKeys(path) as source, asyncio.timeout(60):
        path.write_text(f"keys: [{{id: b, secret: {B}}}]\n")
        while await found(source, B) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def test_no_repr_tells_anything(path):
    path.write_text(f"keys: [{{id: a, secret: {A}}}]")
    source = FileKeys(path)
    source._load()
    assert A not in repr(source) + repr(vars(source)) + repr(source.key_table.keys) + repr(vars(source.key_table))
