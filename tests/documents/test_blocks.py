"""What pages tell to run does run, with what they told to install and nothing else."""

import json
import re
import subprocess
import sys
import tomllib
from itertools import groupby
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.documents.confined import CRPLUGINS, closure, environment_of, python_command, refused
from tests.documents.pages import Block, blocks, commands, environment, everything_told, installs, pages, written

pytestmark = pytest.mark.slow

PRINTED_KEY = "sk-crp_..."
"""In the place of the key that a start prints: such a block runs with a gateway, in test_readme.py."""

NOT_RUN = {
    "pytest", "ruff", "mypy", "lint-imports", "promtool",  # of a developer
    "litellm", "vllm", "curl",  # servers that take long to start, and what is asked of them: in tests of their own
    "docker", "kubectl", "claude", "npm", "npx", "node", "grim", "chromium", "openssl", "git", "cd", "sh",
}  # fmt: skip

PYTHON = [block for page in pages() for block in blocks(page) if block.language == "python"]
SHELL = [
    block
    for page in pages()
    for block in blocks(page)
    if block.language == "sh" and page != "grafana/picture/README.md"  # needs a browser and ten minutes
]
OTHERS_YAML = ("grafana/", "examples/kubernetes/", "CONTRIBUTING.md")
"""Pages whose YAML is Prometheus's and Kubernetes's."""

YAML_PAGES = [
    page
    for page in pages()
    if not page.startswith(OTHERS_YAML) and any(block.language == "yaml" for block in blocks(page))
]

_RUN_BLOCKS = """
import json, sys
for where, source in json.load(sys.stdin):
    print("running", where, file=sys.stderr)
    exec(compile(source, where, "exec"), {"__name__": "page"})
"""

_LOAD_YAML = """
import asyncio, json, os, sys, yaml
from crplugins.config import load_config
from crplugins.keys.opening import open_source

ANY_MODEL = '\\nmodel_list: [{model_name: "*", litellm_params: {model: "openai/*"}}]'  # a part of a file

async def read_keys():
    async with open_source({"file": "read.yaml"}):
        pass

for where, file, text in json.load(sys.stdin):
    print("loading", where, file=sys.stderr)
    partial = file != "keys.yaml" and "model_list" not in yaml.safe_load(text)
    open("read.yaml", "w").write(text + (ANY_MODEL if partial else ""))
    if file == "keys.yaml":
        asyncio.run(read_keys())
    else:
        load_config("read.yaml")
"""


_MAKE_LEDGER = """
import asyncio
from crplugins.ledger.ledger import Ledger

async def make():
    async with Ledger("sqlite:///usage.db"):
        pass

asyncio.run(make())
"""


def run(
    command: list[str], folder: Path, environ: dict[str, str], given: str = ""
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, cwd=folder, env=environ, input=given, capture_output=True, text=True, timeout=120, check=False
    )


def by_environment(found: list[Block]) -> list[tuple[tuple[str, tuple[str, ...]], list[Block]]]:
    def place(block: Block) -> tuple[str, tuple[str, ...]]:
        return block.page, environment(block)

    return [(key, list(group)) for key, group in groupby(sorted(found, key=place), key=place)]


@pytest.mark.parametrize(
    ("where", "group"),
    by_environment([block for block in PYTHON if PRINTED_KEY not in block.text]),
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_python_runs_with_what_its_page_told_to_install(
    where: tuple[str, tuple[str, ...]], group: list[Block], tmp_path: Path
) -> None:
    sources = json.dumps([[str(block), block.text] for block in group])
    environ = environment_of(where[1], tmp_path)
    done = run([*python_command(environ), "-c", _RUN_BLOCKS], tmp_path, environ, sources)
    assert done.returncode == 0, f"with {where[1]}: {done.stderr}"


@pytest.mark.parametrize("page", YAML_PAGES)
def test_yaml_is_a_configuration_with_what_its_page_told_to_install(page: str, tmp_path: Path) -> None:
    stub_plugins(tmp_path)
    texts = [[str(block), block.file, block.text] for block in blocks(page) if block.language == "yaml"]
    environ = environment_of(everything_told(page), tmp_path)
    done = run([*python_command(environ), "-c", _LOAD_YAML], tmp_path, environ, json.dumps(texts))
    assert done.returncode == 0, f"with {everything_told(page)}: {done.stderr}"


def stub_plugins(folder: Path) -> None:
    """The plugins that pages name as somebody else's."""
    (folder / "my_company").mkdir()
    (folder / "my_company" / "filters.py").write_text("from crplugins import Plugin as RedactEmails\n")
    for package, module, kind in (
        ("plugin_package", "output_ceiling", "OutputCeiling"),
        ("cache_package", "exact_cache", "ExactCache"),
        ("redactor_package", "pii_redactor", "PiiRedactor"),
    ):
        name = module.replace("_", "-")
        information = folder / f"{module}-1.0.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n")
        (information / "entry_points.txt").write_text(f"[crplugins.plugins]\n{name} = {module}:{kind}\n")
        source = CHECKOUT / "examples" / package / module / "__init__.py"
        (folder / f"{module}.py").write_text(source.read_text())


