"""What a change leaves in a keys file: everything that it is not about, as people wrote it."""

import difflib
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crplugins.core.principal import Limits, Principal
from crplugins.keys.file import FileStore, KeyFileError
from crplugins.keys.key import Key, revoked, rotated, with_disabled
from crplugins.keys.secrets import Digester, sha256
from tests.keys.conftest import LATER, NOW, make_key
from tests.long import times
from tests.warm import PYTHON

A, B, NEW = "sk-secret-of-a-0123456789", "sk-secret-of-b-0123456789", "sk-new-secret-0123456789"
HASH = f"sha256:{sha256(B).hex()}"
SECRET = Digester().stored(NEW, NOW)

BY_HAND = f"""\
# Keys of the search team.
# Ask ann before you change one.

version: 0x10   # ours

keys:
  # production
  - id: team-a   # the old one
    secret: ${{A_KEY}}  # from the vault
    # whose it is
    team: 'search'
    tags: {{env: "prod", tier: 'gold'}}
    models:
      - gpt-4o    # cheap
      - fast

    expires: 2027-01-01
    # rotate in June

  # staging
  - id: "team-b"
    hash: {HASH}
    note: >-
      folded
      text
    on: yes

# the end
"""
INDENTLESS = f"""\
keys:
- id: team-a
  secret: ${{A_KEY}}
  limits:
      requests_per_minute: 60  # enough
# between
- id: team-b
  hash: {HASH}
  # of b
# bottom"""
FLOW = f"""\
keys:
- {{id: team-a, secret: '${{A_KEY}}', models: [a, 'b']}}  # one
- {{id: team-b, secrets: [{{hash: "{HASH}"}}]}}
"""
ONE_LINE = f"keys: [{{id: team-a, secret: '${{A_KEY}}'}}, {{id: team-b, hash: \"{HASH}\"}}] # all\n"
JSON_LIKE = f"""\
{{
  "keys": [
    {{"id": "team-a", "secret": "${{A_KEY}}"}},  # one
    {{"id": "team-b", "hash": "{HASH}"}}
  ]
}}
"""
LINES = f"""\
keys: [
  {{
    id: team-a,  # a
    secret: '${{A_KEY}}',  # from the vault
    # what it may call
    models: [a, 'b'],
    hint: "…",
  }},
  # the second
  {{
    id: team-b,
    hash: "{HASH}"  # imported
  }}
]
"""
ANCHORS = f"""\
defaults: &d
  team: search  # all
  models: [a]
shared: &m [x, y]
keys:
- <<: *d
  id: team-a  # a
  secret: ${{A_KEY}}
  limits: &l {{requests_per_minute: 5}}
- id: team-b
  <<: *d
  models: *m
  limits: *l
  hash: {HASH}
"""
WIDE = f"""\
---
keys:
    -   id: team-a
        secrets: ~
        secret: ${{A_KEY}}
    -
        id: team-b
        secrets:
            # the first
            - hash: {HASH}   # imported
              created_at: 2026-01-01T01:00:00+01:00
...
"""
FILES = {
    "by hand": BY_HAND,
    "indentless": INDENTLESS,
    "flow": FLOW,
    "one line": ONE_LINE,
    "JSON-like": JSON_LIKE,
    "lines": LINES,
    "anchors": ANCHORS,
    "wide": WIDE,
    "CRLF and BOM": "\ufeff" + BY_HAND.replace("\n", "\r\n"),
}


async def disable(store):
    await store.set_disabled("team-a", disabled=True)


async def enable(store):
    await store.set_disabled("team-b", disabled=True)
    await store.set_disabled("team-b", disabled=False)


async def revoke(store):
    await store.revoke("team-b", NOW)


async def rotate(store):
    await store.rotate("team-a", SECRET, LATER - NOW, NOW)


