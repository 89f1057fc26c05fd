"""The JSON schema explains every key, takes what the gateway takes, and says no where a key or its form is wrong."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from crplugins.config import json_schema
from crplugins.settings.document import read_document
from tests.conftest import CHECKOUT
from tests.documents.pages import blocks, pages

OURS = {"model_list", "keys", "limits", "budgets", "ledger", "server", "aliases", "plugins", "metrics", "admin"}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json_schema.FILE.read_text(encoding="utf-8"))
    return document


@pytest.fixture(scope="module")
def judge(schema: dict[str, Any]) -> jsonschema.Draft7Validator:
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def wrong(judge: jsonschema.Draft7Validator, text: str) -> list[str]:
    data = read_document(text, "gateway.yaml").data
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in judge.iter_errors(data)]


def test_the_file_is_up_to_date_and_the_check_of_it_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert json_schema.main(["--check"]) == 0
    monkeypatch.setattr(json_schema, "FILE", tmp_path / "old.json")
    assert json_schema.main(["--check"]) == 1
    assert not (tmp_path / "old.json").exists()
    assert json_schema.main([]) == 0
    assert json_schema.main(["--check"]) == 0


def test_every_key_is_explained(schema: dict[str, Any]) -> None:
    sections = {"gateway.yaml": schema, **schema["$defs"]}
    properties = [
        (section, key, form) for section, each in sections.items() for key, form in each.get("properties", {}).items()
    ]
    assert len(properties) > 200
    assert [(section, key) for section, key, form in properties if not ({"description", "$ref"} & form.keys())] == []


def descriptions(document: Any) -> Iterator[str]:
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from descriptions(value)
    if isinstance(document, dict) and isinstance(told := document.get("description"), str):
        yield told


def test_every_explanation_is_understood_alone(schema: dict[str, Any]) -> None:
    """An editor shows one by itself, without those of the keys before it."""
    found = {*descriptions(schema)}
    assert len(found) > 200
    assert [told for told in found if re.match(r"(The same|Likewise|More of them|Its|It|They)\b", told)] == []


def test_every_example_and_every_block_of_a_page_is_valid(judge: jsonschema.Draft7Validator) -> None:
    texts = {str(file): file.read_text(encoding="utf-8") for file in (CHECKOUT / "examples").rglob("*.yaml")}
    texts |= {str(block): block.text for page in pages() for block in blocks(page) if block.language == "yaml"}
    judged = 0
    for name, text in texts.items():
        if name.endswith("keys.yaml") or "\n---" in text or "apiVersion" in text or text.startswith("# keys.yaml"):
            continue
        data = read_document(text, name).data
        if data.keys() & OURS and "services" not in data:
            judged += 1
            assert (name, wrong(judge, text)) == (name, [])
    assert judged > 40


@pytest.mark.parametrize(
    "text",
    [
        "server: {port: ${PORT}, access_log: os.environ/LOG}".replace("${PORT}", '"${PORT}"'),
        "fallbacks: [{a: [b]}, c]\ncontext_window_fallbacks: {a: b}\ndefault_fallbacks: a",
        "server: {cors: https://a.example}\npage: false",
        "model_list: [{model_name: a, litellm_params: {model: m, any_word: 1, ssl_verify: ca.pem}}]",
        "keys: [{file: keys.yaml}, {keys: [{id: a, secret: x}]}, {jwt: {issuer: i, audience: a, jwks: j.json}}]",
        "litellm_settings: {anything: 1}\ngeneral_settings: {}\ninclude: [a.yaml]",
        "plugins: [a.B, {use: c.D, before: Auth, option: 1}]",
    ],
)
def test_what_the_gateway_takes_is_valid(judge: jsonschema.Draft7Validator, text: str) -> None:
    assert wrong(judge, text) == []


@pytest.mark.parametrize(
    "text",
    ["server: {prot: 1}", "server: {port: 70000}", "server: {port: text}", "limits: {per_key: {rpm: 1}}", "nonsense: 1",
     "model_list: [{litellm_params: {model: m}}]", "routing_strategy: lest-busy", "keys: {files: keys.yaml}",
     "admin: {token: short}"],
)  # fmt: skip
def test_a_wrong_key_and_a_wrong_form_are_none(judge: jsonschema.Draft7Validator, text: str) -> None:
    assert wrong(judge, text) != []
