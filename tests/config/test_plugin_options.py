"""Options of one's own plugins: each wrong one is told by its key and line."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import pytest

from crplugins.config import ConfigError, arrange_plugins, parse_config
from crplugins.config.plugin_options import OptionsRefused, make_plugin
from crplugins.core.plugin import Plugin

if TYPE_CHECKING:
    from decimal import Decimal

MODULE = """
from collections.abc import Mapping
from crplugins import Plugin


class Clamp(Plugin):
    def __init__(self, *, ceilings: Mapping[str, int], above: int = 10, mark: str | None = None):
        if above < 1:
            raise ValueError("above must be at least 1")
        if mark:
            raise ValueError(f"{mark} will not do")
"""


class Unreadable(Plugin):
    def __init__(self, number: "int" = 0, price: "Decimal | None" = None):
        self.number = number


class Options(Plugin):
    def __init__(
        self,
        number: int = 0,
        share: float = 0.0,
        on: bool = False,
        text: str | None = None,
        words: tuple[str, ...] = (),
        table: Mapping[str, Sequence[int]] = {},
        mode: Literal["low", "high"] = "low",
        anything: Any = None,
        iterable: Iterable[int] = (),
        either: int | str | None = None,
        clock: Callable[[], float] | None = None,
    ):
        self.given = {name: value for name, value in locals().items() if name != "self"}


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "clamp_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture
def lines(load):
    """The lines of the ConfigError that options end in."""

    def refused(text, environ=MappingProxyType({})):
        config = load(text, environ)
        with pytest.raises(ConfigError) as caught:
            arrange_plugins(config, [])
        return [line.removeprefix("gateway.yaml, ") for line in str(caught.value).splitlines()]

    return refused


def refused(kind, **options):
    with pytest.raises(OptionsRefused) as caught:
        make_plugin(kind, options)
    return str(caught.value)


def test_every_wrong_option_is_told_at_once_with_its_line(lines):
    assert lines("""plugins:
  - use: clamp_of_test.Clamp
    abov: 3
    colour: blue
    ceilings:
      gold: 5
      silver: many
    above: true
  - use: clamp_of_test.Clamp
""") == [
        "line 3: plugins[0].abov: unknown option, did you mean 'above'?",
        "line 4: plugins[0].colour: unknown option, Clamp has ceilings, above, mark",
        "line 7: plugins[0].ceilings.silver: must be a whole number, not text",
        "line 8: plugins[0].above: must be a number, not true or false",
        "line 9: plugins[1].ceilings: is missing",
    ]


def test_what_a_constructor_says_of_an_option_stands_at_its_line(lines):
    assert lines("plugins:\n  - use: clamp_of_test.Clamp\n    ceilings: {}\n    above: 0\n") == [
        "line 4: plugins[0].above: Clamp does not take it (ValueError: above must be at least 1)"
    ]


def test_a_value_is_never_told(lines):
    text = "plugins:\n  - {use: clamp_of_test.Clamp, ceilings: {a: 1}, mark: '${MARK}'}\n"
    assert lines(text, {"MARK": "sk-topsecret"}) == [
        "line 2: plugins[0]: Clamp does not take its options (ValueError: ... will not do)"
    ]

    class Nested(Plugin):
        def __init__(self, hooks):
            raise ValueError(f"cannot reach {hooks}")

    assert "topsecret" not in refused(Nested, hooks=[{"token": "sk-topsecret"}])


def test_numbers_may_come_as_text_as_from_the_environment():
    given = {"number": "5", "share": 1, "on": "true", "words": ["a", "b"], "table": {"a": ["1"]}}
    found = make_plugin(Options, given).given
    assert {name: found[name] for name in given} == {
        "number": 5,
        "share": 1.0,
        "on": True,
        "words": ("a", "b"),
        "table": {"a": [1]},
    }
    assert isinstance(found["share"], float)


def test_what_fits_is_passed_as_the_same_object():
    given = {"words": ("a",), "table": {"a": [1]}, "anything": [1], "iterable": [1], "either": "5", "text": None}
    plugin = make_plugin(Options, given)
    assert all(plugin.given[name] is value for name, value in given.items())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"number": 1.5}, "number: must be a whole number"),
        ({"number": "many"}, "number: must be a whole number, not text"),
        ({"share": "half"}, "share: must be a number, not text"),
        ({"on": "perhaps"}, "on: must be true or false, not text"),
        ({"text": 7}, "text: must be text, not a number"),
        ({"words": "abc"}, "words: must be a list, not text"),
        ({"words": ["a", 1]}, "words[1]: must be text, not a number"),
        ({"table": {"a": [1, None]}}, "table.a[1]: must be a whole number, not empty"),
        ({"mode": "hihg"}, "mode: must be one of low, high, did you mean 'high'?"),
        ({"clok": 1}, "clok: unknown option, did you mean 'clock'?"),
    ],
)
def test_values_are_checked_as_far_as_yaml_can_hold_them(options, text):
    assert refused(Options, **options) == text


def test_annotations_that_only_a_type_checker_can_read_are_left_to_the_constructor():
    assert make_plugin(Unreadable, {"number": "5"}).number == "5"
    assert refused(Unreadable, prices=1) == "prices: unknown option, did you mean 'price'?"


def test_a_dataclass_is_a_plugin_like_any_other():
    @dataclasses.dataclass
    class Cap(Plugin):
        ceiling: int
        names: list[str] = dataclasses.field(default_factory=list)

    assert make_plugin(Cap, {"ceiling": "5"}) == Cap(5)
    assert refused(Cap, names=["a"]) == "ceiling: is missing"


def test_keywords_of_any_name_are_the_constructors_to_judge():
    class Any_(Plugin):
        def __init__(self, **options: int):
            self.options = options

    assert make_plugin(Any_, {"a": "1"}).options == {"a": "1"}


def test_in_python_options_are_told_without_lines():
    with pytest.raises(ConfigError) as caught:
        arrange_plugins(parse_config({"plugins": [{"use": Options, "number": "x"}]}), [])
    assert str(caught.value) == "plugins[0].number: must be a whole number, not text"
