"""LitellmReading: a file of LiteLLM's on its way to ours, with what becomes of each key.

`model_list` has LiteLLM's format. Of the sections of its proxy much says how a model is called: it is written into
`model_list` before anything is checked. What has the same name at our top level, or a name of ours, is moved there, if
nothing stands there already. Everything else is named in a warning, and stops nothing: neither a key that does not
count nor, in a file of LiteLLM's alone, an entry that cannot be used. Which key is which stands in `keys.py`.
"""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from crplugins.config.litellm.settings import DEADLINES, MOVED, SECTIONS, is_seconds, other_strategy
from crplugins.config.litellm.table import OFF, UNKNOWN, UNKNOWN_PARAMETER, KeyFate, is_off, key_table
from crplugins.config.litellm.unserved import ENVIRONMENT, MODES, why_unserved
from crplugins.config.models import LitellmParams, ModelEntry
from crplugins.config.schema import Config
from crplugins.core.patterns import Pattern
from crplugins.handlers.litellm_settings import is_parameter
from crplugins.settings.environment import LITELLM_PREFIX, Expansion
from crplugins.settings.errors import KeyPath, Problem, did_you_mean, format_path, nearest

MASTER_KEY_ID: Final = "master-key"
_HEALTH_CHECKS: Final = ("background_health_checks", "enable_health_check_routing")
_HEALTH_CHECK_SECONDS: Final = 300
"""LiteLLM's own, where no interval is given."""

_PARALLEL: Final = ("limits", "per_deployment", "max_parallel_requests")
_IN_FLIGHT: Final = ("server", "max_in_flight")
_AFFINITY: Final = ("affinity_seconds",)

_SHARED: Final = ("headers", "organization", "ssl_verify", "ssl_certificate", "vertex_project", "vertex_location")
"""Words of `litellm_settings` that hold for every model, with the same name in `litellm_params`."""

_FALLBACKS: Final = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_NOBODY: Final = "no model of this name is served"


