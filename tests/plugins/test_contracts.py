"""Every plugin of ours keeps the contract that we ask of others."""

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crplugins.core.plugin import Plugin
from crplugins.plugins.aliases.plugin import ModelAliases
from crplugins.plugins.guard.plugin import RequestGuard
from crplugins.testing import PluginContract

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "own_plugin.py"))["RedactEmails"]


class TestRequestGuard(PluginContract):
    def make_plugin(self) -> Plugin:
        return RequestGuard()

    def refused_request(self) -> Mapping[str, Any]:
        return {**super().accepted_request(), "body": {"model": "m", "messages": []}}


class TestModelAliases(PluginContract):
    def make_plugin(self) -> Plugin:
        return ModelAliases(aliases={"m": "other", "gpt-*": "m"})


class TestModelAliasesThatRenameNothing(PluginContract):
    def make_plugin(self) -> Plugin:
        return ModelAliases(aliases={"m": "other"}, response_model="served")


class TestTheExample(PluginContract):
    def make_plugin(self) -> Plugin:
        plugin: Plugin = EXAMPLE()
        return plugin
