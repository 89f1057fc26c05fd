"""The configuration: one YAML file, or the same keys written in Python.

    config = load_config("gateway.yaml")
    config = parse_config({"model_list": [...], "server": {"port": 8080}})

Both raise `ConfigError`, which names every key at fault, its line and the nearest known key.
"""

from crplugins.config.litellm_params import LitellmParams
from crplugins.config.load import find_config, load_config, parse_config
from crplugins.config.models import ModelEntry, ModelInfo
from crplugins.config.placement import arrange_plugins
from crplugins.config.plugin_entry import PluginEntry
from crplugins.config.schema import Config, Guard
from crplugins.config.server import Server
from crplugins.settings.errors import ConfigError, KeyPath, Problem

__all__ = [
    "Config",
    "ConfigError",
    "Guard",
    "KeyPath",
    "LitellmParams",
    "ModelEntry",
    "ModelInfo",
    "PluginEntry",
    "Problem",
    "Server",
    "arrange_plugins",
    "find_config",
    "load_config",
    "parse_config",
]
