"""Which keys a command works on: those of `--source`, else those the configuration names."""

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from crplugins.cli.configuration import beside
from crplugins.cli.refused import Refused
from crplugins.config import Config, ConfigError, Problem, find_config, load_config, parse_config
from crplugins.core.final_newline import without_final_newline
from crplugins.core.principal import Priority
from crplugins.keys.audit import Author, os_actor
from crplugins.keys.inline import InlineKeys
from crplugins.keys.key import Key, utc_now
from crplugins.keys.opening import open_store, parts_of
from crplugins.keys.policy import LIMIT_KEYS
from crplugins.keys.secrets import has_valid_checksum
from crplugins.keys.service import KeyService
from crplugins.keys.source import SourceUnavailable
from crplugins.keys.store import KeyExists, KeyStore, NoSuchKey

T = TypeVar("T")

SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="FILE|URL",
        help="A keys file, sqlite:///gw.db or postgresql://... Without it: the keys of the configuration.",
    ),
]
PepperOption = Annotated[
    str | None,
    typer.Option("--pepper-env", metavar="NAME", help="The environment variable with the pepper of --source."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON alone on stdout.")]

Spec = str | Mapping[str, Any]
"""A file or URL, or `{file: ...}` / `{sql: ...}` of a configuration."""


def clock_of(context: typer.Context) -> Callable[[], datetime]:
    """The command's clock: the context's object, where whoever runs the command has put one."""
    return context.obj or utc_now


def read_config(option: Path | None) -> tuple[Config, Path | None]:
    """The configuration and its file. No model is looked up, so that litellm stays out. Raises `ConfigError`."""
    file = find_config(option)
    if file is None:
        return parse_config({}), None
    beside(file)
    config = load_config(file)
    for warning in config.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return config, file


def with_service(
    context: typer.Context,
    source: str | None,
    pepper_env: str | None,
    config_file: Path | None,
    work: Callable[[KeyService], Awaitable[T]],
    *,
    creates: bool = False,
) -> T:
    """Runs `work` on the keys the options name. Unless it `creates`, a file must be there."""
    with sentences():
        spec = source if source is not None else changeable(*read_config(config_file))
        if not creates:
            expect_file(spec)
        store = open_store(spec, pepper=pepper_of(pepper_env))
        return asyncio.run(_with_store(store, clock_of(context), work))


async def _with_store(store: KeyStore, now: Callable[[], datetime], work: Callable[[KeyService], Awaitable[T]]) -> T:
    async with store:
        return await work(KeyService(store, now=now, author=Author(os_actor(), "command", now=now)))


def all_keys(
    context: typer.Context, source: str | None, pepper_env: str | None, config_file: Path | None
) -> Sequence[Key]:
    """The keys of `--source`, or of every source of the configuration that knows its keys."""
    if source is not None:
        return with_service(context, source, pepper_env, config_file, lambda service: service.list())
    with sentences():
        config, file = read_config(config_file)
        parts = parts_of(config.keys)
        if not parts or all("jwt" in part for part in parts):
            changeable(config, file)  # which says why there are none
        if any("jwt" in part for part in parts):
            typer.echo("note: keys that are tokens are known to their issuer alone, and not shown", err=True)
        return sorted([key for part in parts for key in keys_of(part)], key=lambda key: key.id)


def one_key(
    context: typer.Context, key_id: str, source: str | None, pepper_env: str | None, config_file: Path | None
) -> Key:
    """The one with this id among `all_keys`."""
    keys = all_keys(context, source, pepper_env, config_file)
    found = next((key for key in keys if key.id == key_id), None)
    if found is None:
        raise Refused(str(NoSuchKey(key_id, [key.id for key in keys])))
    return found


@contextmanager
def sentences() -> Iterator[None]:
    """Failures of keys as the command's own: 1 for what was refused, 2 for usage and configuration."""
    try:
        yield
    except (NoSuchKey, KeyExists) as error:
        raise Refused(str(error)) from None
    except SourceUnavailable as error:
        raise Refused(f"the keys are unavailable: {error}") from None
    except ImportError as error:
        raise ConfigError([Problem((), str(error))]) from None


def changeable(config: Config, file: Path | None) -> Mapping[str, Any]:
    """The one `{file: ...}` or `{sql: ...}` of a configuration. Raises `ConfigError` that says what to do instead."""
    parts = parts_of(config.keys)
    stores = [part for part in parts if "file" in part or "sql" in part]
    if len(stores) == 1:
        return stores[0]
    message = _why_not(file, parts, stores)
    raise config.source.error([Problem(("keys",) if config.keys else (), message)])


def keys_of(part: Mapping[str, Any]) -> Sequence[Key]:
    """The keys of one source; none of `{jwt: ...}`. Raises `ConfigError`, `SourceUnavailable`."""
    if "keys" in part:
        return InlineKeys(part["keys"]).keys
    if "jwt" in part:
        return ()
    expect_file(part)
    return asyncio.run(_stored(part))


async def _stored(part: Mapping[str, Any]) -> Sequence[Key]:
    async with open_store(part) as store:
        return await store.list()


def pepper_of(name: str | None) -> str | None:
    if name is None:
        return None
    pepper = without_final_newline(os.environ.get(name, ""))
    if not pepper:
        raise typer.BadParameter(f"the environment variable {name} is not set", param_hint="--pepper-env")
    return pepper


def _why_not(file: Path | None, parts: list[Mapping[str, Any]], stores: list[Mapping[str, Any]]) -> str:
    if stores:
        return "holds several sources that can be changed; choose one with --source"
    if not parts:
        where = f"{file} names no keys" if file else "there is no configuration"
        return f"{where}; name them with --source keys.yaml or --source sqlite:///gw.db"
    if all("jwt" in part for part in parts):
        return "come from an identity provider, which alone can change them"
    return (
        "stand in the configuration itself, which no command changes. Move the list to a file of its own, "
        "keys.yaml, that begins with 'keys:' as here, and write 'keys: {file: keys.yaml}' in its place"
    )


def expect_file(spec: Spec) -> None:
    """A misspelt name is no empty set of keys."""
    path = _path_of(spec if isinstance(spec, str) else str(spec.get("file") or spec.get("sql")))
    if path is not None and not path.exists():
        raise ConfigError([Problem((), "there is no such file")], str(path))


def _path_of(source: str) -> Path | None:
    if source.startswith("sqlite:///"):
        return Path(source.removeprefix("sqlite:///").partition("?")[0])
    return None if "://" in source else Path(source)


_DURATION: Final = re.compile(r"(\d{1,9})([smhdw])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def duration(text: str) -> timedelta:
    """`24h`, `7d`, `30m`, `45s`, `2w`, and `0`."""
    match = _DURATION.fullmatch(text)
    if match is None and text != "0":
        raise typer.BadParameter(f"'{text}' is no duration such as 24h, 7d or 30m")
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else timedelta()


def key_id(text: str) -> str:
    """An id. A secret in its place is not repeated, as an unknown id would be."""
    if has_valid_checksum(text):
        raise typer.BadParameter("this is a secret; the key's id is wanted")
    return text


IdOption = Annotated[
    str, typer.Option("--id", parser=key_id, metavar="ID", help="The key's id, which cannot be changed.")
]
IdArgument = Annotated[str, typer.Argument(parser=key_id, metavar="ID", help="The key's id.")]
TeamOption = Annotated[str | None, typer.Option(help="The team it belongs to.")]
OwnerOption = Annotated[str | None, typer.Option(help="Who is responsible for it.")]
TagOption = Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A label of yours; may be repeated.")]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME", help="A model it may call, wildcards allowed; may be repeated. A new key without one: all."
    ),
]
ExpiresOption = Annotated[str | None, typer.Option(metavar="DATE", help="When the key ends, such as 2027-01-01 (UTC).")]
NotBeforeOption = Annotated[str | None, typer.Option(metavar="DATE", help="When the key begins, in the same form.")]
LimitOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND=N", help=f"A limit; may be repeated. Kinds: {', '.join(LIMIT_KEYS)}."),
]
BudgetOption = Annotated[
    str | None, typer.Option(metavar="USD/PERIOD", help="Such as 50/month, or usd=50/month; also day, week, total.")
]


