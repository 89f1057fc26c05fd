"""Imported by a warm Python: all that `crplugins` imports for any command, and builds before it reads a configuration.

Beside its imports, half a second of CPU for each command: pydantic builds what checks a configuration when the first is
read, and the certificates that an upstream is trusted by are read with the first of them.
"""

import gc
import importlib
import pkgutil

import crplugins.cli
from crplugins.config.load import parse_config
from crplugins.core.without_collector import without_collector
from crplugins.homes.gateway.app import Gateway
from tests.trust import share_trust

share_trust()
for module in pkgutil.walk_packages(crplugins.cli.__path__, "crplugins.cli."):
    importlib.import_module(module.name)
for name in (
    "aiosqlite", "asyncpg", "openai", "uvicorn.lifespan.on", "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl", "uvloop", "crplugins.homes.metrics",
    "crplugins.ledger.ledger", "crplugins.sql.migrate", "crplugins.testing.provider",
):  # fmt: skip
    importlib.import_module(name)
params = {"model": "openai/m", "api_base": "http://127.0.0.1:1/v1", "api_key": "sk-upstream-key"}
keys = [{"id": "a-key", "secret": "sk-0123456789abcdef"}]
config = parse_config({"model_list": [{"model_name": "m", "litellm_params": params}], "keys": keys})
Gateway.from_config(config)
for deployment in config.deployments():
    deployment.network()
gc.freeze()
with without_collector():  # finds that something is frozen, and does not count it again
    pass
