"""Valid inputs made odd: bytes flipped, cut and repeated, JSON values of other kinds, names in other spellings."""

import copy
import json
import random
from collections.abc import Sequence
from typing import Any, Final

ODD_BYTES: Final = (
    b"\x00", b"\r", b"\n", b"\r\n", b"\n\n", b"\x1b[2J", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8", b'"', b"\\",
    b"\\ud83d", b"{", b"}", b"[", b"]", b":", b",", b"%0a", b"%2f", b"..", b"//", b";", b"?", b"#", b"NaN", b"1e999", b"-0",
    b"null", b"data: ", b"data: [DONE]\n\n", b"event: ", b": \n\n", b"9" * 400, b" " * 300, b"x" * 5000, b"(" * 200,
)  # fmt: skip

ODD_VALUES: Final[Sequence[Any]] = (
    None, True, False, 0, -1, 1, 1.5, 10**18, 10**40, 2**63, 1e308, "", " ", "\x00", "\u2028", "\ud800", "null", "0",
    "x" * 3000, "\uff2d\uff2f\uff24\uff25\uff2c", [], {}, [[]], [None], {"": None}, {"a": {"a": {"a": {}}}}, ["x"] * 300, "../..", "http://localhost/",
)  # fmt: skip


def mutated(dice: random.Random, data: bytes, most: int = 4) -> bytes:
    """`data` with up to `most` changes, each of few bytes."""
    for _ in range(dice.randint(1, most)):
        at = dice.randrange(len(data) + 1)
        end = min(at + dice.choice((0, 0, 1, 2, 8, 64)), len(data))
        kind = dice.randrange(5)
        if kind == 0:
            data = data[:at] + data[end:]
        elif kind == 1:
            data = data[:at] + dice.choice(ODD_BYTES) + data[end:]
        elif kind == 2:
            data = data[:at] + dice.randbytes(dice.randint(1, 4)) + data[end:]
        elif kind == 3:
            data = data[:end] + data[at:]
        else:
            data = data[:at] if dice.random() < 0.3 else data[:at] + data[at:end].swapcase() + data[end:]
    return data


def odd_document(dice: random.Random, document: Any) -> bytes:
    """A JSON document with some values and names replaced; now and then its bytes are changed too."""
    changed = json.loads(json.dumps(document))
    for _ in range(dice.randint(1, 3)):
        changed = _with_odd_value(dice, changed)
    data = json.dumps(changed, ensure_ascii=dice.random() < 0.5).encode("utf-8", "surrogatepass")
    return mutated(dice, data, 2) if dice.random() < 0.2 else data


def _with_odd_value(dice: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and dice.random() < 0.9:
        name = dice.choice(list(value))
        if dice.random() < 0.1:
            value[dice.choice((name.upper(), f" {name}", name + "\u200b"))] = value.pop(name)
        elif dice.random() < 0.1:
            del value[name]
        else:
            value[name] = _with_odd_value(dice, value[name])
        return value
    if isinstance(value, list) and value and dice.random() < 0.7:
        value[dice.randrange(len(value))] = _with_odd_value(dice, dice.choice(value))
        return value
    return copy.deepcopy(dice.choice(ODD_VALUES))  # later changes are made in it: the next seed must find it as it is
