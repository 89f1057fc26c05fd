"""The pages of the repository, and what stands in them: fenced blocks, headings, links."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conftest import CHECKOUT

_HIDDEN = {".git", ".pytest_cache", ".mypy_cache", "node_modules", ".venv", "venv"}
_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^(#+) +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
_FILE = re.compile(r"# ([\w.-]+\.(?:yaml|py|toml))(?:$|[\s:])")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: where it stands, relative to the checkout.
        line: of its fence.
        section: the heading of level 2 above it; empty in the introduction of the page.
    """

    page: str
    line: int
    section: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The name in its first line, `# gateway.yaml`: what a reader saves it as."""
        named = _FILE.match(self.text)
        return named[1] if named else None


@cache
def pages() -> tuple[str, ...]:
    found = (path.relative_to(CHECKOUT) for path in CHECKOUT.rglob("*.md"))
    return tuple(sorted(str(path) for path in found if not _HIDDEN & set(path.parts)))


@cache
def text_of(page: str) -> str:
    return (CHECKOUT / page).read_text(encoding="utf-8")


@cache
def blocks(page: str) -> tuple[Block, ...]:
    return tuple(_blocks(page))


def _blocks(page: str) -> Iterator[Block]:
    text = text_of(page)
    fences = list(_FENCE.finditer(text))
    inside = [(fence.start(), fence.end()) for fence in fences]
    headings = [
        heading
        for heading in _HEADING.finditer(text)
        if len(heading[1]) == 2 and not any(start < heading.start() < end for start, end in inside)
    ]
    for fence in fences:
        above = [heading[2] for heading in headings if heading.start() < fence.start()]
        line = text.count("\n", 0, fence.start()) + 1
        yield Block(page, line, above[-1] if above else "", fence[1], fence[2])


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text_of(page))


def inline_code(page: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", prose(page))


def links(page: str) -> list[str]:
    """Targets of links and pictures, without those in code."""
    plain = re.sub(r"`[^`\n]*`", lambda code: "`" + "x" * (len(code[0]) - 2) + "`", prose(page))
    return [target for match in _LINK.finditer(plain) for target in match.groups() if target]


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of headings: of several alike, all but the first have a number."""
    found: set[str] = set()
    for match in _HEADING.finditer(prose(page)):
        slug = _slug(match[2])
        count = sum(1 for known in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", known))
        found.add(f"{slug}-{count}" if count else slug)
    return found


def _slug(heading: str) -> str:
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    return "".join(c for c in plain.lower().replace(" ", "-") if c.isalnum() or c in "-_")


def commands(block: Block) -> list[list[str]]:
    """The commands of a block of shell, as words; assignments before a command stand in front of it."""
    whole = block.text.replace("\\\n", " ")
    found: list[list[str]] = []
    for line in whole.splitlines():
        words: list[str] = []
        for word in shlex.split(line, comments=True):
            if word in ("&&", ";"):
                found.append(words)
                words = []
            else:
                words.append(word)
        found.append(words)
    return [words for words in found if words]


def installs(block: Block) -> list[str]:
    """What a block of shell tells to install: `crplugins[gateway]`, `fastapi`; a checkout is crplugins too."""
    if block.language != "sh":
        return []
    told = [words[2:] for words in commands(block) if words[:2] == ["pip", "install"]]
    return [re.sub(r"^\.(?=$|\[)", "crplugins", word) for words in told for word in words if not word.startswith("-")]


def environment(block: Block) -> tuple[str, ...]:
    """What a reader has installed who comes to a block: what its section says above it, else the page's introduction,
    else crplugins alone."""
    for section in (block.section, ""):
        told = [
            word
            for other in blocks(block.page)
            if other.section == section and other.line <= block.line
            for word in installs(other)
        ]
        if told:
            return tuple(dict.fromkeys(told))
    return ("crplugins",)


def everything_told(page: str) -> tuple[str, ...]:
    """What a page tells to install, all in all; a page that tells nothing is about the gateway."""
    told = [word for block in blocks(page) for word in installs(block)]
    return tuple(dict.fromkeys(told)) or ("crplugins[gateway]",)


def written(page: str, folder: Path, *, above: int | None = None) -> None:
    """Save the blocks that name their file, those above a line only if it is given."""
    for block in blocks(page):
        if block.file is not None and (above is None or block.line < above):
            (folder / block.file).write_text(block.text, encoding="utf-8")