class LitellmReading:
    """A configuration without LiteLLM's sections.

    Args:
        data: as the file has it, nothing in it checked or expanded yet.
        environ: the environment.
        is_litellms: whether the file is LiteLLM's alone, so that entries which cannot be used are left out. By default
            its keys tell: it has a section or a notation of LiteLLM's, and no key of ours.

    Attributes:
        data: the keys of ours; what counts of the sections stands among them.
        environ: the environment, and above it `environment_variables`, as in LiteLLM.
        variables: those alone.
        entries: of each entry of `model_list` in `data`, its index in the file.
        fates: what becomes of keys by their place in the file, where the value or the other keys decide.
    """

    def __init__(self, data: Mapping[str, Any], environ: Mapping[str, str], *, is_litellms: bool | None = None) -> None:
        self._file = data
        self.is_litellms = _is_litellms(data) if is_litellms is None else is_litellms
        self.fates: dict[KeyPath, KeyFate] = {}
        self._moved: dict[KeyPath, KeyPath] = {}
        self.entries: list[int] = []
        self.data: dict[str, Any] = {key: value for key, value in data.items() if key not in SECTIONS}
        self.variables = dict(_variables(data.get("environment_variables"), environ))
        self.environ = {**environ, **self.variables} if self.variables else environ
        if self.is_litellms:
            self._leave_out_strange_keys()
        self._move()
        self._read_models()
        self._clean_fallbacks()

    # What the caller does with it.

    def placed(self, problem: Problem) -> Problem:
        """The problem at its place in the file."""
        return dataclasses.replace(problem, path=self._place(problem.path))

    def leave_out(self, problems: Sequence[Problem]) -> bool:
        """Takes off what is wrong and may be left out, for another attempt. False where something else is wrong too."""
        entries: dict[int, str] = {}
        moved: list[Problem] = []
        for problem in problems:
            index = problem.path[1] if problem.path[:1] == ("model_list",) and len(problem.path) > 1 else None
            if isinstance(index, int) and self.is_litellms:
                where = format_path(problem.path[2:])
                entries.setdefault(index, ": ".join(part for part in (where, problem.message) if part))
            elif self._is_moved(problem.path):
                moved.append(problem)
            else:
                return False
        if entries and len(entries) == len(self.entries):
            return False
        for problem in moved:
            self._take_off(problem.path, problem.message)
        for index in sorted(entries, reverse=True):
            self._without_entry(index, entries[index])
        self._clean_fallbacks()
        return bool(entries or moved)

    def not_read(self, messages: Sequence[str]) -> None:
        """Notes the files that are included and could not be read."""
        if messages:
            self.fates["include",] = KeyFate("warned", "; ".join(messages), "counts in part")

    def not_served(self, index: int, why: str) -> None:
        """Notes that nobody can answer for an entry of `data`, which stays there."""
        self._leave_out_entry(self.entries[index], why)

    def said_of(self, variable: str) -> str | None:
        """What `environment_variables` has for a variable, if that is the name of another one."""
        text = str(_mapping(self._file.get("environment_variables")).get(variable))
        return f"${{{text.removeprefix(LITELLM_PREFIX)}}}" if text.startswith(LITELLM_PREFIX) else None

    def nothing_served(self) -> list[Problem]:
        """Why each entry is left out, where none is left."""
        entries = _listed(self._file.get("model_list"))
        if not entries or self.entries:
            return []
        return [
            Problem(path, f"is not served: {self.fates[path].say}")
            for path in (("model_list", i) for i in range(len(entries)))
        ]

    # Where things stand.

    def _is_moved(self, path: KeyPath) -> bool:
        return any(path[:length] in self._moved for length in range(1, len(path) + 1))

    def _place(self, path: KeyPath) -> KeyPath:
        for length in range(len(path), 0, -1):
            if (place := self._moved.get(path[:length])) is not None:
                return (*place, *path[length:])
        if path[:1] == ("model_list",) and len(path) > 1 and isinstance(path[1], int) and path[1] < len(self.entries):
            return ("model_list", self.entries[path[1]], *path[2:])
        return path

    def _take_off(self, path: KeyPath, message: str) -> None:
        """Takes off what stands at `path`, or the nearest around it that can be taken off."""
        at = next(length for length in range(1, len(path) + 1) if path[:length] in self._moved)
        while len(path) > at and not _is_member(self.data, path):
            path = path[:-1]
        self.fates[self._place(path)] = KeyFate("warned", message)
        self.data[str(path[0])] = copy.deepcopy(self.data.get(str(path[0])))
        _remove(self.data, path)

    # The sections.

    def _section(self, name: str) -> Mapping[str, Any]:
        return _mapping(self._file.get(name))

    def _put(self, value: Any, ours: KeyPath, place: KeyPath) -> None:
        """Writes `value`, which stands at `place` in the file, to our key; one that is there already comes first."""
        around = self.data
        for part in ours[:-1]:
            inner = around.get(str(part))
            if inner is not None and not isinstance(inner, dict):
                return
            around[str(part)] = inner = dict(inner or {})
            around = inner
        if around.get(str(ours[-1])) is not None:
            if place[-1] == ours[-1] or ours not in self._moved:
                self.fates[place] = KeyFate("warned", f"'{format_path(self._moved.get(ours, ours))}' says the same")
            return
        around[str(ours[-1])] = value
        self._moved[ours] = place

    def _move(self) -> None:
        for section in ("router_settings", "litellm_settings"):
            self._move_words(section)
        self._move_deadlines()
        router, general = self._section("router_settings"), self._section("general_settings")
        if _says_yes(router.get("disable_cooldowns")):
            self._put(0, ("cooldown_time",), ("router_settings", "disable_cooldowns"))
        self._move_count(router, ("router_settings", "default_max_parallel_requests"), _PARALLEL)
        self._move_count(general, ("general_settings", "max_in_flight_requests_per_worker"), _IN_FLIGHT)
        self._move_count(general, ("general_settings", "global_max_parallel_requests"), _IN_FLIGHT)
        self._move_count(router, ("router_settings", "deployment_affinity_ttl_seconds"), _AFFINITY)
        size = general.get("max_request_size_mb")
        if isinstance(size, int | float) and not isinstance(size, bool) and size > 0:
            self._put(
                int(size * 1024 * 1024), ("server", "max_body_bytes"), ("general_settings", "max_request_size_mb")
            )
        if self._section("litellm_settings").get("json_logs") is True:
            self._put("json", ("log", "format"), ("litellm_settings", "json_logs"))
        self._move_health_check(general)
        self._move_master_key(general.get("master_key"))
        for section, key in _ALIASES:
            where: KeyPath = (section, key) if section else (key,)
            self._move_aliases(_mapping(self._section(section) if section else self._file).get(key), where)

    def _move_words(self, section: str) -> None:
        for name, value in self._section(section).items():
            if name not in MOVED or is_off(value):
                continue
            if name == "routing_strategy" and (why := other_strategy(value)) is not None:
                self.fates[section, name] = KeyFate("warned", why)
            else:
                self._put(value, (name,), (section, name))

    def _move_deadlines(self) -> None:
        for (section, name), ours in DEADLINES.items():
            value = self._section(section).get(name)
            if is_off(value):
                continue
            if not is_seconds(value):
                self.fates[section, name] = KeyFate("warned", "it is no number of seconds")
            elif ours == "timeout" and "request_timeout" in self._file:
                self.fates[section, name] = KeyFate("warned", "'request_timeout' says the same")
            else:
                self._put(value, (ours,), (section, name))

    def _move_count(self, said: Mapping[str, Any], place: tuple[str, str], ours: KeyPath) -> None:
        if said.get(place[1]) is not None:
            self._put(said[place[1]], ours, place)

    def _move_health_check(self, general: Mapping[str, Any]) -> None:
        asked = [name for name in _HEALTH_CHECKS if _says_yes(general.get(name))]
        if not asked:
            if general.get("health_check_interval") is not None:
                self.fates["general_settings", "health_check_interval"] = OFF
            return
        seconds = general.get("health_check_interval")
        self._put({"seconds": seconds or _HEALTH_CHECK_SECONDS}, ("health_check",), ("general_settings", asked[0]))

    def _move_master_key(self, key: Any) -> None:
        place: KeyPath = ("general_settings", "master_key")
        if is_off(key):
            return
        if self._file.get("keys") is not None:
            self.fates[place] = KeyFate("warned", "write it under 'keys', which says who may call")
        elif not isinstance(key, str) or not key:
            self.fates[place] = KeyFate("warned", "it must be text")
        elif (missing := _unset(key, self.environ)) is not None:
            self.fates[place] = KeyFate("warned", f"{missing}; without 'keys' one is generated at the start")
        else:
            self.data["keys"] = [{"id": MASTER_KEY_ID, "secret": key}]
            self._moved["keys", 0, "secret"] = place
            self._moved["keys",] = place

    def _move_aliases(self, aliases: Any, place: KeyPath) -> None:
        for name, target in _mapping(aliases).items():
            below = (*place, name)
            if isinstance(target, Mapping):
                if _says_yes(target.get("hidden")):
                    self.fates[(*below, "hidden")] = KeyFate(
                        "warned", "an alias is listed with the models a key may call"
                    )
                target = target.get("model")
            if isinstance(target, str) and target:
                self._put(target, ("aliases", name), below)
            else:
                self.fates[below] = KeyFate("warned", "it must be the name of a model")

    # The models.

    def _read_models(self) -> None:
        entries = self._file.get("model_list")
        if not isinstance(entries, list | tuple):
            if self.is_litellms and entries is None:
                self.data.pop("model_list", None)
            return
        if not entries and self.is_litellms:
            del self.data["model_list"]
            return
        read = [(index, self._entry(index, entry)) for index, entry in enumerate(entries)]
        kept = [(index, entry) for index, entry in read if ("model_list", index) not in self.fates]
        self.entries = [index for index, _ in kept]
        self.data["model_list"] = [entry for _, entry in kept]

    def _without_entry(self, index: int, why: str) -> None:
        self._leave_out_entry(self.entries[index], why)
        self.entries = self.entries[:index] + self.entries[index + 1 :]
        self.data["model_list"] = [*self.data["model_list"][:index], *self.data["model_list"][index + 1 :]]

    def _leave_out_entry(self, index: int, why: str) -> None:
        path = ("model_list", index)
        self.fates = {place: fate for place, fate in self.fates.items() if place[:2] != path}
        self.fates[path] = KeyFate("warned", why, "is not served")

    def _entry(self, index: int, entry: Any) -> Any:
        """An entry with what holds for all models, without the keys that do not count."""
        path: KeyPath = ("model_list", index)
        if not isinstance(entry, Mapping):
            return entry
        if (why := why_unserved(entry, self.environ)) is not None:
            self._leave_out_entry(index, why)
            return entry
        kept = {key: value for key, value in entry.items() if self._counts_in_entry(str(key), value, path)}
        if isinstance(params := entry.get("litellm_params"), Mapping):
            kept["litellm_params"] = self._params(params, str(entry.get("model_name")), (*path, "litellm_params"))
        if isinstance(info := entry.get("model_info"), Mapping):
            kept["model_info"] = {
                key: value for key, value in info.items() if self._counts_in_info(str(key), value, path)
            }
        elif "model_info" in entry and info is None:
            del kept["model_info"]
        if _says_yes(self._section("litellm_settings").get("forward_traceparent_to_llm_provider")):
            kept.setdefault("forward_trace", True)
        return kept

    def _counts_in_entry(self, key: str, value: Any, path: KeyPath) -> bool:
        if key in ModelEntry.known_keys():
            return True
        fate = key_table().find("entry", key)
        if fate is None and (not self.is_litellms or nearest(key, ModelEntry.known_keys(), 0.85)):
            return True  # for whoever checks our own keys
        return self._counts(fate or UNKNOWN, value, (*path, key))

    def _counts_in_info(self, key: str, value: Any, path: KeyPath) -> bool:
        place: KeyPath = (*path, "model_info", key)
        if key == "mode" and isinstance(value, str) and value and value not in MODES:
            say = "a mode that LiteLLM does not have says nothing about a model, there and here"
            self.fates[place] = KeyFate("warned", say, f"is unknown{did_you_mean(value, MODES)}")
            return False
        if key == "supported_environments" and value is not None and not self.environ.get(ENVIRONMENT):
            self.fates[place] = KeyFate("warned", f"{ENVIRONMENT} is not set, without which LiteLLM would not start")
        fate = key_table().find("model_info", key)
        return fate is None or self._counts(fate, value, place)

    def _counts(self, fate: KeyFate, value: Any, path: KeyPath) -> bool:
        if not fate.is_lost:
            return True
        self.fates[path] = OFF if is_off(value) else fate
        return False

    def _params(self, params: Mapping[str, Any], name: str, path: KeyPath) -> dict[str, Any]:
        """What stands beside the model itself comes before its credential, and that before what holds for all."""
        given = {str(key): value for key, value in params.items()}
        credential = self._credential(given, path)
        given = {key: value for key, value in given.items() if self._counts_in_params(key, value, path)}
        shared = self._shared(name)
        if shared.get("drop_params") is True and given.pop("drop_params", True) is not True:
            say = "'litellm_settings.drop_params' is true, which holds for every model, as in LiteLLM"
            self.fates[(*path, "drop_params")] = KeyFate("honoured", say)
        return {**shared, **credential, **given}

    def _counts_in_params(self, key: str, value: Any, path: KeyPath) -> bool:
        if key == "drop_params" and isinstance(value, list | tuple | Mapping):
            say = "it is true or false; parameters to take off stand under 'additional_drop_params'"
            self.fates[(*path, key)] = KeyFate("warned", say)
            return False
        if key in LitellmParams.known_keys() or is_parameter(key):
            return True
        fate = key_table().find("litellm_params", key)
        if fate is None:
            if nearest(key, LitellmParams.known_keys(), LitellmParams.likeness):
                return True  # for whoever checks our own keys
            hint = did_you_mean(key, LitellmParams.extras, LitellmParams.likeness)
            fate = dataclasses.replace(UNKNOWN_PARAMETER, verb=UNKNOWN_PARAMETER.verb + hint)
        return self._counts(fate, value, (*path, key))

    def _credential(self, given: dict[str, Any], path: KeyPath) -> Mapping[str, Any]:
        if (name := given.pop("litellm_credential_name", None)) is None:
            return {}
        for each in _listed(self._file.get("credential_list")):
            if isinstance(each, Mapping) and str(each.get("credential_name")) == str(name):
                return _mapping(each.get("credential_values"))
        self.fates[(*path, "litellm_credential_name")] = KeyFate(
            "warned", "'credential_list' has no credential of this name"
        )
        return {}

    def _shared(self, name: str) -> dict[str, Any]:
        """What the sections say about every model."""
        router, litellm = self._section("router_settings"), self._section("litellm_settings")
        shared = {key: litellm[key] for key in _SHARED if litellm.get(key) is not None}
        defaults = _mapping(router.get("default_litellm_params"))
        place: KeyPath = ("router_settings", "default_litellm_params")
        shared |= {str(key): value for key, value in defaults.items() if self._counts_in_params(str(key), value, place)}
        if _says_yes(litellm.get("drop_params")):
            shared["drop_params"] = True
        if (policy := _mapping(router.get("model_group_retry_policy")).get(name)) is not None:
            shared["retry_policy"] = policy
        return shared

    # What leads to models that are not there.

    def _clean_fallbacks(self) -> None:
        """Without names that nobody serves, which LiteLLM passes over; an alias stands for its model."""
        entries = [_mapping(entry) for entry in _listed(self.data.get("model_list"))]
        served = [Pattern.of(str(entry.get("model_name"))) for entry in entries]
        for key in (*_FALLBACKS, "default_fallbacks"):
            place = self._moved.get((key,))
            if place is not None and key in self.data:
                cleaned = self._cleaned(self.data[key], place, served)
                if cleaned:
                    self.data[key] = cleaned
                else:
                    del self.data[key]

    def _cleaned(self, value: Any, place: KeyPath, served: Sequence[Pattern]) -> Any:
        if isinstance(value, str):
            value = [value]
        if isinstance(value, list | tuple):
            items = ((item, self._cleaned_item(item, (*place, index), served)) for index, item in enumerate(value))
            return [cleaned for _, cleaned in items if cleaned]
        return self._cleaned_item(value, place, served)

    def _cleaned_item(self, item: Any, place: KeyPath, served: Sequence[Pattern]) -> Any:
        if isinstance(item, str):
            return self._known([item], place, served)[:1] and self._target(item)
        if not isinstance(item, Mapping):
            return item
        kept: dict[str, Any] = {}
        for name, others in item.items():
            if not self._known([name], (*place, name), served):
                continue
            names = [others] if isinstance(others, str) else others
            if isinstance(names, list | tuple) and all(isinstance(each, str) for each in names):
                names = [self._target(each) for each in self._known(names, (*place, name), served)]
            if names and set(names) == {self._target(name)}:
                self.fates[(*place, name)] = KeyFate("warned", "it falls back to itself alone")
            elif names:
                kept[self._target(name)] = names
        return kept

    def _known(self, names: Iterable[Any], place: KeyPath, served: Sequence[Pattern]) -> list[Any]:
        known: list[Any] = []
        strange: list[Any] = []
        for name in names:
            pattern = Pattern.of(self._target(str(name)))
            is_served = name == "*" or any(pattern.meets(each) for each in served)
            (known if is_served else strange).append(name)
        if strange:
            verb = "counts in part" if known else "is ignored"
            self.fates[place] = KeyFate("warned", f"{_NOBODY}: {', '.join(map(str, strange))}", verb)
        return known

    def _target(self, name: str) -> str:
        """The model behind an alias of LiteLLM's."""
        target = _mapping(self.data.get("aliases")).get(name)
        return target if isinstance(target, str) and ("aliases", name) in self._moved else name

    # Keys at the top that are nobody's.

    def _leave_out_strange_keys(self) -> None:
        for key, value in list(self.data.items()):
            if key not in Config.known_keys() and nearest(str(key), Config.known_keys(), 0.75) is None:
                if key_table().find("file", str(key)) is None:
                    self.fates[str(key),] = OFF if is_off(value) else UNKNOWN
                del self.data[key]


