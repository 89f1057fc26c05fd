"""A file of LiteLLM's written as one of ours: the same deployments, its comments, and one for each key that is lost."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from crplugins.config.litellm.reading import LitellmReading
from crplugins.config.litellm.report import KeyRow
from crplugins.config.litellm.variables import names_in
from crplugins.core.final_newline import without_final_newline
from crplugins.settings.environment import LITELLM_PREFIX

_WIDTH: Final = 4096
_REFERENCE: Final = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def migrated(text: str, name: str, reading: LitellmReading, rows: Sequence[KeyRow]) -> str:
    """The text of `gateway.yaml` for the file `name`, whose text is `text`.

    Comments and order stay where the file itself holds what is written; what it includes comes without.
    """
    yaml = YAML()
    yaml.width = _WIDTH
    yaml.preserve_quotes = True
    yaml.allow_duplicate_keys = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = yaml.load(text)
    ours = _ours(reading)
    if not isinstance(document, CommentedMap):
        document = CommentedMap()
    removed = [key for key in document if key not in ours]
    kept = _kept_entries(document, reading)
    for key in removed:
        del document[key]
    if kept is not None and "model_list" in ours:
        document["model_list"] = kept
    for key, value in ours.items():
        document[key] = _reconciled(document.get(key), value)
    written = io.StringIO()
    yaml.dump(document, written)
    return "\n".join(_header(name, rows)) + "\n" + written.getvalue()


def _header(name: str, rows: Sequence[KeyRow]) -> list[str]:
    lines = [f"# Written by `crplugins migrate` from {_one_line(name)}."]
    lost = _outermost(rows)
    if lost:
        lines.append("# What of it does not count here, by its lines, and what to write instead:")
        lines += [
            f"#   {row.file + ', ' if row.file else ''}line {row.line}: {row.shown}: {_one_line(row.fate.say)}"
            for row in lost
        ]
    return [*lines, "#"]


def _place(row: KeyRow) -> str:
    return f"{_one_line(row.file)}, line {row.line}" if row.file else f"line {row.line}"


def _outermost(rows: Sequence[KeyRow]) -> list[KeyRow]:
    """The rows that are lost, without those inside another."""
    lost = [row for row in rows if row.fate.is_lost]
    paths = {row.path for row in lost}
    seen: set[Any] = set()
    found = []
    for row in lost:
        entry = row.path[:2] if row.path[0] == "model_list" and "is not served" in row.fate.verb else row.path
        if entry not in seen and not any(row.path[:length] in paths for length in range(1, len(row.path))):
            seen.add(entry)
            found.append(row)
    return found


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _ours(reading: LitellmReading) -> dict[str, Any]:
    """The keys of ours, with references in our notation, and what the file says of variables in their place."""
    return {str(key): _in_our_notation(value, reading) for key, value in reading.data.items()}


def _in_our_notation(value: Any, reading: LitellmReading) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _in_our_notation(item, reading) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_in_our_notation(item, reading) for item in value]
    if not isinstance(value, str):
        return value
    if value.startswith(LITELLM_PREFIX):
        value = f"${{{value.removeprefix(LITELLM_PREFIX)}}}"
    return _REFERENCE.sub(lambda match: _literal(match, reading), value) if names_in(value) else value


def _literal(match: re.Match[str], reading: LitellmReading) -> str:
    """What `environment_variables` says, or the reference. A text that looks like one is escaped."""
    if match[1] not in reading.variables:
        return match[0]
    said = reading.renamed_variable(match[1])
    return said if said is not None else without_final_newline(reading.variables[match[1]]).replace("${", "$${")


def _kept_entries(document: CommentedMap, reading: LitellmReading) -> CommentedSeq | None:
    """The entries of the file itself that are served, with their comments."""
    entries = document.get("model_list")
    if not isinstance(entries, CommentedSeq):
        return None
    served = set(reading.entries)
    for index in range(len(entries) - 1, -1, -1):
        if index not in served:
            del entries[index]
    return entries


def _reconciled(there: Any, value: Any) -> Any:
    """`value`, as the node that is there with its comments where that has the same form."""
    if isinstance(there, CommentedMap) and isinstance(value, Mapping) and not there.merge:
        for key in [key for key in there if str(key) not in value]:
            del there[key]
        for key, item in value.items():
            there[key] = _reconciled(there.get(key), item)
        return there
    if isinstance(there, CommentedSeq) and isinstance(value, list) and len(there) <= len(value):
        for index, item in enumerate(value):
            if index < len(there):
                there[index] = _reconciled(there[index], item)
            else:
                there.append(item)
        return there
    return there if there == value and type(there) is not dict and there is not None else value
