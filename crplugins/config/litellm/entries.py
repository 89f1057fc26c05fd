"""The entries of a file's `model_list`, with what LiteLLM's sections say about every model written into each."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from crplugins.config.litellm.draft import Draft, listed, mapping, says_yes
from crplugins.config.litellm.table import UNKNOWN, UNKNOWN_PARAMETER, KeyFate, key_table
from crplugins.config.litellm.unserved import ENVIRONMENT, MODES, why_unserved
from crplugins.config.litellm_params import LitellmParams
from crplugins.config.models import ModelEntry, ModelInfo
from crplugins.handlers.litellm_settings import is_parameter
from crplugins.settings.errors import KeyPath, did_you_mean, nearest

_SHARED: Final = ("headers", "organization", "ssl_verify", "ssl_certificate", "vertex_project", "vertex_location")
"""Words of `litellm_settings` that hold for every model, with the same name in `litellm_params`."""


def read_models(draft: Draft) -> None:
    """Writes the entries that can be served into `draft.data`, and notes of the others why they are not."""
    entries = draft.file.get("model_list")
    if not isinstance(entries, list | tuple):
        if draft.is_litellms and entries is None:
            draft.data.pop("model_list", None)
        return
    if not entries and draft.is_litellms:
        del draft.data["model_list"]
        return
    shared = _shared(draft)
    read = [(index, _entry(draft, index, entry, shared)) for index, entry in enumerate(entries)]
    served = [(index, entry) for index, entry in read if ("model_list", index) not in draft.fates]
    kept = [(index, each) for index, entry in served for each in _by_organization(entry)]
    draft.entries = [index for index, _ in kept]
    draft.data["model_list"] = [entry for _, entry in kept]


def _entry(draft: Draft, index: int, entry: Any, shared: Mapping[str, Any]) -> Any:
    """An entry with what holds for all models, `shared` in its parameters, without the keys that do not count."""
    path: KeyPath = ("model_list", index)
    if not isinstance(entry, Mapping):
        return entry
    if (why := why_unserved(entry, draft.environ)) is not None:
        draft.not_served(index, why)
        return entry
    known = ModelEntry.known_keys()
    kept = {
        key: value for key, value in entry.items() if key in known or _counts_in_entry(draft, str(key), value, path)
    }
    if isinstance(params := entry.get("litellm_params"), Mapping):
        policies = mapping(draft.section("router_settings").get("model_group_retry_policy"))
        if (policy := policies.get(str(entry.get("model_name")))) is not None:
            shared = {**shared, "retry_policy": policy}
        kept["litellm_params"] = _params(draft, params, shared, (*path, "litellm_params"))
    if isinstance(info := entry.get("model_info"), Mapping):
        kept["model_info"] = {
            key: value for key, value in info.items() if _counts_in_info(draft, str(key), value, path)
        }
    elif "model_info" in entry and info is None:
        del kept["model_info"]
    if says_yes(draft.section("litellm_settings").get("forward_traceparent_to_llm_provider")):
        kept.setdefault("forward_trace", True)
    return kept


def _by_organization(entry: Any) -> list[Any]:
    """The entry once for each organization that it lists, which take turns."""
    params = mapping(entry.get("litellm_params")) if isinstance(entry, Mapping) else {}
    listed_ones = params.get("organization")
    if not isinstance(listed_ones, list | tuple) or not listed_ones:
        return [entry]
    return [{**entry, "litellm_params": {**params, "organization": each}} for each in listed_ones]


def _counts_in_entry(draft: Draft, key: str, value: Any, path: KeyPath) -> bool:
    if key in ModelEntry.known_keys():
        return True
    fate = key_table().find("entry", key)
    if fate is None and (not draft.is_litellms or nearest(key, ModelEntry.known_keys(), 0.85)):
        return True  # for whoever checks our own keys
    return draft.counts(fate or UNKNOWN, value, (*path, key))


def _counts_in_info(draft: Draft, key: str, value: Any, path: KeyPath) -> bool:
    place: KeyPath = (*path, "model_info", key)
    if key == "mode" and isinstance(value, str) and value and value not in MODES:
        say = "a mode that LiteLLM does not have says nothing about a model, there and here"
        draft.warn(place, say, f"is unknown{did_you_mean(value, MODES)}")
        return False
    if key == "supported_environments" and value is not None and not draft.environ.get(ENVIRONMENT):
        draft.warn(place, f"{ENVIRONMENT} is not set, without which LiteLLM would not start")
    if key in ModelInfo.known_keys():
        return True
    fate = key_table().find("model_info", key)
    return fate is None or draft.counts(fate, value, place)


def _params(draft: Draft, params: Mapping[str, Any], shared: Mapping[str, Any], path: KeyPath) -> dict[str, Any]:
    """What stands beside the model itself comes before its credential, and that before what holds for all."""
    given = {str(key): value for key, value in params.items()}
    credential = _credential(draft, given, path)
    given = {key: value for key, value in given.items() if _counts_in_params(draft, key, value, path)}
    if shared.get("drop_params") is True and given.pop("drop_params", True) is not True:
        say = "'litellm_settings.drop_params' is true, which holds for every model, as in LiteLLM"
        draft.fates[(*path, "drop_params")] = KeyFate("honoured", say)
    return {**shared, **credential, **given}


def _counts_in_params(draft: Draft, key: str, value: Any, path: KeyPath) -> bool:
    if key == "drop_params" and isinstance(value, list | tuple | Mapping):
        draft.warn((*path, key), "it is true or false; parameters to take off stand under 'additional_drop_params'")
        return False
    if key in LitellmParams.known_keys() or is_parameter(key):
        return True
    fate = key_table().find("litellm_params", key)
    if fate is None:
        if nearest(key, LitellmParams.known_keys(), LitellmParams.likeness):
            return True  # for whoever checks our own keys
        hint = did_you_mean(key, LitellmParams.extras, LitellmParams.likeness)
        fate = msgspec.structs.replace(UNKNOWN_PARAMETER, verb=UNKNOWN_PARAMETER.verb + hint)
    return draft.counts(fate, value, (*path, key))


def _credential(draft: Draft, given: dict[str, Any], path: KeyPath) -> Mapping[str, Any]:
    if (name := given.pop("litellm_credential_name", None)) is None:
        return {}
    for each in listed(draft.file.get("credential_list")):
        if isinstance(each, Mapping) and str(each.get("credential_name")) == str(name):
            return mapping(each.get("credential_values"))
    draft.warn((*path, "litellm_credential_name"), "'credential_list' has no credential of this name")
    return {}


def _shared(draft: Draft) -> dict[str, Any]:
    """What the sections say about every model."""
    router, litellm = draft.section("router_settings"), draft.section("litellm_settings")
    shared = {key: litellm[key] for key in _SHARED if litellm.get(key) is not None}
    place: KeyPath = ("router_settings", "default_litellm_params")
    for key, value in mapping(router.get("default_litellm_params")).items():
        if _counts_in_params(draft, str(key), value, place):
            shared[str(key)] = value
    if says_yes(litellm.get("drop_params")):
        shared["drop_params"] = True
    return shared