_ALIASES: Final = (
    ("router_settings", "model_group_alias"), ("litellm_settings", "model_group_alias"),
    ("general_settings", "model_group_alias"), ("", "model_group_alias"), ("litellm_settings", "model_alias_map"),
)  # fmt: skip


def _is_litellms(data: Mapping[str, Any]) -> bool:
    if data.keys() & (Config.known_keys() - {"model_list"}):
        return False
    return bool(data.keys() & SECTIONS) or _mentions_environ(data.get("model_list"))


def _mentions_environ(entries: Any) -> bool:
    """Whether values are written in LiteLLM's notation."""
    params = [_mapping(_mapping(entry).get("litellm_params")) for entry in _listed(entries)]
    return any(
        isinstance(value, str) and value.startswith(LITELLM_PREFIX) for each in params for value in each.values()
    )


def _variables(variables: Any, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """One that names another variable, which is not set, is not set either."""
    for name, value in _mapping(variables).items():
        expansion = Expansion(environ)
        if isinstance(value, str | int | float):
            text = expansion.expand(str(value))
            if not expansion.problems:
                yield str(name), text


def _unset(text: str, environ: Mapping[str, str]) -> str | None:
    expansion = Expansion(environ)
    expansion.expand(text)
    return expansion.problems[0].message if expansion.problems else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()


def _says_yes(value: Any) -> bool:
    return str(value).lower() == "true"


def _is_member(data: Any, path: KeyPath) -> bool:
    """Whether a key of a mapping stands at `path`."""
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, Mapping) else None
    return isinstance(data, Mapping) and path[-1] in data


def _remove(data: dict[str, Any], path: KeyPath) -> None:
    around: Any = data
    for part in path[:-1]:
        around = around[part]
    del around[path[-1]]
