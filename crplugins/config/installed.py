"""Plugins of installed packages, found by the names that the packages declare.

A package declares them in its `pyproject.toml`:

    [project.entry-points."crplugins.plugins"]
    redact-emails = "redact_emails:RedactEmails"

Only a plugin that a configuration names is imported. Looking reads files, so it is done at start-up alone.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import Final

from crplugins.settings.errors import did_you_mean, one_line

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
    said = f"no installed package has a plugin '{name}'"
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
        raise PluginUnavailable(f"{whose} cannot be imported ({one_line(error)})") from None
    return loaded


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "a package"
