"""The JSON schema of the configuration file, for editors, written from the models that check it.

    python -m crplugins.config.json_schema             # writes gateway.schema.json beside this module anew
    python -m crplugins.config.json_schema --check     # exit code 1 if the file is not what would be written

An editor completes and explains a file that begins with `# yaml-language-server: $schema=gateway.schema.json`. The
schema knows forms and bounds; what only makes sense together (an alias and its model) is for `crplugins check`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from crplugins.config.litellm.settings import SECTIONS
from crplugins.config.litellm.table import key_table
from crplugins.config.reference import key_of, meanings
from crplugins.config.schema import Config
from crplugins.keys.entry import KeyEntry
from crplugins.keys.sections import FileSource, JwtSource, ListSource, SqlSource
from crplugins.settings.json_schema import definitions_of
from crplugins.settings.section import Section

FILE: Final = Path(__file__).with_name("gateway.schema.json")

_DIALECT: Final = "http://json-schema.org/draft-07/schema#"
"""What yaml-language-server knows best."""

_BOUNDS: Final = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
"""Pydantic's own words, which it leaves where another validator runs before a bound."""

_REFERENCE: Final = {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}|^os\.environ/[A-Za-z_][A-Za-z0-9_]*$"}
"""A variable of the environment, which may stand for any value."""

_NUMERAL: Final = {"type": "string", "pattern": r"^[+-]?[0-9.]+([eE][+-]?[0-9]+)?$"}
"""A number as YAML 1.1 does not know it: `10e-6`."""

_NARROW: Final = frozenset({"enum", "const", "format", "maxLength", "minLength", "pattern"})
"""What of a text the name of a variable need not fit."""

_TEXTS: Final = {"type": "array", "items": {"type": "string"}}
_TEXT_OR_TEXTS: Final = {"anyOf": [{"type": "string"}, _TEXTS]}
_TABLE: Final = {"type": "object", "additionalProperties": _TEXT_OR_TEXTS}
_FALLBACK_LIST: Final = {"type": "array", "items": {"anyOf": [{"type": "string"}, _TABLE]}}
_FALLBACKS: Final = {"anyOf": [_TABLE, _FALLBACK_LIST]}

_SHORTER: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    ("Config", "fallbacks"): _FALLBACKS,
    ("Config", "context_window_fallbacks"): _FALLBACKS,
    ("Config", "content_policy_fallbacks"): _FALLBACKS,
    ("Config", "default_fallbacks"): {"type": "string"},
    ("Config", "page"): {"type": "boolean"},
    ("LitellmParams", "fallbacks"): _FALLBACK_LIST,
    ("MetricsSection", "otlp"): {"type": "boolean"},
    ("ModelEntry", "fallbacks"): _FALLBACK_LIST,
    ("Server", "cors"): _TEXT_OR_TEXTS,
    ("JwtSettings", "audience"): {"type": "string"},
}
"""Forms that are read beside the one that is kept."""

_SOURCES: Final = (FileSource, SqlSource, JwtSource, ListSource)


def schema() -> dict[str, Any]:
    """The whole document."""
    models: list[type[BaseModel]] = [Config, KeyEntry, *_SOURCES, _jwt_settings()]
    definitions = definitions_of(models)
    by_name = {model.__name__: model for model in Section.every()}
    for name, definition in definitions.items():
        _explain(name, definition, by_name.get(name))
    config = definitions.pop("Config")
    config["properties"]["keys"] |= _keys()
    config["properties"]["plugins"]["items"] = {"anyOf": [{"type": "string"}, {"$ref": "#/$defs/PluginEntry"}]}
    definitions["JwtSource"]["properties"]["jwt"] = {"$ref": "#/$defs/JwtSettings"}
    definitions["ListSource"]["properties"]["keys"]["items"] = {"$ref": "#/$defs/KeyEntry"}
    config["properties"] |= {name: _of_litellm(name) for name in sorted(SECTIONS)}
    head = {"$schema": _DIALECT, "title": "gateway.yaml, the configuration of crplugins"}
    return {**head, **config, "$defs": dict(sorted(definitions.items()))}


def _jwt_settings() -> type[BaseModel]:
    from crplugins.keys.jwt.settings import JwtSettings  # needs the extra jwt

    return JwtSettings


def _explain(name: str, definition: dict[str, Any], model: type[Section] | None) -> None:
    """Puts the text below each field into its property, and brings what pydantic says into the dialect."""
    definition.pop("title", None)
    texts = {} if model is None else {key_of(field, info): field for field, info in model.model_fields.items()}
    meaning = {} if model is None else meanings(model)
    if "description" in definition:
        definition["description"] = " ".join(definition["description"].partition("\n\n")[0].split())
    for key, form in definition.get("properties", {}).items():
        form.pop("title", None)
        _translate(form)
        if (other := _SHORTER.get((name, key))) is not None:
            kept = {word: form.pop(word) for word in [*form] if word not in ("default", "examples", "description")}
            form["anyOf"] = [*kept.pop("anyOf", []), *([kept] if kept else []), dict(other)]
        if key in texts:
            form["description"] = " ".join(meaning[texts[key]].split())


def _translate(form: Any) -> None:
    """In place: bounds in the words of JSON schema, and a variable of the environment where a text cannot stand."""
    if isinstance(form, list):
        for item in form:
            _translate(item)
    if not isinstance(form, dict):
        return
    for word, right in _BOUNDS.items():
        if word in form:
            form[right] = form.pop(word)
    for word in ("anyOf", "items", "additionalProperties", "prefixItems"):
        _translate(form.get(word))
    _translate([*form.get("patternProperties", {}).values()])
    if isinstance(form.get("anyOf"), list):
        form["anyOf"] = _flat(form["anyOf"])
    elif others := _others(form):
        beside = {word: form.pop(word) for word in ("default", "examples", "description") if word in form}
        plain = dict(form)
        form.clear()
        form |= {"anyOf": [plain, *others], **beside}


def _others(form: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The texts that may stand for a value of this form."""
    if form.get("type") in ("integer", "number"):
        return [dict(_REFERENCE), dict(_NUMERAL)]
    narrow = form.get("type") == "boolean" or not _NARROW.isdisjoint(form)
    return [dict(_REFERENCE)] if narrow else []


def _flat(forms: list[Any]) -> list[Any]:
    """Alternatives inside alternatives beside those, each once."""
    flat: list[Any] = []
    for form in forms:
        for each in form["anyOf"] if isinstance(form.get("anyOf"), list) and len(form) == 1 else [form]:
            if each not in flat:
                flat.append(each)
    return flat


def _keys() -> dict[str, Any]:
    sources = [{"$ref": f"#/$defs/{source.__name__}"} for source in _SOURCES]
    return {"anyOf": [*sources, {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/KeyEntry"}, *sources]}}]}


def _of_litellm(section: str) -> dict[str, Any]:
    fate = key_table().find("file", section)
    said = f": {fate.say}" if fate is not None else ""
    return {
        "description": f"A section of LiteLLM's file{said}. `crplugins check --litellm FILE` says what becomes of it."
    }


def text() -> str:
    """As the file has it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False, sort_keys=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m crplugins.config.json_schema")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the file is not up to date")
    check = parser.parse_args(arguments).check
    written = text()
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == written:
        return 0
    if check:
        sys.stderr.write(f"{FILE} is not up to date; run: python -m crplugins.config.json_schema\n")
        return 1
    FILE.write_text(written, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
