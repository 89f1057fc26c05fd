"""Writing the dashboards and rules that come with the package into a folder of the user's."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

import crplugins
from crplugins.cli.refused import Refused

FolderArgument = Annotated[Path, typer.Argument(metavar="DIR", help="Is made if it is not there.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that were changed.")]

_PACKAGE: Final = Path(crplugins.__file__).parent


def shipped(path: str) -> str:
    """The text of a file below `grafana/`: inside the installed package, or beside it in a checkout."""
    packaged = _PACKAGE / "grafana" / path
    file = packaged if packaged.exists() else _PACKAGE.parent / "grafana" / path
    return file.read_text(encoding="utf-8")


def export(folder: Path, texts: Mapping[str, str], *, force: bool, as_json: bool) -> None:
    """Writes the files, all or none. Raises `Refused` where one is there that differs, or cannot be written."""
    files = {folder / name: text for name, text in texts.items()}
    try:
        changed = [file for file, text in files.items() if file.exists() and _read(file) != text]
        if changed and not force:
            raise Refused(f"{', '.join(map(str, changed))}: there already, and different. Replace with --force")
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Refused(f"{error.filename or folder}: {error.strerror}") from None
    names = [str(file) for file in files]
    shown = json.dumps({"files": names}, indent=2) if as_json else "\n".join(names)
    sys.stdout.write(f"{shown}\n")


def _read(file: Path) -> str | None:
    """None for what is no text, and so none of ours."""
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None
