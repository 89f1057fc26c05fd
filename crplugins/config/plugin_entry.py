"""PluginEntry: one's own plugin, named by its dotted path or by the name its package declares."""

import importlib
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import (
    ConfigDict,
    Field,
    PlainValidator,
    PrivateAttr,
    SerializeAsAny,
    model_validator,
)
from pydantic.functional_validators import ModelWrapValidatorHandler

from crplugins.config.plugin_options import make_plugin
from crplugins.core.plugin import Plugin
from crplugins.settings.errors import did_you_mean, error_line
from crplugins.settings.reading import is_a_name
from crplugins.settings.section import Section, refusal

# Plugins of installed packages, found by the names that the packages declare.
#
# A package declares them in its `pyproject.toml`:
#
#     [project.entry-points."crplugins.plugins"]
#     redact-emails = "redact_emails:RedactEmails"
#
# Only a plugin that a configuration names is imported. Looking reads files, so it is done at start-up alone.


GROUP: Final = "crplugins.plugins"


class PluginUnavailable(LookupError):
    """No plugin can be had by this name. The message says why."""


def installed_plugin(name: str) -> object:
    """What the package that declares `name` offers under it; imports that package.

    Raises `PluginUnavailable` if no package declares it or several do, or if it cannot be imported.
    """
    declared = entry_points(group=GROUP)
    found = [point for point in declared if point.name == name]
    if not found:
        raise PluginUnavailable(_unknown(name, {point.name for point in declared}))
    if len(found) > 1:
        raise PluginUnavailable(_several(name, found))
    return _loaded(found[0])


def _unknown(name: str, known: set[str]) -> str:
    shown = f"'{name}'" if is_a_name(name) else "of this name"
    said = f"no installed package has a plugin {shown}"
    if meant := did_you_mean(name, known):
        return said + meant
    return f"{said}; a class is named by its dotted path, such as my_company.filters.RedactEmails"


def _several(name: str, found: list[EntryPoint]) -> str:
    packages = sorted(_package(point) for point in found)
    path = min(f"{point.module}.{point.attr}" for point in found)
    return f"{' and '.join(packages)} each have a plugin '{name}'; name one by its dotted path, such as {path}"


def _loaded(point: EntryPoint) -> object:
    try:
        loaded: object = point.load()
    except (Exception, SystemExit) as error:  # whatever the package's own code raises
        whose = f"the plugin '{point.name}' of {_package(point)}"
        raise PluginUnavailable(f"{whose} cannot be imported ({error_line(error)})") from None
    return loaded


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package"


PluginSource = type[Plugin] | Plugin


def find_plugin(value: object) -> PluginSource:
    """The plugin class at a dotted path or of an installed package; in Python it, or a ready plugin, may stand itself.

    A word with a dot or a colon always is a path, any other a name that a package declares. Imports the module. Raises
    pydantic's error if there is none, or no plugin.
    """
    found = value
    if isinstance(value, str):
        found = _import(value) if _is_path(value) else _installed(value)
    if isinstance(found, Plugin) or (isinstance(found, type) and issubclass(found, Plugin)):
        return found
    where = "lead to" if isinstance(value, str) else "be"
    raise refusal(f"must {where} a class that extends crplugins.Plugin")


def _is_path(word: str) -> bool:
    return "." in word or ":" in word


def _installed(name: str) -> object:
    try:
        return installed_plugin(name)
    except PluginUnavailable as error:
        raise refusal(str(error)) from None


def _import(path: str) -> object:
    module_name, _, name = path.replace(":", ".").rpartition(".")
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
    except (Exception, SystemExit) as error:  # whatever the module's own code raises
        raise refusal(f"the module '{name}' cannot be imported ({error_line(error)})") from None


class PluginEntry(Section):
    """`redact-emails`, `my_company.filters.RedactEmails`, or a mapping with `use` and options of the constructor.

    Without `before` or `after` a plugin stands innermost, in list order.
    """

    model_config = ConfigDict(extra="allow")

    likeness: ClassVar[float] = 0.9  # options are the plugin's own words

    use: Annotated[SerializeAsAny[Any], PlainValidator(find_plugin)] = Field(examples=["crplugins.Plugin"])
    """The name that an installed package declares, or a dotted path to the class."""

    before: str | None = Field(default=None, examples=["RequestGuard"])
    """The plugin right outside of which it stands: the name of its class, or what `use` says in another entry."""

    after: str | None = Field(default=None)
    """The plugin right inside of which it stands, named in the same way; instead of `before`."""

    _word: str | None = PrivateAttr(default=None)

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """A name alone is `use`, and what `use` says is kept for `names`."""
        given = value if isinstance(value, dict) else {"use": value}
        entry = handler(given)
        entry._word = given["use"] if isinstance(given["use"], str) else None
        return entry

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.before is not None and self.after is not None:
            raise refusal("before or after, not both")
        if isinstance(self.use, Plugin) and self.others:
            raise refusal("options are for a class; this plugin is ready")
        return self

    @property
    def name(self) -> str:
        """The name of its class, or the one that a ready plugin gives itself."""
        return self.use.name if isinstance(self.use, Plugin) else self.use.__name__

    @property
    def names(self) -> frozenset[str]:
        """What other entries may call it in `before` and `after`."""
        return frozenset({self.name} if self._word is None else {self.name, self._word})

    def make(self) -> Plugin:
        """The plugin. Raises `OptionsRefused` if its class does not take the options."""
        return self.use if isinstance(self.use, Plugin) else make_plugin(self.use, self.others)
