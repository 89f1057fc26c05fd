"""Plugins of installed packages: named by the word their package declares, refused with the package's name."""

from pathlib import Path

import pytest

from crplugins.config import ConfigError, arrange_plugins, parse_config
from crplugins.config.plugin_entry import PluginUnavailable, installed_plugin
from crplugins.core.plugin import Plugin

MODULE = """
from crplugins import Plugin


class RedactEmails(Plugin):
    def __init__(self, mark="[e-mail]"):
        self.mark = mark


class Other(Plugin):
    pass


helpful = 1
"""


class Auth(Plugin):
    pass


class Metrics(Plugin):
    pass


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`install("redact-emails", "1.2", "redact-emails = module:Class")`: what pip leaves of a package."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "installed_of_test.py").write_text(MODULE)
    (site / "broken_of_test.py").write_text("raise ValueError('not\\n  today')\n")
    (site / "needy_of_test.py").write_text("import no_such_dependency\n")
    (site / "exiting_of_test.py").write_text("raise SystemExit('no licence')\n")
    monkeypatch.syspath_prepend(site)

    def install_package(name: str, version: str, *declared: str) -> None:
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "entry_points.txt").write_text("\n".join(["[crplugins.plugins]", *declared, ""]))

    return install_package


@pytest.fixture
def redactor(install):
    install("redactor", "1.2", "redact-emails = installed_of_test:RedactEmails", "other = installed_of_test:Other")


def arranged(*entries):
    return arrange_plugins(parse_config({"plugins": list(entries)}), [Auth(), Metrics()])


def names(*entries):
    return [plugin.name for plugin in arranged(*entries)]


def refusal(*entries):
    with pytest.raises(ConfigError) as caught:
        arranged(*entries)
    return str(caught.value)


def test_a_plain_word_is_the_name_a_package_declares(redactor):
    assert names("redact-emails") == ["Auth", "Metrics", "RedactEmails"]


def test_it_takes_options_and_a_place_as_any_other(redactor):
    first, _, _ = arranged({"use": "redact-emails", "before": "Auth", "mark": "***"})
    assert first.mark == "***"


def test_others_may_stand_next_to_it_by_its_name_or_by_that_of_its_class(redactor):
    path = "installed_of_test.Other"
    assert names("redact-emails", {"use": path, "before": "redact-emails"})[2:] == ["Other", "RedactEmails"]
    assert names("redact-emails", {"use": "other", "before": "RedactEmails"})[2:] == ["Other", "RedactEmails"]


def test_two_spellings_of_one_neighbour_keep_the_order_of_the_list(redactor):
    mine = type("Mine", (Plugin,), {})
    found = names("redact-emails", {"use": mine, "after": "redact-emails"}, {"use": "other", "after": "RedactEmails"})
    assert found[2:] == ["RedactEmails", "Mine", "Other"]


def test_a_word_with_a_dot_or_a_colon_always_is_a_path(install):
    install("dotted", "1", "installed_of_test.Other = installed_of_test:RedactEmails")
    assert names("installed_of_test.Other", "installed_of_test:Other")[2:] == ["Other", "Other"]


def test_only_the_plugin_that_is_named_is_imported(install):
    install("broken", "1", "broken = broken_of_test:Plugin")
    install("good", "1", "good = installed_of_test:Other")
    assert names("good")[2:] == ["Other"]


def test_an_unknown_word_is_told_with_its_line_and_the_nearest_known_one(redactor, refuse):
    assert refuse("plugins:\n  - redact-emails\n  - redact_email\n") == [
        "line 3: plugins[1].use: no installed package has a plugin 'redact_email', did you mean 'redact-emails'?"
    ]
    assert refuse("plugins:\n  - mark: x\n    use: nothing-like-it\n") == [
        "line 3: plugins[0].use: no installed package has a plugin 'nothing-like-it'; a class is named by its dotted "
        "path, such as my_company.filters.RedactEmails"
    ]


def test_a_name_of_two_packages_names_both(redactor, install):
    install("a-rival", "3.0", "redact-emails = rival.emails:Redact")
    assert refusal("redact-emails") == (
        "plugins[0].use: a-rival 3.0 and redactor 1.2 each have a plugin 'redact-emails'; name one by its dotted path, "
        "such as installed_of_test.RedactEmails"
    )


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("broken_of_test:X", "the plugin 'bad' of bad-plugin 0.1 cannot be imported (ValueError: not today)"),
        ("exiting_of_test:X", "the plugin 'bad' of bad-plugin 0.1 cannot be imported (SystemExit: no licence)"),
        (
            "needy_of_test:X",
            "the plugin 'bad' of bad-plugin 0.1 cannot be imported "
            "(ModuleNotFoundError: No module named 'no_such_dependency')",
        ),
        (
            "installed_of_test:Gone",
            "the plugin 'bad' of bad-plugin 0.1 cannot be imported "
            "(AttributeError: module 'installed_of_test' has no attribute 'Gone')",
        ),
        ("installed_of_test:helpful", "must lead to a class that extends crplugins.Plugin"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_told_with_its_package_and_the_reason(install, target, text):
    install("bad-plugin", "0.1", f"bad = {target}")
    assert refusal("bad") == f"plugins[0].use: {text}"


def test_what_looks_like_a_secret_is_not_shown_as_the_name_of_a_plugin() -> None:
    with pytest.raises(PluginUnavailable) as refused:
        installed_plugin("sk-0123456789abcdef")
    assert "0123" not in str(refused.value)
    assert "no installed package has a plugin of this name" in str(refused.value)
