"""LiteLLM's own configuration file: what of it counts here, and what to write in place of the rest.

`model_list` has LiteLLM's format. Of the sections of its proxy some things say how a model is called: variables of the
environment, credentials with a name, and `drop_params` are written into `model_list` before anything is checked, and so
is the policy of retries for one model. What says how its router retries, rests and falls back has the same name at our
top level, and is moved there, if nothing stands there already. Everything else is named in a warning, each key of it,
and stops nothing.

The sections are those that LiteLLM's proxy reads: https://docs.litellm.ai/docs/proxy/config_settings
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from crplugins.handlers.routing.settings import STRATEGIES
from crplugins.settings.environment import Expansion
from crplugins.settings.errors import KeyPath, Problem, format_path
from crplugins.settings.section import is_a_name

_PROXY: Final = "it configures LiteLLM's own proxy"

_SETTINGS: Final = ("litellm_settings", "general_settings", "router_settings")
"""Sections whose keys are named one by one."""

_IGNORED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (
            *("agent_list", "agents", "assistant_settings", "callback_settings", "default_vertex_config"),
            *("files_settings", "finetune_settings", "guardrails", "mcp_aliases", "mcp_servers", "mcp_tools"),
            *("policies", "policy_attachments", "prompts", "sandbox_tools", "search_tools", "vector_store_registry"),
            "worker_registry",
        ),
        _PROXY,
    ),
    "include": "other files are not read; write their models and settings into this one",
}

_INSTEAD: Final[Mapping[str, str]] = {
    "general_settings.master_key": "write the keys of clients under 'keys', and 'admin.token' for operators",
    "general_settings.database_url": "write 'keys: {sql: ...}' and 'ledger.url'",
    "general_settings.max_parallel_requests": "write 'limits.per_key.max_parallel_requests'",
    "general_settings.background_health_checks": "write 'health_check', which asks for the list of models",
    "general_settings.enable_health_check_routing": "write 'health_check', which asks for the list of models",
    "general_settings.health_check_interval": "write 'health_check.seconds'",
    "litellm_settings.callbacks": "write 'metrics', 'ledger', 'tracing' or 'plugins'",
    "litellm_settings.success_callback": "write 'metrics', 'ledger', 'tracing' or 'plugins'",
    "litellm_settings.max_budget": "write 'budgets'",
    "router_settings.model_group_alias": "write 'aliases'",
    "router_settings.allowed_fails_policy": "'allowed_fails' counts all failures",
    "router_settings.retry_after": "a provider names the time itself, and else pauses grow from a quarter of a second",
    "router_settings.optional_pre_call_checks": "a session stays with one deployment, see 'affinity_seconds'",
    "router_settings.deployment_affinity_ttl_seconds": "write 'affinity_seconds'",
    "router_settings.routing_strategy_args": "deployments that are as fast to a tenth take turns, and old times fade",
    "router_settings.routing_groups": "write 'routing_strategy' beside each model_name",
    "router_settings.redis_host": "write 'limits.store'",
    "router_settings.redis_url": "write 'limits.store'",
}

_DEADLINES: Final[Mapping[str, str]] = {
    "router_settings.timeout": "timeout",
    "router_settings.stream_timeout": "stream_timeout",
    "litellm_settings.request_timeout": "request_timeout",
}
"""Deadlines for all models, and our key for each at the top of the file, which comes first."""
_MOVED: Final = (
    *("num_retries", "retry_policy", "cooldown_time", "allowed_fails", "routing_strategy"),
    *("fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks"),
)
"""Words of `router_settings` and `litellm_settings` that have the same meaning at our top level."""

_HONOURED: Final = frozenset({"router_settings.disable_cooldowns", "router_settings.model_group_retry_policy"})

_OTHER_STRATEGIES: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("usage-based-routing", "usage-based-routing-v2"),
        "a deployment whose rpm or tpm is used up is passed over, and in place of usage-based-routing there is",
    ),
    "provider-budget-routing": "in place of provider-budget-routing there is",
}

SECTIONS: Final = frozenset({*_SETTINGS, *_IGNORED, "environment_variables", "credential_list"})
"""The keys of LiteLLM's file beside `model_list`."""


@dataclass(frozen=True, slots=True)
class Translated:
    """A configuration without LiteLLM's sections.

    Attributes:
        data: the other keys; what counts of the sections stands in `model_list`.
        moved: where the value of a key at the top level stands in the file.
        environ: the environment, and above it `environment_variables`, as in LiteLLM.
        warnings: one sentence for what is ignored, or counts in part.
    """

    data: dict[str, Any]
    moved: Mapping[str, KeyPath]
    environ: Mapping[str, str]
    warnings: list[str]

    def placed(self, problem: Problem) -> Problem:
        """The problem at the place in the file."""
        where = self.moved.get(str(problem.path[0])) if problem.path else None
        return problem if where is None else dataclasses.replace(problem, path=(*where, *problem.path[1:]))


