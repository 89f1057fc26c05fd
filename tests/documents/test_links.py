"""Every link leads somewhere, every name that a page uses is one of the code."""

import re
from functools import cache
from typing import Any, get_args

import pytest
from pydantic import BaseModel
from typer.main import get_command

from crplugins.cli.app import COMMANDS, command_line
from crplugins.config import Config
from crplugins.config.reference import key_of, places
from tests.conftest import CHECKOUT
from tests.documents.pages import anchors, blocks, commands, inline_code, links, pages, prose, text_of

OURS = [page for page in pages() if not page.startswith("grafana/")]


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_to_a_file_and_an_anchor_that_are_there(page: str) -> None:
    broken = [target for target in links(page) if not _leads_somewhere(page, target)]
    assert not broken, f"{page} links to {broken}"


def _leads_somewhere(page: str, target: str) -> bool:
    if re.match(r"[a-z]+:", target):
        return True  # elsewhere: not ours to follow
    path, _, anchor = target.partition("#")
    found = (CHECKOUT / page).parent / path if path else CHECKOUT / page
    if not found.exists():
        return False
    return not anchor or anchor in anchors(str(found.resolve().relative_to(CHECKOUT.resolve())))


def test_a_broken_link_and_a_broken_anchor_are_found() -> None:
    assert _leads_somewhere("README.md", "crplugins/plugins/README.md#auth")
    assert not _leads_somewhere("README.md", "crplugins/plugins/README.md#nobody")
    assert not _leads_somewhere("README.md", "crplugins/nowhere.md")


def test_the_readme_is_short_and_has_the_picture_and_the_commands() -> None:
    text = text_of("README.md")
    assert len(text.splitlines()) <= 150
    assert "<picture>" in text
    told = [" ".join(words) for block in blocks("README.md") if block.language == "sh" for words in commands(block)]
    assert told[:2] == ["pip install .[gateway]", "crplugins serve"]
    assert told[-2:] == ["pip install -e .[dev]", "pytest"]


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = {"README.md"}, ["README.md"]
    while waiting:
        page = waiting.pop()
        for target in links(page):
            path = ((CHECKOUT / page).parent / target.partition("#")[0]).resolve()
            if path.suffix == ".md" and path.is_file():
                name = str(path.relative_to(CHECKOUT.resolve()))
                waiting += [name] if name not in reached else []
                reached.add(name)
    assert set(pages()) - reached <= {"grafana/picture/README.md"}


@pytest.mark.parametrize("page", OURS)
def test_every_metric_on_a_page_is_in_the_table(page: str) -> None:
    known = set(re.findall(r"\bcrplugins_\w+", text_of("grafana/METRICS.md")))
    unknown = {name for name in re.findall(r"`(crplugins_\w+)`", prose(page)) if name not in known}
    assert not unknown - {"crplugins_"}


@pytest.mark.parametrize("page", pages())
def test_every_command_on_a_page_is_one(page: str) -> None:
    said = [words for code in inline_code(page) if (words := code.split())[:1] == ["crplugins"]]
    said += [words for block in blocks(page) if block.language == "sh" for words in map(_plain, commands(block))]
    for words in said:
        if words[:1] == ["crplugins"]:
            _check_command(words[1:], page)


def _plain(words: list[str]) -> list[str]:
    """Without the assignments in front."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def _check_command(words: list[str], page: str) -> None:
    command = _every_command()
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("--"):
            options = {option for parameter in command.params for option in parameter.opts}
            assert word in {*options, "--help", "--version"}, f"{page}: {command.name} has no {word}"
        elif hasattr(command, "commands") and not before.startswith("--"):  # else it is the value of an option
            assert word in command.commands, f"{page}: there is no command {' '.join(words)}"
            command = command.commands[word]


@cache
def _every_command() -> Any:
    return get_command(command_line(COMMANDS))


@pytest.mark.parametrize("page", OURS)
def test_every_dotted_key_of_the_configuration_on_a_page_is_one(page: str) -> None:
    sections = {key_of(name, info) for name, info in Config.model_fields.items() if _section(info.annotation)}
    for code in inline_code(page):
        parts = code.partition(":")[0].split(".")
        if len(parts) > 1 and parts[0] in sections and all(part.isidentifier() for part in parts):
            assert _known(parts), f"{page}: there is no key {code}"


def _section(annotation: Any) -> type[BaseModel] | None:
    for each in (annotation, *get_args(annotation)):
        if isinstance(each, type) and issubclass(each, BaseModel):
            return each
    return None


def _known(parts: list[str]) -> bool:
    model: type[BaseModel] | None = Config
    for part in parts:
        if model is None:
            return True
        if part == "NAME":  # any key of a mapping
            continue
        fields = {key_of(name, info): info for name, info in model.model_fields.items()}
        if part not in fields:
            return False
        model = _section(fields[part].annotation)
    return True


def test_the_reference_has_every_section() -> None:
    assert {place.path for place in places()} >= {
        "",
        "model_list[]",
        "limits",
        "budgets",
        "ledger",
        "server",
        "plugins[]",
    }
