"""An environment with what a reader has installed, and nothing else: this one, in which the rest cannot be imported."""

import os
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import CHECKOUT
from tests.warm import WarmPython

_CONFINEMENT = Path(__file__).parent / "confinement"

_BEYOND = {"rq": ("redis",)}
"""What is needed by packages that are not here, though told to be installed: litellm's `proxy` extra has rq."""

VALUES = {
    "OPENAI_API_KEY": "sk-upstream-0123456789",
    "ANTHROPIC_API_KEY": "sk-upstream-9876543210",
    "DEEPSEEK_API_KEY": "sk-upstream-5555555555",
    "TEAM_A_KEY": "sk-team-a",
    "ADMIN_TOKEN": "admin-token-0123456789",
    "TLS_PASSWORD": "of-the-key-0123456789",
    "ANN_TOKEN": "token-of-ann-0123456789",
    "WEBHOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "RESPONSES_SECRET": "of-the-ids-of-responses-0123456789",
    "CI_TOKEN": "token-of-ci-0123456789",
    "METRICS_TOKEN": "metrics-token",
    "KAFKA_PASSWORD": "password-of-kafka",
}
"""What pages take from the environment."""


def environment_of(told: Iterable[str], folder: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The variables of a process that has only these requirements; it may import what is in `folder`, too."""
    paths = os.pathsep.join(map(str, (_CONFINEMENT, folder, CHECKOUT)))
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        **VALUES,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "PYTHONPATH": paths,
        "REFUSED_MODULES": ",".join(sorted(refused(tuple(told)))),
        **(more or {}),
    }


@cache
def refused(told: tuple[str, ...]) -> frozenset[str]:
    """The top-level modules that are installed here, and would not be with these requirements alone."""
    allowed = closure(told)
    return frozenset(
        module
        for module, distributions in _installed().items()
        if module.isidentifier() and not allowed & {canonicalize_name(name) for name in distributions}
    )


@cache
def _installed() -> Mapping[str, list[str]]:
    """The distributions of each top-level module. Half a second: it reads what each of them has installed."""
    return packages_distributions()


@cache
def _needed(name: str) -> tuple[Requirement, ...]:
    return tuple(map(Requirement, requires(name) or ()))


def closure(told: Iterable[str]) -> set[str]:
    """The distributions that pip would install for these requirements, as far as they are here."""
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(each) for each in told]
    while waiting:
        requirement = waiting.pop()
        state = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if state in seen:
            continue
        seen.add(state)
        try:
            needed = _needed(requirement.name)
        except PackageNotFoundError:
            needed = tuple(map(Requirement, _BEYOND.get(state[0], ())))
        waiting += [each for each in needed if _applies(each, requirement.extras)]
    return {name for name, _ in seen}


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, ""))


@cache
def python_of(refused_modules: str, imported: tuple[str, ...]) -> WarmPython:
    """A Python that has only what an `environment_of` has, and its imports done."""
    paths = os.pathsep.join(map(str, (_CONFINEMENT, CHECKOUT)))
    environ = {"PYTHONPATH": paths, "REFUSED_MODULES": refused_modules}
    return WarmPython(*imported, environ=environ)


GATEWAY = ("crplugins.cli.app", "crplugins.ledger.ledger", "crplugins.homes.gateway.app")


def python_command(environ: Mapping[str, str], imported: tuple[str, ...] = GATEWAY) -> list[str]:
    """In the place of `sys.executable`, for a process with these variables."""
    return python_of(environ["REFUSED_MODULES"], imported).command


CRPLUGINS = ("-c", "from crplugins.cli import main; main()")
"""The command, behind a Python. The installed script is that of this environment, in which all is there."""
