"""The table of keys has a row for everything that the installed LiteLLM takes, and every row is one that holds."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from crplugins.config.litellm.keys.group import KeyGroup
from crplugins.config.litellm.reading import LitellmReading
from crplugins.config.litellm.report import rows_of
from crplugins.config.litellm.settings import SECTIONS, SETTINGS
from crplugins.config.litellm.table import FateTable, key_table
from crplugins.config.litellm_params import LitellmParams
from crplugins.handlers.litellm_settings import is_parameter, is_setting
from crplugins.settings.document import read_document
from crplugins.settings.errors import KeyPath
from tests.config.litellm.examples import LITELLM

_READ = re.compile(r"""(general_settings|litellm_settings|router_settings)(?:\.get\(|\[)\s*["'](\w+)["']""")


@pytest.fixture(scope="module")
def keys(litellm_module: Any) -> dict[str, set[str]]:
    """Every key by its section: of the models, of the router's arguments, of litellm's module, and that its code reads."""
    types: Any = importlib.import_module("litellm.proxy._types")
    router: Any = importlib.import_module("litellm.types.router")
    known: dict[str, set[str]] = {
        "general_settings": set(types.ConfigGeneralSettings.model_fields),
        "router_settings": {*inspect.signature(litellm_module.Router.__init__).parameters} - {"self"},
        "litellm_params": {
            *router.GenericLiteLLMParams.model_fields,
            *router.LiteLLMParamsTypedDict.__annotations__,
            *importlib.import_module("litellm.types.utils").all_litellm_params,
        },
        "model_info": set(router.ModelInfo.model_fields),
        "litellm_settings": {name for name, value in vars(litellm_module).items() if _is_a_setting(name, value)},
    }
    known["router_settings"] |= set(router.UpdateRouterConfig.model_fields)
    for file in Path(LITELLM, "proxy").rglob("*.py"):
        for section, name in _READ.findall(file.read_text(encoding="utf-8")):
            known[section].add(name)
    return known


def _is_a_setting(name: str, value: Any) -> bool:
    simple = value is None or isinstance(value, bool | int | float | str | list | dict)
    return simple and not name.startswith("_") and name == name.lower() and not name.endswith("_models")


def test_every_key_of_the_installed_litellm_has_a_row(keys: dict[str, set[str]]) -> None:
    table = key_table()
    ours = {"litellm_params": LitellmParams.known_keys()}
    missing = {
        f"{section}.{name}"
        for section, names in keys.items()
        for name in names - ours.get(section, frozenset())
        if table.find(section, name) is None and not (section == "litellm_params" and is_parameter(name))
    }
    assert sum(map(len, keys.values())) > 800
    assert missing == set()


def test_a_key_of_a_later_litellm_is_unknown_and_stops_nothing(load: Any) -> None:
    config = load("""\
model_list:
  - model_name: a
    litellm_params: {model: openai/m, api_key: x, brand_new_thing: 1}
    brand_new_entry: 2
    model_info: {brand_new_fact: 3}
litellm_settings: {brand_new_thing: 1}
general_settings: {brand_new_thing: 1}
router_settings: {brand_new_thing: 1}
brand_new_section: {a: 1}
""")
    assert config.deployments()[0].parameters == {}
    assert config.warnings == (
        "model_list[0].litellm_params.brand_new_thing is unknown and not sent: what a provider takes beside OpenAI's "
        "parameters stands under 'extra_body'",
        "model_list[0].brand_new_entry is unknown and does not count: no key that is known here",
        "litellm_settings.brand_new_thing is unknown and does not count: no key that is known here",
        "general_settings.brand_new_thing is unknown and does not count: no key that is known here",
        "router_settings.brand_new_thing is unknown and does not count: no key that is known here",
        "brand_new_section is unknown and does not count: no key that is known here",
    )


def test_what_the_table_calls_honoured_in_litellm_params_reaches_a_handler() -> None:
    table = key_table()
    fates = {name: table.find("litellm_params", name) for name in table.keys_in("litellm_params")}
    names = [name for name, fate in fates.items() if fate is not None and fate.kind == "honoured"]
    assert len(names) > 90
    assert [
        name for name in names if not (name in LitellmParams.known_keys() or is_parameter(name) or is_setting(name))
    ] == []


def test_every_section_has_a_row() -> None:
    assert [section for section in SECTIONS if key_table().find("file", section) is None] == []


def test_a_key_stands_in_one_row_alone() -> None:
    group = KeyGroup("file", "warned", "no", "a b")
    with pytest.raises(ValueError, match="a stands twice among the keys of file"):
        FateTable([group, group._replace(say="yes")])


@pytest.mark.parametrize("section", SETTINGS)
def test_a_key_that_is_off_loses_nothing(section: str) -> None:
    names = sorted(key_table().keys_in(section))
    for value in (False, None, "", [], {}):
        document = read_document("", "config.yaml")
        data = {section: dict.fromkeys(names, value)}
        rows = rows_of(type(document)(data, document.source, []), LitellmReading(data, {}))
        assert [row.shown for row in rows if row.fate.is_lost] == []


def test_a_key_in_the_wrong_section_is_told_where_it_belongs(load: Any) -> None:
    config = load("""\
model_list: [{model_name: a, litellm_params: {model: openai/m, api_key: x}}]
litellm_settings: {master_key: sk-x, forward_client_headers_to_llm_api: true}
general_settings: {enable_pre_call_checks: true}
""")
    assert config.warnings == (
        "litellm_settings.master_key is ignored: it is a key of general_settings, also for LiteLLM",
        "litellm_settings.forward_client_headers_to_llm_api is ignored: it is a key of general_settings, also for LiteLLM",
        "general_settings.enable_pre_call_checks is ignored: it is a key of router_settings, also for LiteLLM",
    )


def test_a_key_that_is_misspelt_is_told_how_it_is_spelt(load: Any) -> None:
    config = load("""\
model_list: [{model_name: a, litellm_params: {model: openai/m, api_key: x}}]
litellm_settings: {drop_param: true, batch_size: 2}
general_settings: {masterkey: sk-x, custom_headers: true, default_key_generate_params: {models: [a]}}
""")
    assert config.warnings == (
        "litellm_settings.drop_param is unknown and does not count, did you mean 'drop_params'?: no key that is known here",
        "litellm_settings.batch_size is unknown and does not count: no key that is known here",
        "general_settings.masterkey is unknown and does not count, did you mean 'master_key'?: no key that is known here",
        "general_settings.custom_headers is unknown and does not count: no key that is known here",
        "general_settings.default_key_generate_params is ignored: it is a key of litellm_settings, also for LiteLLM",
    )


def test_a_place_in_the_report_is_that_of_the_file() -> None:
    text = "model_list:\n- model_name: a\n  litellm_params:\n    model: openai/m\n    tags: [x]\n"
    document = read_document(text, "config.yaml")
    lines: dict[KeyPath, int | None] = {
        row.path: row.line for row in rows_of(document, LitellmReading(document.data, {}))
    }
    assert lines == {
        ("model_list",): 1,
        ("model_list", 0, "model_name"): 2,
        ("model_list", 0, "litellm_params"): 3,
        ("model_list", 0, "litellm_params", "model"): 4,
        ("model_list", 0, "litellm_params", "tags"): 5,
    }
