"""Which store the admin API of a gateway works on: that of the source its keys come from."""

from collections.abc import Iterator

from crplugins.keys.chain import Chain
from crplugins.keys.source import KeySource
from crplugins.keys.store import KeyStore


class NoStore(ValueError):
    """No source, or more than one, can be changed. The message is a sentence about the configuration's `keys`."""


def store_of(source: KeySource) -> KeyStore:
    """The store behind `source`, open as long as that is: what it changes counts here at once. Raises `NoStore`."""
    stores = list(_stores(source))
    if len(stores) != 1:
        count = "holds several" if stores else "holds no"
        raise NoStore(f"admin needs keys it can change, one {{file: ...}} or {{sql: ...}}; keys {count} such source")
    return stores[0]


def _stores(source: KeySource) -> Iterator[KeyStore]:
    for each in source.sources if isinstance(source, Chain) else [source]:
        store: KeyStore | None = getattr(each, "store", None)  # FileKeys and SqlKeys, which are not imported for this
        if store is not None:
            yield store