class Shadow(StrEnum):
    """What of a key may refuse nothing; typer takes no `Literal` that may be repeated."""

    LIMITS = "limits"
    BUDGET = "budget"
    MODELS = "models"


ShadowOption = Annotated[
    list[Shadow] | None,
    typer.Option(help="What of it refuses nothing, and is only counted and logged; may be repeated."),
]

PriorityOption = Annotated[
    Priority | None, typer.Option(help="Whose requests are refused first when the gateway is full. A new key: normal.")
]

AdminOption = Annotated[
    bool,
    typer.Option("--admin", help="The key opens the routes of LiteLLM's proxy and of vLLM that clients may not use."),
]


def words_of(
    *,
    tag: Iterable[str] | None,
    model: list[str] | None,
    limit: Iterable[str] | None,
    budget: str | None,
    shadow: list[Shadow] | None,
    **plain: Any,
) -> dict[str, Any]:
    """The words of the options that were given."""
    words: dict[str, Any] = {
        **plain,
        "tags": dict(_pair(text, "--tag") for text in tag or ()),
        "models": model,
        "limits": {name: _whole(value) for name, value in (_pair(text, "--limit") for text in limit or ())},
        "budget": budget and _budget(budget),
    }
    for name in shadow or ():
        if not words[name]:
            raise typer.BadParameter(f"there is no --{name.removesuffix('s')} that could be one", param_hint="--shadow")
        if name is Shadow.MODELS:
            words["models_shadow"] = True
        else:
            words[name] = {**words[name], "shadow": True}
    return {name: value for name, value in words.items() if value not in (None, {}, [])}


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign):
        raise typer.BadParameter(f"'{text}' is not of the form name=value", param_hint=option)
    return name, value


def _whole(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _budget(text: str) -> Mapping[str, str]:
    amount, slash, period = text.removeprefix("usd=").partition("/")
    if not slash:
        raise typer.BadParameter(f"'{text}' is not of the form 50/month", param_hint="--budget")
    return {"usd": amount, "period": period}
