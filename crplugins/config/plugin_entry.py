"""PluginEntry: one's own plugin, named by its dotted path."""

import importlib
from types import ModuleType
from typing import Annotated, Any, ClassVar, Self

from pydantic import ConfigDict, PlainValidator, SerializeAsAny, model_validator

from crplugins.config.nearest import did_you_mean
from crplugins.config.section import Section, refusal
from crplugins.core.plugin import Plugin

PluginSource = type[Plugin] | Plugin


class PluginRefused(ValueError):
    """A plugin class did not take its options. The message names the class and the reason."""


def find_plugin(value: object) -> PluginSource:
    """The plugin class at a dotted path; in Python the class, or a plugin that is ready, may stand itself.

    Imports the module. Raises pydantic's error if there is none, or no plugin at that path.
    """
    found = _import(value) if isinstance(value, str) else value
    if isinstance(found, Plugin) or (isinstance(found, type) and issubclass(found, Plugin)):
        return found
    raise refusal("must be the dotted path of a class that extends crplugins.core.plugin.Plugin")


def _import(path: str) -> object:
    module_name, _, name = path.replace(":", ".").rpartition(".")
    if not module_name:
        raise refusal("must be a dotted path, such as my_company.filters.RedactEmails")
    module = _import_module(module_name)
    if not hasattr(module, name):
        raise refusal(f"the module '{module_name}' has no '{name}'{did_you_mean(name, vars(module))}")
    found: object = getattr(module, name)
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise refusal(f"there is no module '{error.name}'") from None
    except Exception as error:  # whatever the module's own code raises
        raise refusal(f"the module '{name}' cannot be imported ({type(error).__name__}: {error})") from None


class PluginEntry(Section):
    """`my_company.filters.RedactEmails`, or a mapping with `use` and the options of its constructor.

    Attributes:
        before, after: the name of the plugin it stands next to; without either it stands innermost, in list order.
    """

    model_config = ConfigDict(extra="allow")

    likeness: ClassVar[float] = 0.9  # options are the plugin's own words

    use: Annotated[SerializeAsAny[Any], PlainValidator(find_plugin)]
    before: str | None = None
    after: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare_path(cls, value: Any) -> Any:
        return value if isinstance(value, dict) else {"use": value}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.before is not None and self.after is not None:
            raise refusal("before or after, not both")
        if isinstance(self.use, Plugin) and self.others:
            raise refusal("options are for a class; this plugin is ready")
        return self

    @property
    def name(self) -> str:
        """The name other entries place themselves by."""
        return self.use.name if isinstance(self.use, Plugin) else self.use.__name__

    def make(self) -> Plugin:
        """The plugin. Raises `PluginRefused` if its class does not take the options."""
        if isinstance(self.use, Plugin):
            return self.use
        try:
            plugin: Plugin = self.use(**self.others)
        except Exception as error:  # the constructor of somebody else's class
            raise PluginRefused(f"{self.name} does not take its options ({self._told(error)})") from None
        return plugin

    def _told(self, error: Exception) -> str:
        text = f"{type(error).__name__}: {error}"
        for value in self.others.values():
            if isinstance(value, str) and value:
                text = text.replace(value, "...")
        return text
