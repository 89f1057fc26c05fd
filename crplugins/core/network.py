"""Network: how this process reaches other servers over HTTP, by its environment: through which proxy, trusting whom.

The one place for all that call out: both handlers, the keys of an issuer of tokens, and what litellm asks a server of
Ollama at the start. Each HTTP client has rules of its own for these variables; with one of ours they cannot differ.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: the proxy for http://, for https://, and for whichever has none of its own.
NO_PROXY: who is reached without one: *, names with all below them, name:port, addresses, networks (10.0.0.0/8).
SSL_VERIFY: false, or a file of certificates.
SSL_CERT_FILE, REQUESTS_CA_BUNDLE: a file of certificates in the place of the usual ones; the first that exists.

The names of the proxies may also be written small, and are then the ones that count. The usual certificates are those
of the operating system and those of the package certifi, if it is there: one of them is often missing.
"""

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, lru_cache
from importlib import import_module
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from crplugins.core.final_newline import without_final_newline

SslVerify = bool | str | None
"""A deployment's own word: false, a file of certificates, or true and None for what the environment says."""

_CERTIFICATE_FILES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PORTS: Final = {"http": 80, "https": 443}


class Network:
    """Reads the environment and the certificates when it is made: make it in a thread.

    Raises `ValueError`, which names the variable or `ssl_verify`, for a proxy that cannot be used and for a file that
    holds no certificates.

    Attributes:
        tls: how the certificates of servers are judged.
    """

    def __init__(self, ssl_verify: SslVerify = None, environ: Mapping[str, str] = os.environ) -> None:
        self._proxies = {scheme: _proxy(scheme, environ) for scheme in _PORTS}
        self._without = _without_proxy(environ)
        self.tls: Final = _tls(ssl_verify, environ)
        self._found: dict[tuple[str, str, int], str | None] = {}

    def proxy(self, url: str) -> str | None:
        """The URL of the proxy for `url`, perhaps with user and password; None to go without."""
        parts = urlsplit(url)
        scheme, host = parts.scheme, (parts.hostname or "").rstrip(".")
        server = (scheme, host, parts.port or _PORTS.get(scheme, 0))
        if server not in self._found:  # few: the hosts of one deployment
            self._found[server] = None if _is_listed(self._without, *server[1:]) else self._proxies.get(scheme)
        return self._found[server]


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: no private network, no machine of one's own, no cloud's metadata.

    An address that holds another one (IPv4 in IPv6) is judged by that.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        nat64 = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or nat64 or ip
    return ip.is_global and not ip.is_multicast


_NAT64: Final = IPv6Network("64:ff9b::/96")


def _variable(name: str, environ: Mapping[str, str]) -> str:
    return without_final_newline(environ.get(name.lower(), environ.get(name, ""))).strip()


def _proxy(scheme: str, environ: Mapping[str, str]) -> str | None:
    own = f"{scheme}_proxy".upper()
    if own == "HTTP_PROXY" and "REQUEST_METHOD" in environ:  # of a CGI program, where clients choose it (httpoxy)
        own = "http_proxy"
    name = own if _variable(own, environ) else "ALL_PROXY"
    proxy = _variable(name, environ)
    if not proxy:
        return None
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    if not proxy.lower().startswith(("http://", "https://")) or not has_host(proxy):
        raise ValueError(f"{name} must be an http:// or https:// URL; other proxies cannot be used")
    return proxy


def has_host(url: str) -> bool:
    """Whether a URL can be read, and names a host and no impossible port."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _without_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(entry.lower() for entry in _variable("NO_PROXY", environ).replace(",", " ").split())


def _is_listed(entries: tuple[str, ...], host: str, port: int) -> bool:
    return any(entry == "*" or _covers(entry, host, port) for entry in entries)


def _covers(entry: str, host: str, port: int) -> bool:
    name, colon, its_port = entry.rpartition(":")
    if colon and its_port.isdecimal() and (":" not in name or name.endswith("]")):  # not the end of an IPv6 address
        if int(its_port[:6]) != port:
            return False
        entry = name
    entry = entry.strip("[]").removeprefix("*").lstrip(".").rstrip(".")
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return bool(entry) and (host == entry or host.endswith(f".{entry}"))


def _tls(ssl_verify: SslVerify, environ: Mapping[str, str]) -> ssl.SSLContext:
    if ssl_verify is not None:
        return _of_word("ssl_verify", str(ssl_verify), environ)
    said = without_final_newline(environ.get("SSL_VERIFY", "")).strip()
    return _of_word("SSL_VERIFY", said or "true", environ)


def _of_word(name: str, word: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """`word`, which `name` says, is true, false or a file."""
    if word.lower() == "false":
        return _unverifying()
    if word.lower() != "true":
        return _from_file(name, word)
    for variable in _CERTIFICATE_FILES:
        file = without_final_newline(environ.get(variable, ""))
        if file and Path(file).is_file():
            return _from_file(variable, file)
    return _usual()


def _from_file(name: str, file: str) -> ssl.SSLContext:
    try:
        return _of_file(file, Path(file).stat().st_mtime_ns)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise ValueError(f"{name} must be true, false or a file of certificates that is there") from None


@lru_cache(64)
def _of_file(file: str, _changed: int) -> ssl.SSLContext:
    return _speaking_http(ssl.create_default_context(cafile=file))


@cache
def _usual() -> ssl.SSLContext:
    context = ssl.create_default_context()
    with suppress(ImportError):
        context.load_verify_locations(import_module("certifi").where())
    return _speaking_http(context)


@cache
def _unverifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return _speaking_http(context)


def _speaking_http(context: ssl.SSLContext) -> ssl.SSLContext:
    context.set_alpn_protocols(["http/1.1"])  # all that the clients here speak
    return context
