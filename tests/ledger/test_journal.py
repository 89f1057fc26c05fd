"""Lines in mapped memory outlive the process, however it ends."""

import json
import os
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crplugins.ledger.journal import Journal, adopt_dead_journals, read_journals, read_remains

FIRST, SECOND = b'{"number":1}', b'{"number":2}'
SMALL = {"segment_bytes": 64, "segments": 3}


@pytest.fixture
def prefix(tmp_path):
    return tmp_path / "spool"


def content(journal):
    return read_remains(journal.path.read_bytes()).lines


def die(journal):
    """What a SIGKILL does: the lock goes, the file stays."""
    journal._map.close()
    os.close(journal._descriptor)


def test_a_line_is_in_the_file_at_once(prefix):
    journal = Journal.create(prefix)
    for line in (FIRST, SECOND):
        journal.append(line)
    assert content(journal) == [FIRST, SECOND]


def test_space_is_free_again_when_all_of_a_segment_is_committed(prefix):
    journal = Journal.create(prefix, **SMALL)
    for _ in range(100):
        places = [journal.append(b'{"n":1234}'), journal.append(b"abcdef")]
        assert None not in places
        for place in places:
            place.release()
    assert (journal.pending, content(journal)) == (0, [])


def test_a_segment_with_one_line_left_does_not_stop_the_others(prefix):
    journal = Journal.create(prefix, **SMALL)
    held = journal.append(b'{"held":1}')
    for number in range(100):
        journal.append(b'{"number":%20d}' % number).release()
    assert b'{"held":1}' in content(journal)
    held.release()
    assert journal.pending == 0


def test_a_full_journal_takes_no_more_and_keeps_what_it_has(prefix):
    journal = Journal.create(prefix, **SMALL)
    places = []
    while (place := journal.append(b'{"n":1234}')) is not None:
        places.append(place)
    assert len(places) == len(content(journal)) == 3 * 4
    assert journal.append(b'{"n":1234}') is None
    for place in places[:4]:
        place.release()
    assert journal.append(b'{"m":5678}') is not None


def test_a_line_larger_than_a_segment_is_refused(prefix):
    assert Journal.create(prefix, **SMALL).append(bytes(64)) is None


class Dying:
    """Memory of a process that is killed before the `last` of its stores."""

    def __init__(self, size, last):
        self.bytes, self.left = bytearray(size), last

    def __setitem__(self, place, value):
        if self.left:
            self.left -= 1
            self.bytes[place] = value


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=12), st.integers(0, 40), st.data())
def test_a_kill_between_any_two_stores_leaves_whole_lines(lines, last, data):
    """Segments over memory that was used before: what stands there must not be taken for lines."""
    from crplugins.ledger import journal as module

    old = data.draw(st.binary(min_size=256, max_size=256))
    memory = Dying(256, last)
    memory.bytes[:] = b"\0\0\0\0" + old[4:]

    def store(_map, offset, number):
        memory[slice(offset, offset + 4)] = struct.pack("<I", number)

    original, module._write_length = module._write_length, store
    try:
        segment = module.Segment(memory, 0, 256, 0)
        kept = [line for line in lines if segment.append(line)]
    finally:
        module._write_length = original
    found, _ = module._lines_from(bytes(memory.bytes), 0, 256)
    assert found == kept[: len(found)]
    assert len(found) == min(last // 3, len(kept))  # three stores each, of which the third makes it count


@given(st.binary(max_size=300), st.integers(0, 5000))
def test_a_file_of_any_content_is_read_without_an_error(tail, cut):
    header = struct.pack("<32sQ", b"crplugins journal 1", 100)
    whole = header + bytes(4096 - len(header)) + tail
    for found in (read_remains(whole), read_remains(whole[:cut]), read_remains(tail)):
        assert all(isinstance(json.loads(line), dict) for line in found.lines)


def test_a_journal_of_a_living_process_is_left_alone(prefix):
    living = Journal.create(prefix)
    living.append(b"mine")
    kept = []
    assert adopt_dead_journals(prefix, kept.extend) == 0
    assert (kept, living.path.exists()) == ([], True)


def test_a_dead_one_is_kept_elsewhere_and_then_deleted(prefix):
    dead, empty, other = Journal.create(prefix), Journal.create(prefix), Journal.create(prefix.with_name("spool2"))
    dead.append(FIRST)
    dead.append(SECOND)
    for journal in (dead, empty, other):
        die(journal)
    kept = []
    assert read_journals(prefix) == [FIRST, SECOND]
    assert adopt_dead_journals(prefix, kept.extend) == 2
    assert kept == [FIRST, SECOND]
    assert (dead.path.exists(), empty.path.exists(), other.path.exists()) == (False, False, True)


DAMAGES = {
    "no header": lambda content: b"\0" * 40 + content[40:],
    "cut off": lambda content: content[:20],
    "empty": lambda content: b"",
    "a line overwritten": lambda content: content.replace(FIRST, b"\xff" * len(FIRST)),
    "a line of zeros": lambda content: content.replace(FIRST, b"\0" * len(FIRST)),
    "a length too large": lambda content: content.replace(struct.pack("<I", len(SECOND)) + SECOND, b"\xff" * 4),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_gives_what_can_be_read_and_is_kept_aside(prefix, caplog, damage):
    dead = Journal.create(prefix)
    dead.append(FIRST)
    dead.append(SECOND)
    die(dead)
    damaged = DAMAGES[damage](dead.path.read_bytes())
    dead.path.write_bytes(damaged)
    kept = []
    adopt_dead_journals(prefix, kept.extend)
    assert kept == {"a line overwritten": [SECOND], "a line of zeros": [SECOND], "a length too large": [FIRST]}.get(
        damage, []
    )
    aside = prefix.with_name(dead.path.name + ".damaged")
    assert (dead.path.exists(), aside.read_bytes()) == (False, damaged)
    assert f"{len(kept)} records are taken from it, and it is kept in {aside}" in caplog.text
    adopt_dead_journals(prefix, pytest.fail)


def test_a_dead_one_stays_until_its_lines_are_kept(prefix):
    dead = Journal.create(prefix)
    dead.append(FIRST)
    die(dead)

    def fail(_lines):
        raise OSError("disk full")

    with pytest.raises(OSError):
        adopt_dead_journals(prefix, fail)
    kept = []
    assert adopt_dead_journals(prefix, kept.extend) == 1
    assert kept == [FIRST]


def test_one_that_is_adopted_twice_at_once_is_not_deleted_in_anothers_place(prefix, monkeypatch):
    dead = Journal.create(prefix)
    dead.append(FIRST)
    die(dead)
    opened = os.open

    def adopted_meanwhile(path, *rest, **more):
        descriptor = opened(path, *rest, **more)
        monkeypatch.setattr(os, "open", opened)
        assert adopt_dead_journals(prefix, lambda _: None) == 1
        return descriptor

    monkeypatch.setattr(os, "open", adopted_meanwhile)
    assert adopt_dead_journals(prefix, pytest.fail) == 0


def test_closing_deletes_it_unless_lines_are_nowhere_else(prefix):
    idle, busy = Journal.create(prefix), Journal.create(prefix)
    busy.append(FIRST)
    idle.close()
    busy.close()
    assert (idle.path.exists(), busy.path.exists()) == (False, True)
    assert read_journals(prefix) == [FIRST]


def test_no_other_user_may_read_it(prefix):
    assert Journal.create(prefix).path.stat().st_mode & 0o077 == 0
