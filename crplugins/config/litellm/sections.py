"""What LiteLLM's sections say that has the same name at our top level, or a name of ours, moved there."""

from collections.abc import Mapping
from typing import Any, Final

from crplugins.config.litellm.draft import Draft, mapping, says_yes
from crplugins.config.litellm.settings import DEADLINES, MOVED, is_seconds, other_strategy
from crplugins.config.litellm.table import OFF, is_off
from crplugins.settings.environment import Expansion
from crplugins.settings.errors import KeyPath

MASTER_KEY_ID: Final = "master-key"

_COUNTS: Final[Mapping[tuple[str, str], KeyPath]] = {
    ("router_settings", "default_max_parallel_requests"): ("limits", "per_deployment", "max_parallel_requests"),
    ("general_settings", "max_in_flight_requests_per_worker"): ("server", "max_in_flight"),
    ("general_settings", "global_max_parallel_requests"): ("server", "max_in_flight"),
    ("router_settings", "deployment_affinity_ttl_seconds"): ("affinity_seconds",),
}
"""Numbers, and our key for each; of two with the same key the first counts."""

_HEALTH_CHECKS: Final = ("background_health_checks", "enable_health_check_routing")
_HEALTH_CHECK_SECONDS: Final = 300
"""LiteLLM's own, where no interval is given."""

_ALIASES: Final = (
    ("router_settings", "model_group_alias"), ("litellm_settings", "model_group_alias"),
    ("general_settings", "model_group_alias"), ("", "model_group_alias"), ("litellm_settings", "model_alias_map"),
)  # fmt: skip


def move_sections(draft: Draft) -> None:
    """Writes into `draft.data` what counts of the sections and is no matter of one model."""
    for section in ("router_settings", "litellm_settings"):
        _move_words(draft, section)
    _move_deadlines(draft)
    if says_yes(draft.section("router_settings").get("disable_cooldowns")):
        draft.put(0, ("cooldown_time",), ("router_settings", "disable_cooldowns"))
    for (section, name), ours in _COUNTS.items():
        if (count := draft.section(section).get(name)) is not None:
            draft.put(count, ours, (section, name))
    general = draft.section("general_settings")
    _move_body_size(draft, general.get("max_request_size_mb"))
    if draft.section("litellm_settings").get("json_logs") is True:
        draft.put("json", ("log", "format"), ("litellm_settings", "json_logs"))
    _move_health_check(draft, general)
    _move_master_key(draft, general.get("master_key"))
    for section, key in _ALIASES:
        where: KeyPath = (section, key) if section else (key,)
        _move_aliases(draft, mapping((draft.section(section) if section else draft.file).get(key)), where)


def _move_words(draft: Draft, section: str) -> None:
    for name, value in draft.section(section).items():
        if name not in MOVED or is_off(value):
            continue
        if name == "routing_strategy" and (why := other_strategy(value)) is not None:
            draft.warn((section, name), why)
        else:
            draft.put(value, (name,), (section, name))


def _move_deadlines(draft: Draft) -> None:
    for (section, name), ours in DEADLINES.items():
        value = draft.section(section).get(name)
        if is_off(value):
            continue
        if not is_seconds(value):
            draft.warn((section, name), "it is no number of seconds")
        elif ours == "timeout" and "request_timeout" in draft.file:
            draft.warn((section, name), "'request_timeout' says the same")
        else:
            draft.put(value, (ours,), (section, name))


def _move_body_size(draft: Draft, megabytes: Any) -> None:
    if isinstance(megabytes, int | float) and not isinstance(megabytes, bool) and megabytes > 0:
        size = int(megabytes * 1024 * 1024)
        draft.put(size, ("server", "max_body_bytes"), ("general_settings", "max_request_size_mb"))


def _move_health_check(draft: Draft, general: Mapping[str, Any]) -> None:
    asked = [name for name in _HEALTH_CHECKS if says_yes(general.get(name))]
    if not asked:
        if general.get("health_check_interval") is not None:
            draft.fates["general_settings", "health_check_interval"] = OFF
        return
    seconds = general.get("health_check_interval") or _HEALTH_CHECK_SECONDS
    draft.put({"seconds": seconds}, ("health_check",), ("general_settings", asked[0]))


def _move_master_key(draft: Draft, key: Any) -> None:
    place: KeyPath = ("general_settings", "master_key")
    if is_off(key):
        return
    if draft.file.get("keys") is not None:
        draft.warn(place, "write it under 'keys', which says who may call")
    elif not isinstance(key, str) or not key:
        draft.warn(place, "it must be text")
    elif (missing := _unset(key, draft.environ)) is not None:
        draft.warn(place, f"{missing}; without 'keys' one is generated at the start")
    else:
        draft.data["keys"] = [{"id": MASTER_KEY_ID, "secret": key}]
        draft.moved["keys", 0, "secret"] = place
        draft.moved["keys",] = place


def _move_aliases(draft: Draft, aliases: Mapping[str, Any], place: KeyPath) -> None:
    for name, target in aliases.items():
        below = (*place, name)
        if isinstance(target, Mapping):
            if says_yes(target.get("hidden")):
                draft.warn((*below, "hidden"), "an alias is listed with the models a key may call")
            target = target.get("model")
        if isinstance(target, str) and target:
            draft.put(target, ("aliases", name), below)
        else:
            draft.warn(below, "it must be the name of a model")


def _unset(text: str, environ: Mapping[str, str]) -> str | None:
    expansion = Expansion(environ)
    expansion.expand(text)
    return expansion.problems[0].message if expansion.problems else None
