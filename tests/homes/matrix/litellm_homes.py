"""Homes inside LiteLLM: its real proxy in processes of their own, and its SDK."""

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crplugins.core.principal import Principal
from crplugins.testing import FakeProvider
from tests.homes.matrix.home import HELLO, Home
from tests.homes.matrix.stage import Stage
from tests.homes.matrix.witness import Innermost, entries
from tests.homes.matrix.words import (
    ALIASES,
    BUDGETS,
    LIMITS,
    METRICS,
    POLICIES,
    PRICES,
    SCOPES,
    SERVED,
    SERVER,
    SESSION_BUDGET,
    UPSTREAM_KEY,
    ledger,
    secret,
    words,
)
from tests.proxy_setup import CALLBACK, ENTRY, running_proxy

SDK, PROXIES = "litellm-sdk", ("litellm-entry", "litellm-callback", "litellm-own-keys")


def _metadata(policy: dict[str, Any]) -> dict[str, str]:
    """What LiteLLM keeps of a key besides: its priority, where there is one."""
    return {"priority": policy["priority"]} if "priority" in policy else {}


OWN_KEYS = f'''
"""Keys that LiteLLM looks up itself: this is what its hooks are told of them."""
from fastapi import HTTPException
from litellm.proxy._types import UserAPIKeyAuth

KEYS = { {secret(key): (key, policy.get("team", key), _metadata(policy)) for key, policy in POLICIES.items()}!r}

async def user_api_key_auth(request, api_key):
    if api_key not in KEYS:
        raise HTTPException(401, "no such key")
    alias, team, metadata = KEYS[api_key]
    return UserAPIKeyAuth(api_key=api_key, key_alias=alias, team_id=team, team_alias=team, metadata=metadata)
'''


def own_keys_words(folder: Path) -> dict[str, Any]:
    """The words without keys: limits and budgets are those of LiteLLM's teams."""
    return {
        "aliases": ALIASES,
        "limits": {"per_team": LIMITS, **SCOPES},
        "budgets": {"per_team": BUDGETS, **SESSION_BUDGET},
        "ledger": ledger(folder),
        "metrics": METRICS,
        "server": SERVER,
        "plugins": entries(folder),
    }


@contextmanager
def proxy(name: str, folder: Path) -> Iterator[Home]:
    ours, more = words(folder), {}
    if name == "litellm-own-keys":
        (folder / "own_keys.py").write_text(OWN_KEYS)
        ours, more = own_keys_words(folder), {"litellm": {"custom_auth": "own_keys.user_api_key_auth"}}
    app = ENTRY if name == "litellm-entry" else CALLBACK
    with (
        running_proxy(folder, app, ours=ours, custom_auth=not more, journal=False, **more) as running,
        Stage() as stage,
    ):
        provider = stage.enter(FakeProvider(port=running.provider_port))
        yield Home(name, stage, provider, folder, running.url, log=running.log.read_text)


@dataclass
class Sdk(Home):
    """`litellm.acompletion` with UsageCallback. There is no server, and no key but the name of the caller."""

    metrics: Any = None

    def complete(self, key_id: str, *, stream: bool) -> None:
        self.stage.run(self._complete(key_id, stream))

    async def _complete(self, key_id: str, stream: bool) -> None:
        import litellm

        answer = await litellm.acompletion(
            model=f"openai/{SERVED}",
            messages=HELLO,
            stream=stream,
            stream_options={"include_usage": True} if stream else None,
            api_base=self.provider.base_url,
            api_key=UPSTREAM_KEY,
            max_retries=0,
            metadata={"caller": key_id},
        )
        if stream:
            async for _ in answer:
                pass

    def _samples(self) -> Iterator[tuple[str, dict[str, str], float]]:
        for family in self.metrics.registry.collect():
            yield from ((sample.name, sample.labels, sample.value) for sample in family.samples)


def _caller(call: Mapping[str, Any]) -> Principal:
    key_id = call["litellm_params"]["metadata"]["caller"]
    return Principal(key_id, team=POLICIES[key_id].get("team"))


@contextmanager
def sdk(folder: Path) -> Iterator[Home]:
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no look-up in the network
    import litellm

    from crplugins.homes.litellm_sdk import UsageCallback
    from crplugins.ledger.ledger import Ledger
    from crplugins.metering.price_table import prices_for
    from crplugins.plugins.metrics.plugin import Metrics

    with warnings.catch_warnings():  # its first call imports and compiles for a second
        warnings.simplefilter("ignore")
        litellm.completion(model="openai/x", messages=HELLO, mock_response="hello")
    metrics = Metrics([SERVED])
    callback = UsageCallback(
        ledger=Ledger(**ledger(folder)),
        metrics=metrics,
        principal=_caller,
        prices=prices_for(PRICES, dict),
        plugins=[Innermost(folder=str(folder))],
    )
    with Stage() as stage, ExitStack() as stack:
        stage.enter(callback)
        litellm.logging_callback_manager._reset_all_callbacks()
        litellm.callbacks = [callback]
        stack.callback(litellm.logging_callback_manager._reset_all_callbacks)
        yield Sdk(SDK, stage, stage.enter(FakeProvider()), folder, metrics=metrics)
