"""FileStore: what is special about keeping keys in a file that people write too."""

import asyncio
import os
import stat
from datetime import timedelta

import pytest
import yaml

from crplugins.keys.file import FileKeys, FileStore, KeyFileError
from crplugins.keys.secrets import Digester, sha256
from tests.keys.conftest import LATER, NOW, make_key
from tests.warm import PYTHON

A, B = "sk-secret-of-a-0123456789", "sk-secret-of-b-0123456789"
BY_HAND = """\
# ours
owner_of_this_file: ann
keys:
- id: team-a
  secret: ${A_KEY}
  created_at: 2026-01-01
  ticket: OPS-7
  expires: 2027-01-01
- id: team-b
  hash: sha256:%s
  hint: sk-…6789
""".replace("%s", sha256(B).hex())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text(BY_HAND)
    return path


@pytest.fixture
def store(path):
    return FileStore(path, environ={"A_KEY": A})


def entries(path):
    return {entry["id"]: entry for entry in yaml.load(path.read_text(), yaml.BaseLoader)["keys"]}


async def test_a_change_keeps_what_people_wrote(store, path):
    await store.rotate("team-a", Digester().stored(B + "2", NOW), LATER - NOW, NOW)
    data = yaml.load(path.read_text(), yaml.BaseLoader)
    assert data["owner_of_this_file"] == "ann"
    assert data["keys"][0]["secrets"][0] == {
        "secret": "${A_KEY}",
        "created_at": "2026-01-01",
        "not_after": "2026-06-01T13:00:00Z",
    }
    assert (data["keys"][0]["ticket"], data["keys"][0]["expires"]) == ("OPS-7", "2027-01-01")
    assert data["keys"][1] == {"id": "team-b", "hash": f"sha256:{sha256(B).hex()}", "hint": "sk-…6789"}
    assert A not in path.read_text()
    key = await store.get("team-a")
    assert [secret.digest for secret in key.secrets] == [sha256(A), sha256(B + "2")]


async def test_a_change_touches_only_what_it_is_about(store, path):
    before = entries(path)
    await store.set_disabled("team-b", disabled=True)
    assert entries(path) == before | {"team-b": before["team-b"] | {"disabled": "true"}}


async def test_a_broken_file_is_not_changed(store, path):
    path.write_text(broken := BY_HAND + "- id: team-b\n  secret: x\n")
    with pytest.raises(KeyFileError, match=r"line 12: keys\[2\].id: the same id as keys\[1\]"):
        await store.add(make_key("team-c", "sk-c"))
    assert path.read_text() == broken


async def test_a_new_file_is_for_its_owner_alone_and_an_old_one_keeps_its_mode(store, path, tmp_path):
    path.chmod(0o640)
    await store.revoke("team-b", NOW)
    await FileStore(tmp_path / "new.yaml").add(make_key("a", A))
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("keys.yaml", "new.yaml")] == [0o640, 0o600]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to somebody else")
async def test_what_root_writes_belongs_to_whom_the_file_belongs_to(store, path):
    os.chown(path, 12345, 23456)
    await store.revoke("team-b", NOW)
    for name in ("keys.yaml", ".keys.yaml.lock", "keys.audit.jsonl"):
        found = (path.parent / name).stat()
        assert (found.st_uid, found.st_gid) == (12345, 23456), name


async def test_a_symlink_stays_one(tmp_path, path):
    link = tmp_path / "link.yaml"
    link.symlink_to(path)
    await FileStore(link, environ={"A_KEY": A}).revoke("team-b", NOW)
    assert link.is_symlink()
    assert "not_after" in path.read_text()


@pytest.mark.parametrize(
    ("flushed", "message"),
    [(0, "the audit log cannot be used .No space left on device."), (1, "cannot be written .No space left on device.")],
)
async def test_a_change_that_cannot_be_written_leaves_the_old_file_and_nothing_else(
    store, path, monkeypatch, flushed, message
):
    flushes = iter([None] * flushed)

    def fsync(_descriptor):
        for _ in flushes:
            return
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(KeyFileError, match=message):
        await store.revoke("team-b", NOW)
    assert path.read_text() == BY_HAND
    assert sorted(file.name for file in path.parent.iterdir()) == [
        ".keys.yaml.lock", "keys.audit.jsonl", "keys.yaml",
    ]  # fmt: skip
    assert (path.parent / "keys.audit.jsonl").read_bytes() == b""


async def test_a_folder_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(KeyFileError, match="its folder cannot be written to"):
        await FileStore(tmp_path / "no" / "keys.yaml").add(make_key("a", A))


async def test_a_change_through_the_source_counts_there_at_once(path):
    async with FileKeys(path, environ={"A_KEY": A}) as source:
        assert (await source.find(A)).secret.not_after is None
        await source.store.revoke("team-a", NOW)
        assert (await source.find(A)).secret.not_after == NOW
        await source.store.add(make_key("team-c", "sk-c"))
        assert (await source.find("sk-c")).key.id == "team-c"


WRITE = """
import asyncio, sys
from datetime import timedelta
from crplugins.keys.secrets import Digester
from crplugins.keys.file import FileStore
from tests.keys.conftest import NOW, make_key

async def main(path, name):
    store = FileStore(path)
    for number in range(5):
        await store.add(make_key(f"{name}-{number}", f"sk-{name}-{number}"))
        await store.rotate(f"{name}-{number}", Digester().stored(f"sk-{name}-{number}-b", NOW), timedelta(), NOW)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_write_at_once_lose_nothing_and_readers_see_only_whole_files(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text("keys: []\n")
    writers = [await asyncio.create_subprocess_exec(*PYTHON.command, "-c", WRITE, str(path), name) for name in "abc"]
    ended = asyncio.gather(*(writer.wait() for writer in writers))
    sizes = [0]
    while not ended.done():
        sizes.append(len(await FileStore(path).list()))
    assert await ended == [0, 0, 0]
    assert sizes == sorted(sizes)
    assert [len(key.secrets) for key in await FileStore(path).list()] == [2] * 15


async def test_an_overlap_of_nothing_ends_the_old_secret_now(store):
    key = await store.rotate("team-b", Digester().stored(A + "2", NOW), timedelta(), NOW)
    assert [secret.not_after for secret in key.secrets] == [NOW, None]
