"""LiteLLM's own example files and those of its users: every key is accounted for, and what is written for them says the same."""

from pathlib import Path
from typing import Any, get_args

import pytest

from crplugins.cli.litellm_report import LitellmFile
from crplugins.config import Config, ConfigError
from crplugins.config.litellm.keys.group import KeyFateKind
from crplugins.config.litellm.migration import migrated
from crplugins.config.litellm.report import totals
from crplugins.settings.document import read_document
from tests.config.litellm.examples import EXAMPLES, NOT_SERVED, USERS


@pytest.fixture(params=[*EXAMPLES, *USERS], ids=lambda each: getattr(each, "name", each))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if isinstance(request.param, Path):
        return request.param
    path = tmp_path / "config.yaml"
    path.write_text(USERS[request.param], encoding="utf-8")
    return path


def _keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(map(_keys, value.values()))
    return sum(map(_keys, value)) if isinstance(value, list) else 0


def _said(config: Config) -> list[Any]:
    """What sets up the deployments."""
    return [
        config.model_dump(),
        [(each.name, each.model, each.api_base, dict(each.parameters)) for each in config.deployments()],
    ]


def test_every_key_has_a_line_and_a_fate_and_what_is_migrated_says_the_same(file: Path, litellm_module: Any) -> None:
    assert litellm_module is not None
    text = file.read_text(encoding="utf-8")
    read = LitellmFile.read(file, {})
    assert len(read.rows) == _keys(read_document(text, "config.yaml").data)
    assert sum(totals(read.rows).values()) == len(read.rows)
    assert all(row.line and row.fate.kind in get_args(KeyFateKind) and row.fate.say for row in read.rows)
    if file.name in NOT_SERVED:
        with pytest.raises(ConfigError) as caught:
            read.outcome.config()
        assert NOT_SERVED[file.name] in str(caught.value)
        return
    ours = migrated(text, "config.yaml", read.outcome.reading, read.rows)
    assert _said(read.parsed(ours)) == _said(read.outcome.config())
    assert "os.environ/" not in "".join(line for line in ours.splitlines() if not line.lstrip().startswith("#"))
    lost = {row.shown for row in read.rows if row.fate.is_lost and not row.fate.say.startswith("as ")}
    comments = "".join(line for line in ours.splitlines() if line.startswith("#"))
    assert all(shown in comments for shown in lost if not shown.startswith("model_list"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 25