def translated(data: Mapping[str, Any], environ: Mapping[str, str]) -> Translated:
    """`data` as the file has it, nothing in it checked or expanded yet."""
    rest = {key: value for key, value in data.items() if key not in SECTIONS}
    rest = {**dict(_deadlines(data)), **rest}
    drops = _says_yes(data, "litellm_settings", "drop_params")
    credentials = dict(_credentials(data.get("credential_list")))
    policies = _mapping(_mapping(data.get("router_settings")).get("model_group_retry_policy"))
    if isinstance(entries := rest.get("model_list"), list | tuple):
        rest["model_list"] = [_entry(entry, credentials, policies, drops=drops) for entry in entries]
    moved = dict(_moved(data))
    rest |= {name: _mapping(data[section])[key] for name, (section, key) in moved.items()}
    if _says_yes(data, "router_settings", "disable_cooldowns"):
        rest["cooldown_time"] = 0
    variables = dict(_variables(data.get("environment_variables"), environ))
    environ = {**environ, **variables} if variables else environ
    return Translated(rest, moved, environ, list(_warnings(data, moved, drops=drops)))


def stops_nothing(problem: Problem) -> bool:
    """Whether what is wrong with the text stands in a section of LiteLLM's, where LiteLLM takes it."""
    return bool(problem.path) and problem.path[0] in SECTIONS


def _deadlines(data: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, key in _DEADLINES.items():
        section, _, name = place.partition(".")
        value = _mapping(data.get(section)).get(name)
        ours_says_it = key == "timeout" and "request_timeout" in data
        if _is_seconds(value) and not ours_says_it:
            yield key, value


def _is_seconds(value: Any) -> bool:
    """A number, or the name of a variable that holds one."""
    return isinstance(value, str) or (isinstance(value, int | float) and not isinstance(value, bool) and value > 0)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _says_yes(data: Mapping[str, Any], section: str, key: str) -> bool:
    return str(_mapping(data.get(section)).get(key)).lower() == "true"


def _moved(data: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, str]]]:
    """Words for our top level, and where each stands. Ours come first, then those of the router."""
    for name in _MOVED:
        for section in ("router_settings", "litellm_settings"):
            value = _mapping(data.get(section)).get(name)
            if data.get(name) is None and value is not None and not _is_other_strategy(name, value):
                yield name, (section, name)
                break


def _is_other_strategy(name: str, value: Any) -> bool:
    return name == "routing_strategy" and value not in STRATEGIES


def _credentials(credentials: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for each in credentials if isinstance(credentials, list | tuple) else ():
        if isinstance(each, Mapping) and isinstance(values := each.get("credential_values"), Mapping):
            yield str(each.get("credential_name")), values


def _entry(
    entry: Any, credentials: Mapping[str, Mapping[str, Any]], policies: Mapping[str, Any], *, drops: bool
) -> Any:
    """What stands beside the model itself wins over its credential, and over what holds for all models."""
    params = entry.get("litellm_params") if isinstance(entry, Mapping) else None
    if not isinstance(params, Mapping):
        return entry
    given = dict(params)
    credential = credentials.get(str(given.get("litellm_credential_name")))
    if credential is not None:
        del given["litellm_credential_name"]
    shared: dict[str, Any] = {"drop_params": True} if drops else {}
    if (policy := policies.get(str(entry.get("model_name")))) is not None:
        shared["retry_policy"] = policy
    return {**entry, "litellm_params": {**shared, **(credential or {}), **given}}


def _variables(variables: Any, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """One that names another variable, which is not set, is not set either."""
    for name, value in variables.items() if isinstance(variables, Mapping) else ():
        expansion = Expansion(environ)
        if isinstance(value, str | int | float):
            text = expansion.expand(str(value))
            if not expansion.problems:
                yield str(name), text


def _warnings(data: Mapping[str, Any], moved: Mapping[str, KeyPath], *, drops: bool) -> Iterator[str]:
    for section, value in data.items():
        if section in _IGNORED:
            yield f"{section} is ignored: {_IGNORED[section]}"
        elif section == "environment_variables":
            yield (
                "environment_variables counts for ${NAME} and os.environ/NAME in this file alone: what a client of a "
                "provider finds in the environment, such as OPENAI_API_KEY, must be set there"
            )
        elif section in _SETTINGS:
            yield from _setting_warnings(section, value, moved, drops=drops)


def _setting_warnings(section: str, value: Any, moved: Mapping[str, KeyPath], *, drops: bool) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield f"{section} is ignored: {_PROXY}"
        return
    for name, said in ((str(name), said) for name, said in value.items()):
        key = format_path((section, name))
        if moved.get(name) == (section, name) or key in _HONOURED:
            continue
        if not is_a_name(name):  # where a colon was forgotten it is a secret
            yield f"a key of {section} that is no name is ignored: {_PROXY}"
        elif key in _DEADLINES:
            if value[name] is not None and not _is_seconds(value[name]):
                yield f"{key} is ignored: it is no number of seconds"
        elif _is_other_strategy(name, said):
            yield f"{key} is ignored: {_OTHER_STRATEGIES.get(str(said), 'it must be')} {' or '.join(STRATEGIES)}"
        elif name in _MOVED:
            yield f"{key} is ignored: '{format_path(moved.get(name, (name,)))}' says the same"
        elif drops and key == "litellm_settings.drop_params":
            yield f"{key} counts for the models that litellm translates; the direct handler sends what a client sends"
        else:
            yield f"{key} is ignored: {_INSTEAD.get(key, _PROXY)}"