async def add(store):
    await store.add(make_key("team-c", "sk-c"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.yaml"


def changed_lines(before, after):
    """The lines that went and those that came."""
    lines = list(difflib.ndiff(before.splitlines(), after.splitlines()))
    return [[line[2:] for line in lines if line.startswith(sign)] for sign in ("- ", "+ ")]


def comments(text):
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


async def update(store):
    words = {"team": "research", "limits": Limits(requests_per_minute=7)}
    await store.update("team-a", lambda key: replace(key, principal=replace(key.principal, **words), expires=LATER))


@pytest.mark.parametrize("change", [disable, enable, revoke, rotate, add, update], ids=lambda change: change.__name__)
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
async def test_a_change_keeps_every_comment_and_every_line_that_it_is_not_about(path, text, change):
    path.write_bytes(text.encode())
    store = FileStore(path, environ={"A_KEY": A})
    if change is update and text is ANCHORS:  # another key has the same limits
        with pytest.raises(KeyFileError, match="anchors and aliases"):
            await change(store)
        return
    await change(store)
    after = path.read_bytes().decode()
    assert sorted(comments(after)) == sorted(comments(text))
    gone, _ = changed_lines(text, after)
    subject = "team-b" if change in (enable, revoke) else "team-a"
    assert all(_is_of(line, subject) for line in gone if change is not add)
    assert change is not add or len(gone) <= 1  # a comma, or the bracket of a list on one line
    if "\r\n" in text:
        assert after.startswith("\ufeff")
        assert after.count("\n") == after.count("\r\n")


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
async def test_a_deleted_entry_takes_its_own_lines_and_no_other(path, text):
    path.write_bytes(text.encode())
    store = FileStore(path, environ={"A_KEY": A})
    for key_id in ("team-b", "team-a") if text is ANCHORS else ("team-a", "team-b"):
        before = yaml.load(path.read_bytes(), yaml.BaseLoader)
        await store.delete(key_id)
        after = yaml.load(path.read_bytes(), yaml.BaseLoader)
        assert after == before | {"keys": [entry for entry in before["keys"] if entry["id"] != key_id]}
    assert path.read_bytes().startswith(b"\xef\xbb\xbf") == text.startswith("\ufeff")
    await store.add(make_key("team-z", "sk-z"))
    assert [key.id for key in await store.list()] == ["team-z"]


async def test_an_entry_that_others_refer_to_is_not_deleted(path):
    path.write_text(
        text := "keys:\n  - {id: a, secret: sk-a, tags: &own {x: y}}\n  - {id: b, secret: sk-b, tags: *own}\n"
    )
    with pytest.raises(KeyFileError, match="anchors and aliases"):
        await FileStore(path).delete("a")
    assert path.read_text() == text


async def test_a_change_in_a_mapping_keeps_the_rest_of_it_as_it_was_written(path):
    path.write_text(
        "keys:\n  - id: a\n    secret: sk-a\n    team: 'x'  # of old\n    limits:\n"
        "      tokens_per_day: 9  # agreed\n      requests_per_minute: 5\n    ticket: OPS-7\n"
    )
    limits = Limits(tokens_per_day=9, requests_per_minute=50)
    await FileStore(path).update("a", lambda key: replace(key, principal=Principal("a", limits=limits)))
    assert path.read_text() == (
        "keys:\n  - id: a\n    secret: sk-a\n    limits:\n"
        "      tokens_per_day: 9  # agreed\n      requests_per_minute: 50\n    ticket: OPS-7\n"
    )


def _is_of(line, subject):
    """Whether a line may go when a word of a key changes, its secret moves, or it stands on one line."""
    words = ("secret:", "secrets: ~", "hash:", "hint:", "team:", "expires:", "requests_per_minute:", "models:")
    return any(part in line for part in (subject, *words))


async def test_a_rotated_entry_keeps_its_order_quotes_blank_lines_and_the_comment_of_its_secret(path):
    path.write_text(BY_HAND)
    await rotate(FileStore(path, environ={"A_KEY": A}))
    gone, came = changed_lines(BY_HAND, path.read_text())
    assert gone == ["    secret: ${A_KEY}  # from the vault"]
    assert came == [
        "    secrets:",
        "      - secret: ${A_KEY} # from the vault",
        "        not_after: '2026-06-01T13:00:00Z'",
        f"      - hash: sha256:{sha256(NEW).hex()}",
        "        hint: sk-…6789",
        "        created_at: '2026-06-01T12:00:00Z'",
    ]


async def test_each_comment_stays_with_what_it_is_about_when_a_secret_moves(path):
    path.write_text("""\
keys:
- id: a
  # above all
  created_at: 2026-01-01 # made
  secret: sk-abcdefgh # vault
  # one

  # two
  hint: x # shown
  # three
  owner: ~
  limits: {requests_per_minute: 5}
""")
    await FileStore(path).revoke("a", NOW)
    assert (
        path.read_text()
        == """\
keys:
- id: a
  # above all
  created_at: 2026-01-01 # made
  # one

  # two
  # three
  owner: ~
  limits: {requests_per_minute: 5}
  secrets:
  - secret: sk-abcdefgh # vault
    hint: x # shown
    created_at: 2026-01-01
    not_after: '2026-06-01T12:00:00Z'
"""
    )


async def test_a_new_key_stands_behind_the_last_and_before_the_closing_comment(path):
    path.write_text(INDENTLESS)
    await add(FileStore(path, environ={"A_KEY": A}))
    text = path.read_text()
    assert text.startswith(INDENTLESS.removesuffix("# bottom") + "- id: team-c\n")
    assert text.endswith("\n# bottom")


@pytest.mark.parametrize(
    "text", ["# none yet\nkeys: []\n# end\n", "keys: []  # none yet\n", "{keys: []}", "keys: &k []"]
)
async def test_the_first_key_of_a_list_keeps_the_comments_around_it(path, text):
    path.write_text(text)
    await add(store := FileStore(path))
    assert [key.id for key in await store.list()] == ["team-c"]
    assert comments(path.read_text()) == comments(text)


async def test_an_entry_whose_change_would_change_others_is_left_alone_and_named(path):
    path.write_text(text := f"one: &a {{id: team-a, hash: '{HASH}'}}\nkeys:\n- *a\n")
    with pytest.raises(KeyFileError, match=r"keys\[0\]: cannot be changed without changing more than it"):
        await disable(FileStore(path))
    assert path.read_text() == text


@pytest.mark.parametrize("word", [":0", ":a", "? a", "- a", "-", "?", ":", "a\u2028b", "a\ufeff"])
@pytest.mark.parametrize("name", sorted(FILES))
async def test_an_id_that_yaml_would_read_as_another_is_quoted(tmp_path, name, word):
    path = tmp_path / "keys.yaml"
    path.write_bytes(FILES[name].encode())
    store = FileStore(path, environ={"A_KEY": A})
    key = Key(Principal(word, team=word, tags={word: word}, models=(word,)), (SECRET,), NOW)
    await store.add(key)
    assert key in await store.list()


async def test_json_stays_json(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(f'{{"note": "ours", "keys": [{{"id": "team-a", "hash": "{HASH}", "ticket": "OPS-7"}}]}}')
    await rotate(store := FileStore(path))
    await add(store)
    assert [len(key.secrets) for key in await store.list()] == [2, 1]
    data = yaml.safe_load(path.read_text())
    assert (data["note"], data["keys"][0]["ticket"]) == ("ours", "OPS-7")


CHANGE = """
import asyncio, sys
sys.modules["ruamel"] = sys.modules["ruamel.yaml"] = None
from crplugins.keys.file import FileStore
store = FileStore(sys.argv[1])
print([key.id for key in asyncio.run(store.list())])
asyncio.run(store.set_disabled("team-b", disabled=True))
"""


def test_what_changes_a_file_names_the_extra_it_needs_and_reading_one_needs_none(path):
    path.write_text(text := f"keys: [{{id: team-b, hash: '{HASH}'}}]\n")
    ran = subprocess.run([*PYTHON.command, "-c", CHANGE, str(path)], capture_output=True, text=True)
    assert ran.stdout == "['team-b']\n"
    assert "ImportError: changing a keys file needs: pip install 'crplugins[gateway]'" in ran.stderr
    assert path.read_text() == text


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Co")), min_size=1, max_size=12) | st.sampled_from(
    [
        "yes",
        "on",
        "null",
        "~",
        "1_000",
        "0x10",
        "12:30:00",
        "1e3",
        "2027-01-01",
        "a: b",
        "- a",
        "#a",
        "a #b",
        "*a",
        "&a",
    ]
)
texts = words.filter(str.strip)
new_keys = st.builds(
    lambda key_id, team, tags, models: Key(
        Principal(key_id, team=team, tags=tags, models=models), (Digester().stored(key_id, NOW),), NOW
    ),
    texts.filter(lambda text: text not in ("team-a", "team-b")),
    st.none() | texts,
    st.dictionaries(texts, words, max_size=2),
    st.none() | st.lists(texts, max_size=2).map(tuple),
)
moments = st.datetimes(datetime(2026, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=times(20, 2000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(sorted(FILES)), st.data())
async def test_what_is_read_back_is_what_was_meant(tmp_path, name, data):
    path = tmp_path / "keys.yaml"
    path.write_bytes(FILES[name].encode())
    store = FileStore(path, environ={"A_KEY": A})
    meant = {key.id: key for key in await store.list()}
    for number in range(data.draw(st.integers(1, 3))):
        key_id, now = data.draw(st.sampled_from(sorted(meant))), data.draw(moments)
        match data.draw(st.sampled_from(["add", "rotate", "revoke", "disable"])):
            case "add":
                key = data.draw(new_keys)
                if key.id in meant:
                    continue
                await store.add(key)
                meant[key.id] = key
            case "rotate":
                secret, overlap = Digester().stored(f"sk-rotated-{number}", now), timedelta(hours=number)
                meant[key_id] = rotated(meant[key_id], secret, overlap, now)
                assert await store.rotate(key_id, secret, overlap, now) == meant[key_id]
            case "revoke":
                meant[key_id] = revoked(meant[key_id], now)
                await store.revoke(key_id, now)
            case "disable":
                meant[key_id] = with_disabled(meant[key_id], disabled=not meant[key_id].disabled)
                await store.set_disabled(key_id, disabled=meant[key_id].disabled)
        assert {key.id: key for key in await store.list()} == meant