@pytest.mark.parametrize("page", sorted({block.page for block in SHELL}))
def test_the_commands_of_a_page_work_one_after_the_other(page: str, tmp_path: Path) -> None:
    """In a folder with the files that the page has shown by then."""
    if page.startswith("examples/") and "_package/" in page:
        stub_plugins(tmp_path)
        (tmp_path / "gateway.yaml").write_text((CHECKOUT / page).with_name("gateway.yaml").read_text())
    exported: dict[str, str] = {}
    for block in blocks(page):
        if block.language == "sh":
            written(page, tmp_path, above=block.line)
            served = {tuple(words[2:]) for words in commands(block) if words[:2] == ["crplugins", "serve"]}
            for words in commands(block):
                if words[:2] != ["crplugins", "check"] or tuple(words[2:]) not in served:  # serving it checks it
                    _run_words(words, block, tmp_path, exported)


def _run_words(words: list[str], block: Block, folder: Path, exported: dict[str, str]) -> None:
    if words[0] == "export":
        exported.update(word.split("=", 1) for word in words[1:] if "=" in word and "$(" not in word)
        return
    given = dict(exported)
    while words and (assignment := re.fullmatch(r"([A-Z_]+)=(.*)", words[0])):
        given[assignment[1]] = assignment[2]
        words = words[1:]
    if not words or words[0] in NOT_RUN or words[:2] == ["pip", "install"]:
        return
    environ = environment_of(environment(block), folder, given)
    if words[0] == "crplugins":
        _run_crplugins(words[1:], block, folder, environ)
    elif words[0] == "uvicorn":
        _start_uvicorn(words[1:], block, folder, environ)
    elif words[:2] == ["python", "-m"]:
        assert (CHECKOUT / words[2].replace(".", "/")).exists() or (
            CHECKOUT / f"{words[2].replace('.', '/')}.py"
        ).exists(), f"{block}: there is no module {words[2]}"
    else:
        assert (CHECKOUT / words[0]).is_file(), f"{block}: nobody knows {words[0]}"


def _run_crplugins(words: list[str], block: Block, folder: Path, environ: dict[str, str]) -> None:
    if words[0] in ("top", "reconcile", "replay"):  # needs a running gateway, an export or a past: tests/cli
        return
    if words[:2] in (
        ["usage", "partition"],
        ["usage", "copy"],
    ):  # needs PostgreSQL: tests/cli/test_usage_{partition,copy}.py
        return
    if words[0] == "serve":  # does not end; test_readme.py has one running
        words = ["check", *words[1:]]
    if words[0] == "usage":  # a gateway has been running
        made = run([*python_command(environ), "-c", _MAKE_LEDGER], folder, environ)
        assert made.returncode == 0, made.stderr
    done = run([*python_command(environ), *CRPLUGINS, *words], folder, environ)
    allowed = {0, 1} if words[:2] == ["keys", "lint"] else {0}  # 1: something is found
    assert done.returncode in allowed, f"{block}: crplugins {' '.join(words)}: {done.stdout}{done.stderr}"


def _start_uvicorn(words: list[str], block: Block, folder: Path, environ: dict[str, str]) -> None:
    if words[0].startswith("crplugins.homes.litellm_proxy:"):
        return  # takes ten seconds: test_litellm_proxy_page.py
    words = [word for word in words if word != "--port" and not word.isdigit()]
    process = subprocess.Popen(
        [*python_command(environ), "-m", "uvicorn", *words, "--port", "0"],
        cwd=folder,
        env=environ,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if "Uvicorn running on" in line:
                break
        else:
            raise AssertionError(f"{block}: {''.join(said)}")
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_every_extra_that_a_page_names_is_there() -> None:
    known = set(tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    for block in SHELL:
        for told in installs(block):
            name, _, rest = told.partition("[")
            if name == "crplugins":
                extras = set(rest.rstrip("]").split(",")) - {""}
                assert extras <= known, f"{block}: {told}"


def test_what_is_not_told_to_be_installed_cannot_be_imported(tmp_path: Path) -> None:
    for told, there, missing in (
        (("crplugins",), "starlette", "sqlalchemy"),
        (("crplugins", "fastapi"), "fastapi", "litellm"),
        (("crplugins[gateway]",), "litellm", "redis"),
        (("crplugins[sql]", "litellm[proxy]"), "aiosqlite", "typer_is_not_asked_for"),
    ):
        code = f"import importlib.util as u, crplugins; print(u.find_spec('{there}') is None, u.find_spec('{missing}') is None)"
        done = run([sys.executable, "-c", code], tmp_path, environment_of(told, tmp_path))
        assert done.stdout.split() == ["False", "True"], (told, done.stderr)
    assert "aiosqlite" not in closure(["crplugins"])
    assert "aiosqlite" in refused(("crplugins",))
