"""What LiteLLM's router serves: names, providers and prices, read where LiteLLM keeps them."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from crplugins.config import Config
from crplugins.config.schema import DEMO_MODEL
from crplugins.core.bounded_map import BoundedMap
from crplugins.core.errors import GatewayError, model_not_found
from crplugins.core.exchange import Exchange
from crplugins.core.parameters import CHAT_PARAMETERS, FURTHER_MODELS, by_normal_form, normal_form
from crplugins.core.patterns import NameSet
from crplugins.core.plugin import Plugin
from crplugins.core.request_json import LONGEST_NAME, check_one_model
from crplugins.core.usage import Price
from crplugins.homes.parts import Prices
from crplugins.metering.listed_prices import installed_prices
from crplugins.metering.price_table import prices_for

_PROXY: Final = "litellm.proxy.proxy_server"


def router() -> Any:
    """The running proxy's router; None before there is one."""
    return getattr(sys.modules.get(_PROXY), "llm_router", None)


def served_names(config: Config) -> list[str]:
    """The router's names; before it is there, those of our file or else of LiteLLM's."""
    running = router()
    if running is not None:
        return list(dict.fromkeys(running.get_model_names()))
    names = [entry.model_name for entry in config.model_list if entry.model_name != DEMO_MODEL]
    return names or list(dict.fromkeys(_written(os.environ)))


def _written(environ: Mapping[str, str]) -> Iterator[str]:
    """The names in the file that LiteLLM will read."""
    file = environ.get("CONFIG_FILE_PATH") or _worker_file(environ.get("WORKER_CONFIG", ""))
    if not file or not Path(file).is_file():
        return
    document = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    for entry in (document.get("model_list") if isinstance(document, dict) else None) or ():
        if isinstance(entry, dict) and isinstance(entry.get("model_name"), str):
            yield entry["model_name"]


def _worker_file(worker: str) -> str | None:
    """`WORKER_CONFIG` is a path, or the options of LiteLLM's command line as JSON."""
    if not worker.lstrip().startswith("{"):
        return worker or None
    found = json.loads(worker).get("config")
    return found if isinstance(found, str) else None


class RouterPrices:
    """The price of a name the router serves: its deployment's `model_info`, else LiteLLM's table.

    Of several deployments that of the most expensive, and none if any of them has none. `fallback` is the price of a
    deployment whose own is unknown.
    """

    def __init__(self, fallback: Price | None = None) -> None:
        self._fallback = fallback
        self._known: BoundedMap[str, Price | None] = BoundedMap(1024)  # behind a wildcard names come from clients

    def __call__(self, model: str) -> Price | None:
        if model not in self._known:
            running = router()
            if running is None:
                return self._fallback
            self._known[model] = self._price(running, model)
        return self._known[model]

    def _price(self, running: Any, model: str) -> Price | None:
        deployments = running.get_model_list(model_name=model) or ()
        if not deployments and running.has_model_id(model):  # LiteLLM takes the id of a deployment for its name
            deployments = [running.get_deployment(model_id=model).model_dump()]
        prices = [self._fallback if (price := _price(each, model)) is None else price for each in deployments]
        known = [price for price in prices if price is not None]
        if len(known) < len(prices) or not known:
            return self._fallback
        return max(known, key=lambda price: price.input + price.output)


def _price(deployment: Mapping[str, Any], model: str) -> Price | None:
    parameters = deployment.get("litellm_params") or {}
    # A price may stand beside `model` too; the router copies what it knows itself into `model_info`.
    info = {**(deployment.get("model_info") or {}), **{k: v for k, v in parameters.items() if "cost" in k}}
    try:
        return prices_for(info, installed_prices)(str(parameters.get("model", model)))
    except ValueError:
        return None


_JUDGED: Final = by_normal_form(CHAT_PARAMETERS | FURTHER_MODELS)
_COUNTED: Final = by_normal_form(("max_completion_tokens", "max_tokens", "n", "stream"))
_BESIDE: Final[Mapping[str, Mapping[str, str]]] = {"extra_body": _JUDGED, "additional_drop_params": _COUNTED}
"""Parameters of LiteLLM's that change others on their way, and which of them the plugins have judged before."""

_IN_ITS_PLACE: Final = (
    "azure", "context_window_fallback_dict", "custom_llm_provider", "deployment_id", "litellm_credential_name",
)  # fmt: skip
"""Parameters with which a client has another model, another provider or another account asked than the one that stands
for the name in `model`. LiteLLM judges none of them, with its own keys neither."""


class ServedModels(Plugin):
    """Refuses a name LiteLLM does not serve with OpenAI's 404, where LiteLLM would say 400. Stands innermost.

    Args:
        own_keys: whether callers have keys of ours. LiteLLM then judges no model, and one that stands in its parameters
            for routing has been judged by nobody: no list of models, no limit.
    """

    reads_body = True

    def __init__(self, prices: Prices, *, own_keys: bool) -> None:
        self._prices = prices
        self._own_keys = own_keys

    def on_request(self, exchange: Exchange) -> None:
        assert exchange.body is not None, "reads_body"
        fields = exchange.body.fields
        for parameter in _IN_ITS_PLACE:
            if parameter in exchange.body:
                _check_in_its_place(parameter, exchange.body.get(parameter))
        if self._own_keys:
            check_one_model({name: value for name, value in fields.items() if name not in _BESIDE})
        for parameter, judged in _BESIDE.items():
            if parameter in exchange.body:
                _check_beside(parameter, exchange.body.get(parameter), judged)
        name = exchange.body.get("model", str)
        running = router()
        if name is not None and running is not None and not is_served(running, name):
            raise model_not_found(exchange.requested_model or name)

    def on_finish(self, exchange: Exchange) -> None:
        if exchange.price is None:
            exchange.price = self._prices(_group_of(exchange))


def _check_in_its_place(parameter: str, value: object) -> None:
    if value is not None and value is not False:
        message = f"Unsupported parameter: '{parameter}' is not supported here. 'model' alone says what is asked."
        raise GatewayError(400, message, param=parameter, code="unsupported_parameter")


def _check_beside(parameter: str, value: object, judged: Mapping[str, str]) -> None:
    for name in value if isinstance(value, dict | list) else ():
        known = judged.get(normal_form(str(name)[:LONGEST_NAME]))
        if known is not None:
            message = f"Unsupported parameter: '{parameter}' must not name '{known}', which stands beside it."
            raise GatewayError(400, message, param=f"{parameter}.{known}", code="unsupported_parameter")


def _group_of(exchange: Exchange) -> str:
    return (exchange.body.get("model", str) if exchange.body is not None else None) or exchange.served_model or ""


def is_served(running: Any, name: str) -> bool:
    """Whether the router has a way for `name`; it decides itself where it has one for everything."""
    if getattr(running, "default_deployment", None) is not None or getattr(running, "default_fallbacks", None):
        return True
    litellm = sys.modules["litellm"]
    if name in getattr(litellm, "model_alias_map", ()) or running.has_model_id(name):
        return True
    return name in NameSet([*running.get_model_names(), *(running.model_group_alias or ())])


def serves(name: str) -> bool:
    """The same for the running proxy's router; before there is one, nothing is known."""
    running = router()
    return running is None or is_served(running, name)
