"""One's own plugins: found by dotted path, made with their options, placed among the built-in ones."""

from pathlib import Path

import pytest

from crplugins.config import ConfigError, arrange_plugins, parse_config
from crplugins.core.plugin import Plugin

MODULE = """
from crplugins.core.plugin import Plugin


class Redact(Plugin):
    def __init__(self, words=(), token=None):
        if token is not None:
            raise ValueError(f"cannot use {token}")
        self.words = words


class Trace(Plugin):
    pass


class NoPlugin:
    pass
"""


class Auth(Plugin):
    pass


class Metrics(Plugin):
    pass


class Mine(Plugin):
    pass


@pytest.fixture(autouse=True)
def filters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_filters_of_test.py").write_text(MODULE)
    (tmp_path / "exiting_filters_of_test.py").write_text("raise SystemExit('no licence')\n")
    (tmp_path / "broken_filters_of_test.py").write_text("raise ValueError('not today')\n")
    monkeypatch.syspath_prepend(tmp_path)


def arranged(*entries):
    return [p.name for p in arrange_plugins(parse_config({"plugins": list(entries)}), [Auth(), Metrics()])]


def refusal(*entries):
    with pytest.raises(ConfigError) as caught:
        arranged(*entries)
    return str(caught.value)


def test_own_plugins_stand_innermost_in_list_order():
    assert arranged("my_filters_of_test.Trace", Mine, "my_filters_of_test.Redact") == [
        "Auth",
        "Metrics",
        "Trace",
        "Mine",
        "Redact",
    ]


def test_a_plugin_stands_before_or_after_the_one_it_names():
    assert arranged({"use": Mine, "before": "Auth"}) == ["Mine", "Auth", "Metrics"]
    assert arranged({"use": Mine, "after": "Auth"}) == ["Auth", "Mine", "Metrics"]


def test_several_at_the_same_place_keep_their_order():
    trace = {"use": "my_filters_of_test.Trace"}
    assert arranged({"use": Mine, "after": "Auth"}, trace | {"after": "Auth"}) == ["Auth", "Mine", "Trace", "Metrics"]
    assert arranged({"use": Mine, "before": "Auth"}, trace | {"before": "Auth"}) == ["Mine", "Trace", "Auth", "Metrics"]


def test_a_plugin_may_stand_next_to_another_of_ones_own():
    assert arranged({"use": Mine, "before": "Trace"}, "my_filters_of_test.Trace") == [
        "Auth",
        "Metrics",
        "Mine",
        "Trace",
    ]


def test_a_neighbour_may_be_placed_by_a_later_entry():
    trace = {"use": "my_filters_of_test.Trace", "after": "Auth"}
    assert arranged({"use": Mine, "before": "Trace"}, trace) == ["Auth", "Mine", "Trace", "Metrics"]


def test_a_neighbour_may_be_called_by_its_path_too():
    path, redact = "my_filters_of_test.Trace", "my_filters_of_test.Redact"
    found = arranged(path, {"use": Mine, "after": path}, {"use": redact, "after": "Trace"})
    assert found == ["Auth", "Metrics", "Trace", "Mine", "Redact"]


def test_two_that_wait_for_each_other_are_refused():
    text = refusal({"use": Mine, "before": "Trace"}, {"use": "my_filters_of_test.Trace", "before": "Mine"})
    assert text.splitlines() == [
        "plugins[0].before: 'Trace' has no place of its own to stand next to",
        "plugins[1].before: 'Mine' has no place of its own to stand next to",
    ]


def test_options_reach_the_constructor():
    config = parse_config({"plugins": [{"use": "my_filters_of_test:Redact", "words": ["a"]}]})
    (plugin,) = arrange_plugins(config, [])
    assert plugin.words == ["a"]  # type: ignore[attr-defined]


def test_in_python_a_class_or_a_ready_plugin_may_stand_for_its_path():
    ready = Mine()
    assert arrange_plugins(parse_config({"plugins": [ready, Mine]}), [])[0] is ready


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ("no_such_module.X", "plugins[0].use: there is no module 'no_such_module'"),
        (
            "my_filters_of_test.Redakt",
            "plugins[0].use: the module 'my_filters_of_test' has no 'Redakt', did you mean 'Redact'?",
        ),
        (
            "my_filters_of_test.NoPlugin",
            "plugins[0].use: must lead to a class that extends crplugins.Plugin",
        ),
        (7, "plugins[0].use: must be a class that extends crplugins.Plugin"),
        (
            "exiting_filters_of_test.X",
            "plugins[0].use: the module 'exiting_filters_of_test' cannot be imported (SystemExit: no licence)",
        ),
        (
            "broken_filters_of_test.X",
            "plugins[0].use: the module 'broken_filters_of_test' cannot be imported (ValueError: not today)",
        ),
        ({"words": []}, "plugins[0].use: is missing"),
        ({"use": Mine, "before": "Auth", "after": "Auth"}, "plugins[0]: before or after, not both"),
        ({"use": Mine, "befor": "Auth"}, "plugins[0].befor: unknown key, did you mean 'before'?"),
        ({"use": Mine, "after": "Aut"}, "plugins[0].after: there is no plugin 'Aut', did you mean 'Auth'?"),
        (
            {"use": "my_filters_of_test.Trace", "colour": 1},
            "plugins[0].colour: unknown option, Trace has none",
        ),
        (
            {"use": "my_filters_of_test.Redact", "token": "sk-topsecret"},
            "plugins[0]: Redact does not take its options (ValueError: cannot use ...)",
        ),
        ({"use": Mine(), "words": 1}, "plugins[0]: options are for a class; this plugin is ready"),
    ],
)
def test_a_plugin_that_cannot_be_is_refused_with_its_reason(entry, text):
    assert refusal(entry) == text


def test_a_wrong_place_is_told_with_its_line(load):
    config = load("plugins:\n  - use: my_filters_of_test.Trace\n    before: Limits\n")
    with pytest.raises(
        ConfigError, match=r"^gateway\.yaml, line 3: plugins\[0\]\.before: there is no plugin 'Limits'$"
    ):
        arrange_plugins(config, [Auth()])
