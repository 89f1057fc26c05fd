"""KeyReader: what it says is what the whole file says, for the work of what is new in it."""

import gc
import json
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from crplugins.core.without_collector import without_collector
from crplugins.keys.file import KeyFileError
from crplugins.keys.file import reader as module
from crplugins.keys.file.file import KeyFile
from crplugins.keys.file.reader import KeyReader
from crplugins.keys.secrets import Digester, sha256
from tests.long import times

ENVIRON = {"A_KEY": "sk-of-the-environment"}


def entry(number, team="search"):
    return f"- id: key-{number}\n  hash: sha256:{sha256(str(number)).hex()}\n  team: {team}\n  limits: {{requests_per_minute: 60}}\n"


def file_of(path, environ=ENVIRON):
    return KeyFile(path, Digester(), environ)


def outcome(read):
    try:
        return read()
    except KeyFileError as error:
        return str(error)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keys.yaml"
    path.write_text("keys:\n" + "".join(map(entry, range(1_000))))
    return path


@pytest.fixture
def documents(monkeypatch):
    """The texts that are read as YAML."""
    texts, read = [], module.read_document

    def noted(text, *rest):
        texts.append(text)
        return read(text, *rest)

    monkeypatch.setattr(module, "read_document", noted)
    return texts


PIECES = [
    entry(1), entry(2, "&t search"), entry(3, "*t"), entry(1), "- id: b\n  secret: ${A_KEY}\n", "- {id: c, secret: sk-c}\n",
    "- id: d\n  secret: |\n    sk-d\n", '- id: e\n  secret: "sk-e\n- id: f\n  "\n', '- id: e\n  owner: "x\n- id: f"\n  secret: sk-e\n',
    "# said by somebody\n", "  # indented\n", "\n", "   \n", "- id: g\n  secret: sk-g\n  secrets:\n  - secret: sk-h\n",
    "- id: h\n  secrets:\n  - secret: sk-h\n    not_after: 2030-01-01\n  - secret: sk-i\n", "-\n  id: i\n  secret: sk-i2\n",
    "- id: j\u2028- id: k\n  secret: sk-k\n", "- id: l\r\n  secret: sk-l\r\n", "- id: m\n  secret: sk-m\n  disabled: yes\n",
    "-   id: n\n    secret: sk-n\n", "  - id: o\n    secret: sk-o\n", "other: 1\n", "- id: p\n  hash: nope\n", "- id: q\n", "- x\n",
    "- &a {id: r, secret: sk-r}\n", "- <<: *a\n  id: s\n", "...\n", "---\n", "keys: []\n", "- id: t\n  secret: sk-t\n  nots: 'it''s'\n",
    "\t- id: u\n", "- id: v\n  secret: sk-v", "- id: w\n  secret: sk-w\n  tags:\n    env: >\n      a\n\n      b\n",
]  # fmt: skip


@given(st.sampled_from(["keys:\n", "# keys\n\nkeys:\n", "keys: # all\n", "---\nkeys:\n", "\ufeffkeys:\n", "a: 1\nkeys:\n", "keys:\n\n"]),
       st.lists(st.sampled_from(PIECES), max_size=6))  # fmt: skip
@example("keys:\n", [PIECES[1], PIECES[2]])
@example("keys:\n", [PIECES[7]])
@example("keys:\n", [PIECES[8]])
@settings(max_examples=times(30, 3000), deadline=None)
def test_a_file_of_any_form_has_the_keys_that_it_has_as_a_whole(tmp_path_factory, head, pieces):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    text = head + "".join(pieces)
    path.write_bytes(text.encode())
    file = file_of(path)
    whole = outcome(lambda: file.read().keys)
    reader = KeyReader(file)
    for _ in range(2):
        assert outcome(lambda: reader.read()[0]) == whole


def test_an_entry_that_stands_there_as_before_is_the_same_key_and_is_not_read_anew(path, documents):
    reader = KeyReader(file_of(path))
    before, _ = reader.read()
    assert len(before) == 1_000
    assert max(map(len, documents)) < 32 * 200, "in slices: libyaml lets nobody else run meanwhile"
    documents.clear()
    changed = path.read_text().replace(entry(500), "# moved\n" + entry(500, "other")).replace(entry(7), "") + entry(
        1_000
    )
    path.write_text(changed)
    after, _ = reader.read()
    assert [key.id for key in after] == [f"key-{number}" for number in range(1_001) if number != 7]
    assert (after[499].id, after[499].principal.team) == ("key-500", "other")
    assert len({id(key) for key in after} - {id(key) for key in before}) <= 3
    assert sum(map(len, documents)) < 5 * len(entry(0))


def test_json_is_read_entry_by_entry_too(tmp_path):
    path = tmp_path / "keys.json"
    entries = [{"id": f"key-{number}", "hash": f"sha256:{sha256(str(number)).hex()}"} for number in range(100)]
    path.write_text(json.dumps({"keys": entries, "note": 1}))
    reader = KeyReader(file_of(path))
    before, _ = reader.read()
    path.write_text(json.dumps({"keys": [*entries[1:], {"id": "new", "secret": "sk-new"}]}))
    after, _ = reader.read()
    assert [key.id for key in after] == [*(f"key-{number}" for number in range(1, 100)), "new"]
    assert all(old is new for old, new in zip(before[1:], after, strict=False))
    path.write_text('{"keys": [{"id": "a", "secret": NaN}]}')
    assert "keys[0].secret: must be text" in str(outcome(reader.read))


def test_what_the_environment_says_is_asked_for_each_time(tmp_path):
    path, environ = tmp_path / "keys.yaml", dict(ENVIRON)
    path.write_text("keys:\n- id: a\n  secret: ${A_KEY}\n- id: b\n  secret: os.environ/A_KEY2\n")
    environ["A_KEY2"] = "two"
    reader = KeyReader(file_of(path, environ))
    reader.read()
    environ |= {"A_KEY": "another", "A_KEY2": "three"}
    assert [key.secrets[0].digest for key in reader.read()[0]] == [sha256("another"), sha256("three")]


def test_what_was_read_before_is_let_go_of(path):
    reader = KeyReader(file_of(path))
    reader.read()
    path.write_text("keys:\n" + entry(1, "other"))
    reader.read()
    assert len(reader._former) == 1_000
    reader.release()
    assert not reader._former
    assert len(reader._known) == 1


def test_a_key_takes_a_kilobyte_and_not_six(path):
    reader = KeyReader(file_of(path))
    reader.read()  # what is loaded once is not the keys'
    del reader
    gc.collect()
    tracemalloc.start()
    try:
        reader = KeyReader(file_of(path))
        keys, _ = reader.read()
        assert tracemalloc.get_traced_memory()[0] / len(keys) < 1_200
    finally:
        tracemalloc.stop()


def test_objects_that_were_made_without_the_collector_are_not_looked_at_as_soon_as_it_is_back():
    gc.collect()
    with without_collector():
        made = [[] for _ in range(50_000)]
    assert gc.isenabled()
    assert len(gc.get_objects(0)) < len(made) / 10
