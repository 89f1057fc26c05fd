"""python -m crplugins.handlers.litellm.survey: makes the table of providers, `providers.json`, out of litellm.

With the first release of litellm `--new`; with each further one what that does not confirm is taken out. `--check`
writes nothing, and fails where the installed release does not confirm the table.
"""

import asyncio
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, Final

import msgspec

from crplugins.core.network import Network
from crplugins.handlers.deployment import Deployment
from crplugins.handlers.http.client import HttpClient
from crplugins.handlers.litellm.asking import ConfiguredCalls
from crplugins.handlers.litellm.client import LitellmClient
from crplugins.handlers.litellm.loading import close_litellm, open_litellm, quiet
from crplugins.handlers.litellm.providers import FILE, Table, read_table
from crplugins.handlers.litellm.sign_in import SIGN_IN_PROVIDERS

_SIGNS_IN: Final = SIGN_IN_PROVIDERS | {"ragflow"}
"""Those whose look-up calls somebody, or needs more than a name."""

_SIGNING: Final = frozenset({"bedrock", "bedrock_mantle", "gigachat", "oci", "sagemaker", "sagemaker_chat", "sap"})
"""Those whose requests are signed, or carry a token that expires: a header that is always the same will not do."""

_OTHER_ANSWERS: Final = frozenset(
    {
        "ai21",
        "ai21_chat",
        "baseten",
        "codestral",
        "cohere",
        "cohere_chat",
        "custom_openai",
        "deepinfra",
        "empower",
        "featherless_ai",
        "friendliai",
        "galadriel",
        "github",
        "hyperbolic",
        "inception",
        "lambda_ai",
        "morph",
        "nscale",
        "nvidia_nim",
        "sambanova",
        "v0",
        "volcengine",
        "zai",
    }
)
"""Those whose answers are others on the fast path, as the test of both paths has found: litellm asks them twice, or
names their models otherwise, and Cohere's stream comes as lines that are no events."""


def survey(litellm: Any) -> Table:
    """The table for this litellm alone. No request leaves; a provider that tries to send one while it is asked how to,
    is not asked through its configuration."""
    known = frozenset(name for name in _names(litellm) if name not in _SIGNS_IN and _is_known(litellm, name))
    configured = frozenset(name for name in known - _SIGNING - _OTHER_ANSWERS if is_configured(litellm, f"{name}/any"))
    return Table((version("litellm"),), known, configured)


def is_configured(litellm: Any, model: str) -> bool:
    """Whether the plainest requests are the same on both paths, and nothing else is sent for them."""
    deployment = Deployment("survey", model, "http://127.0.0.1:9/v1", "sk-survey", MappingProxyType({}))
    calls = ConfiguredCalls(HttpClient(Network()))
    client = LitellmClient(litellm, deployment, Network(), calls, {model.partition("/")[0]})
    with _offline() as tried:
        try:
            client.learn(model)
            rehearsed = asyncio.run(client.rehearsed(model))
        except Exception:
            return False
    return rehearsed is not None and not tried


def _names(litellm: Any) -> list[str]:
    return [str(getattr(provider, "value", provider)) for provider in litellm.provider_list]


def _is_known(litellm: Any, name: str) -> bool:
    with quiet():
        try:
            found: str = litellm.get_llm_provider(f"{name}/any")[1]
        except Exception:
            return False
    return found == name


@contextmanager
def _offline() -> Iterator[list[object]]:
    """Refuses every connection, and notes it: what a request needs beside itself cannot be asked for.

    Threads that run already have nothing to do with the request, and connect as they like.
    """
    tried: list[object] = []
    others = set(threading.enumerate()) - {threading.current_thread()}

    def refusing(connect: Callable[..., Any]) -> Callable[..., Any]:
        def refuse(*arguments: Any, **words: Any) -> Any:
            if threading.current_thread() in others:
                return connect(*arguments, **words)
            tried.append(arguments)
            raise OSError("there is no network")

        return refuse

    connections: Any = socket.socket
    connect, look_up = connections.connect, socket.getaddrinfo
    connections.connect, socket.getaddrinfo = refusing(connect), refusing(look_up)
    try:
        yield tried
    finally:
        connections.connect, socket.getaddrinfo = connect, look_up


def main(arguments: list[str]) -> int:
    logging.disable(logging.CRITICAL)
    litellm = asyncio.run(open_litellm())
    found, table = survey(litellm), read_table()
    if "--check" in arguments:
        lost = sorted(table.providers - found.providers), sorted(table.configured - found.configured)
        sys.stderr.write("".join(f"not confirmed: {', '.join(names)}\n" for names in lost if names))
        return int(any(lost))
    if "--new" not in arguments:
        found = Table(
            tuple(dict.fromkeys((*table.litellm, *found.litellm))),
            table.providers & found.providers,
            table.configured & found.configured,
        )
    ordered = {"litellm": found.litellm, "providers": sorted(found.providers), "configured": sorted(found.configured)}
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(ordered), indent=1) + b"\n")
    asyncio.run(close_litellm())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
