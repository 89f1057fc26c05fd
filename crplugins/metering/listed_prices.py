"""ListedPrices: the list of prices that counts now, and where it is from.

That is the file or the address of `prices`, read again while the gateway runs; else the table of the installed litellm;
else the list of genai-prices. One list counts, and never two at once: a price is then where its reader looks for it.
"""

import os
import time
from base64 import b64encode
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit
from weakref import WeakSet

import msgspec

from crplugins.core.installed import installed_version
from crplugins.core.network import Network
from crplugins.metering.price_table import Forgetful, PricesByModel, PriceTable

MAX_BYTES: Final = 32 * 1024 * 1024
"""Of a list of prices; litellm's has 2 MB."""

FETCH_SECONDS: Final = 20.0
"""For a list at an address."""

_READ_SECONDS: Final = 5.0
_PIECE: Final = 1 << 16
_REDIRECTIONS: Final = (301, 302, 303, 307, 308)
_TOO_LONG: Final = f"it is longer than {MAX_BYTES} bytes"


class NoPriceList(ValueError):
    """A list of prices that cannot be had, or is none. The message holds no address: it may have a password in it."""


@cache
def installed_prices() -> PricesByModel:
    """The installed list, read on the first call; one per process, because it takes megabytes. Blocks for 0.3 s."""
    if find_spec("litellm") is not None:
        return PriceTable.load()
    from crplugins.metering.genai_table import GenaiTable  # needed only here

    return GenaiTable.load()


@cache
def installed_source() -> str:
    """Which list that is, without reading it. Blocks in the first call."""
    for package, module, called in (
        ("litellm", "litellm", "the table of litellm"),
        ("genai-prices", "genai_prices", "the list of genai-prices"),
    ):
        if find_spec(module) is not None:
            return f"{called} {installed_version(package)}"
    return "no list, as neither litellm nor genai-prices is installed"


class NewList(msgspec.Struct, frozen=True):
    """A list that was read, and what the file system or the server knows it by."""

    prices: PricesByModel
    mark: str


class ListedPrices:
    """The list of prices that counts. Calling it gives the list.

    Args:
        file: a list in LiteLLM's format; it takes the place of the installed one.
        url: the address of such a list. Until it has been fetched for the first time the installed one counts.
        refresh_seconds: how often it is looked for anew.

    Attributes:
        refresh_seconds: likewise; None where there is nothing to read again.
    """

    def __init__(self, *, file: str | None = None, url: str | None = None, refresh_seconds: float = 3600) -> None:
        self._file, self._url = file, url
        self.refresh_seconds: Final = None if file is None and url is None else refresh_seconds
        self._current: PricesByModel | None = None
        self._read_at = ""
        self._mark = ""
        self._failure: str | None = None
        self._watchers: WeakSet[Forgetful] = WeakSet()

    def __call__(self) -> PricesByModel:
        """Blocks in the first call. Raises `NoPriceList` for a `file` that never could be read."""
        if self._current is None and self._file is not None:
            self.refresh()
        return self._current if self._current is not None else installed_prices()

    @property
    def place(self) -> str:
        """Where the list is looked for, for operators: the key of the configuration, and the file or the address,
        without what may be secret in it."""
        if self._file is not None:
            return f"prices.file {self._file}"
        parts = urlsplit(self._url or "")
        return f"prices.url {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def source(self) -> str:
        """Which list counts, as a sentence without an address or a path: clients may read it."""
        place = "prices.file" if self._file is not None else "prices.url"
        counts = installed_source() if self._current is None else f"the list of {place}, read at {self._read_at}"
        failed = f"; {place} cannot be read: {self._failure}" if self._failure is not None else ""
        return counts + failed

    def watch(self, cache: Forgetful) -> None:
        """`cache` is cleared when another list counts, as long as somebody holds it."""
        self._watchers.add(cache)

    def refresh(self) -> bool:
        """Read the list again, if it is another one, and use it; whether it was. Blocks.

        Raises `NoPriceList`; then the last good list goes on to count.
        """
        found = self.read()
        if found is not None:
            self.use(found)
        return found is not None

    def read(self) -> "NewList | None":
        """The list, if it is another one. Blocks. Raises `NoPriceList`."""
        try:
            read = self._read()
            self._failure = None
            return None if read is None else NewList(_checked(read[0], self._current), read[1])
        except NoPriceList as error:
            self._failure = str(error)
            raise

    def use(self, found: "NewList") -> None:
        """From now on it counts. For the thread that looks prices up: it could keep an old one that it just finds."""
        self._current, self._mark = found.prices, found.mark
        self._read_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for each in self._watchers:
            each.cache_clear()

    def _read(self) -> tuple[bytes, str] | None:
        """The document, and what the file system or the server knows it by; None if it is the one that counts."""
        try:
            if self._file is not None:
                return _of_file(Path(self._file), self._mark)
            return _of_url(self._url or "", self._mark)
        except NoPriceList:
            raise
        except OSError as error:
            raise NoPriceList(error.strerror or type(error).__name__) from None
        except ValueError as error:  # of the environment, which names a proxy or certificates that are none
            raise NoPriceList(str(error)) from None


def _checked(document: bytes, before: PricesByModel | None) -> PricesByModel:
    """Raises `NoPriceList` for what is no list, or half of one: a truncated list would leave models without a price."""
    try:
        table = PriceTable.read(document)
    except ValueError:
        raise NoPriceList("it is no JSON object of models") from None
    if not len(table):
        raise NoPriceList("it has no price of a token")
    if before is not None and len(table) < len(before) / 2:
        raise NoPriceList(f"it has {len(table)} prices, of {len(before)} before: less than half")
    return table


def _of_file(file: Path, known: str) -> tuple[bytes, str] | None:
    with file.open("rb") as opened:
        found = os.fstat(opened.fileno())
        mark = f"{found.st_ino} {found.st_mtime_ns} {found.st_size}"
        if mark == known:
            return None
        document = opened.read(MAX_BYTES + 1)
    if len(document) > MAX_BYTES:
        raise NoPriceList(_TOO_LONG)
    return document, mark


def _of_url(url: str, known: str) -> tuple[bytes, str] | None:
    """The standard library's client: it asks once an hour, in a thread, and the base install has no other."""
    import urllib.error
    import urllib.request
    from http.client import HTTPException

    network = Network()
    proxy = network.proxy(url)

    class NoRedirect(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            """Another address would be sent the password of this one."""

    handlers = [
        NoRedirect(),
        urllib.request.ProxyHandler({} if proxy is None else {url.partition(":")[0]: proxy}),
        urllib.request.HTTPSHandler(context=network.tls),
    ]
    parts = urlsplit(url)
    headers = {"if-none-match": known} if known else {}
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = urllib.request.Request(bare, headers=headers)  # noqa: S310
    end = time.monotonic() + FETCH_SECONDS
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_READ_SECONDS) as answer:
            document = bytearray()
            while piece := answer.read1(_PIECE):
                document += piece
                if len(document) > MAX_BYTES:
                    raise NoPriceList(_TOO_LONG)
                if time.monotonic() > end:
                    raise NoPriceList(f"it takes longer than {FETCH_SECONDS:g} s")
            return bytes(document), answer.headers.get("etag", "")
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 304 and known:
                return None
            moved = ", a redirection, which is not followed" if error.code in _REDIRECTIONS else ""
            raise NoPriceList(f"status {error.code}{moved}") from None
    except (HTTPException, UnicodeError) as error:
        raise NoPriceList(type(error).__name__) from None
