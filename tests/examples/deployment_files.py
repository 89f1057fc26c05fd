"""The files under examples/ that deploy the gateway, as data."""

import configparser
import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from crplugins.config import Config, load_config, parse_config
from crplugins.ledger.outbox import DRAIN_SECONDS
from tests.conftest import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
KUBERNETES = EXAMPLES / "kubernetes"
SYSTEMD = EXAMPLES / "systemd"

DRAIN = parse_config({}).server.shutdown_seconds + 5 * DRAIN_SECONDS
"""Seconds from SIGTERM to the end, at most: running answers, and then of the ledger twice the database's turn, twice the
spool's and the connections' end."""

EXAMPLE_VALUES = {
    "OPENAI_API_KEY": "sk-upstream-0123456789",
    "OPENAI_BASE_URL": "https://api.openai.com/v1",
    "DATABASE_URL": "postgresql://user:password@host:5432/crplugins",
    "REDIS_URL": "redis://host:6379/0",
    "METRICS_TOKEN": "a-token-of-metrics",
    "KEYS_PEPPER": "a-pepper-of-keys",
}


def documents(folder: Path) -> list[dict[str, Any]]:
    """What a kustomization applies."""
    listed = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [document for name in listed for document in yaml.safe_load_all((folder / name).read_text())]


def the(kind: str, folder: Path = KUBERNETES) -> dict[str, Any]:
    [found] = [document for document in documents(folder) if document["kind"] == kind]
    return found


def pod() -> dict[str, Any]:
    return the("Deployment")["spec"]["template"]


def container() -> dict[str, Any]:
    [found] = pod()["spec"]["containers"]
    return found


def secret() -> dict[str, Any]:
    return yaml.safe_load((KUBERNETES / "secret.example.yaml").read_text())


def plain_variables() -> dict[str, str]:
    """Those of the Deployment that are no secrets."""
    return {each["name"]: each["value"] for each in container()["env"]}


def kubernetes_environment() -> dict[str, str]:
    """What the container of the Deployment gets, with example values for secrets."""
    return {name: EXAMPLE_VALUES[name] for name in secret()["stringData"]} | plain_variables()


def unit() -> configparser.ConfigParser:
    """The unit file; of a name that is given twice the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(SYSTEMD / "crplugins.service")
    return parser


def systemd_environment() -> dict[str, str]:
    lines = (SYSTEMD / "environment.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return {name: value or EXAMPLE_VALUES[name] for name, value in given.items()}


def dockerfile() -> list[tuple[str, str]]:
    """Instructions with their arguments; lines that go on are one."""
    text = (EXAMPLES / "Dockerfile").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


def copied_from_the_checkout() -> list[str]:
    sources = [
        shlex.split(argument)[:-1] for word, argument in dockerfile() if word == "COPY" and "--from" not in argument
    ]
    return [source for each in sources for source in each]


def variables_in(file: Path) -> set[str]:
    """The environment variables that a configuration names."""
    lines = [line.split("#")[0] for line in file.read_text().splitlines()]
    return set(re.findall(r"\$\{(\w+)\}", "\n".join(lines)))


def config_of(file: Path, environ: dict[str, str]) -> Config:
    return load_config(file, environ)
