"""Which version of a package is installed, without importing it."""

from functools import cache


@cache
def installed_version(package: str) -> str | None:
    """None if it is not installed. Blocks in the first call.

    `importlib.metadata.version` would parse all that the package says of itself as a mail, its README too: 2 ms.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        said = distribution(package).read_text("METADATA") or ""
    except PackageNotFoundError:
        return None
    return said.partition("\nVersion:")[2].partition("\n")[0].strip()
