"""Network: how this process reaches other servers over HTTP, by its environment: through which proxy, trusting whom.

The one place for all that call out: both handlers, the keys of an issuer of tokens, and what litellm asks a server of
Ollama at the start. Each HTTP client has rules of its own for these variables; with one of ours they cannot differ.

HTTP_PROXY, HTTPS_PROXY, ALL_PROXY: the proxy for http://, for https://, and for whichever has none of its own.
NO_PROXY: who is reached without one: *, names with all below them, name:port, addresses, networks (10.0.0.0/8).
SSL_VERIFY: false, or a file of certificates.
SSL_CERT_FILE, REQUESTS_CA_BUNDLE: a file of certificates in the place of the usual ones; the first that exists.
SSL_CERTIFICATE: a file with a certificate of this process's own and its key, for servers that ask for one.

The names of the proxies may also be written small, and are then the ones that count. The usual certificates are those
of the operating system and those of the package certifi, if it is there: one of them is often missing.
"""

import os
import ssl
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property, lru_cache
from importlib import import_module
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from threading import Lock
from typing import Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from crplugins.core.final_newline import without_final_newline

SslVerify = bool | str | None
"""A deployment's own word: false, a file of certificates, or true and None for what the environment says."""


class Certificate(NamedTuple):
    """What a deployment shows a server that asks for a certificate: a file, and another one if the key is not in it.

    Without a file what the environment says.
    """

    file: str | None = None
    key: str | None = None


NO_CERTIFICATE: Final = Certificate()

_CERTIFICATE: Final = "SSL_CERTIFICATE"
_NO_KEY: Final = "{} must be a file of a certificate with its key, which has no passphrase"
_NO_CERTIFICATES: Final = "{} must be true, false or a file of certificates that is there"
_CERTIFICATE_FILES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PORTS: Final = {"http": 80, "https": 443}


class Network:
    """Reads the environment, and looks at the files that it names, when it is made: make it in a thread.

    Raises `ValueError`, which names the variable or the deployment's word, for a proxy that cannot be used and for a
    file that holds no certificates.

    Attributes:
        certificates: the files that judge and are shown. Equal ones are one `tls`.
    """

    def __init__(
        self,
        ssl_verify: SslVerify = None,
        environ: Mapping[str, str] = os.environ,
        *,
        certificate: Certificate = NO_CERTIFICATE,
    ) -> None:
        self._proxies = {scheme: _proxy(scheme, environ) for scheme in _PORTS}
        self._has_proxy = any(self._proxies.values())
        self._without = _without_proxy(environ)
        trusted, shown = _trusted(ssl_verify, environ), _shown(certificate, environ)
        self.certificates: Final = (trusted, shown)
        self._found: dict[tuple[str, str, int], str | None] = {}
        if shown:
            self.ready()  # what is wrong with a file is said now
        elif isinstance(trusted, _File):
            _look_at(trusted)

    @cached_property
    def tls(self) -> ssl.SSLContext:
        """How the certificates of servers are judged, and which one they are shown. The same object while the files are
        the same. Blocks where it is not `ready`."""
        with _reading:
            return _tls(*self.certificates)

    def ready(self, url: str = "https:") -> Self:
        """The same, which has read what a request to `url` needs: without TLS and a proxy no certificates that judge a
        server, as the usual ones take some 30 ms and a megabyte. Blocks, and raises `ValueError` as above."""
        if not url.startswith("http://") or "@" in url or self.proxy(url) is not None:
            self.tls  # noqa: B018 - it is kept
        return self

    def proxy(self, url: str) -> str | None:
        """The URL of the proxy for `url`, perhaps with user and password; None to go without."""
        if not self._has_proxy:
            return None
        parts = urlsplit(url)
        scheme, host = parts.scheme, (parts.hostname or "").rstrip(".")
        server = (scheme, host, parts.port or _PORTS.get(scheme, 0))
        if server not in self._found:  # few: the hosts of one deployment
            self._found[server] = None if _is_listed(self._without, *server[1:]) else self._proxies.get(scheme)
        return self._found[server]


class Networks:
    """Those of many deployments that are looked at one after the other: what most have in common, the environment and
    the files that it names, is read once. Not to be kept: both may change.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._made: dict[tuple[SslVerify, Certificate], Network] = {}

    def network(self, ssl_verify: SslVerify, certificate: Certificate) -> Network:
        """Blocks, and raises `ValueError`, as `Network`."""
        made = self._made.get((ssl_verify, certificate))
        if made is None:
            made = self._made[ssl_verify, certificate] = Network(ssl_verify, self._environ, certificate=certificate)
        return made


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: no private network, no machine of one's own, no cloud's metadata.

    An address that holds another one (IPv4 in IPv6) is judged by that.
    """
    ip = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        nat64 = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        ip = ip.ipv4_mapped or ip.sixtofour or nat64 or ip
    within = ip not in _OF_MACHINES_BEFORE_US if isinstance(ip, IPv4Address) else ip in _INTERNET
    return within and ip not in _PROTOCOLS and ip.is_global and not ip.is_multicast


_NAT64: Final = IPv6Network("64:ff9b::/96")
_INTERNET: Final = IPv6Network("2000::/3")
"""All of IPv6 that is given out. What else is global by the letter (site-local, translated IPv4) leads inwards."""

_PROTOCOLS: Final = IPv4Network("192.0.0.0/24")
"""Private in newer Pythons alone. Oracle's metadata were here."""

_OF_MACHINES_BEFORE_US: Final = IPv4Network("168.63.129.16/32")
"""Azure's WireServer: an address of the internet by its number, which every virtual machine of Azure's has as its own,
with the certificates and the settings of its extensions."""


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
    """Whether a URL can be read, and names a host that can be looked up, and no impossible port."""
    try:
        parts = urlsplit(url)
        labels = (parts.hostname or "").removesuffix(".").split(".")
        return all(0 < len(label) < 64 for label in labels) and parts.port != 0  # RFC 1035, section 2.3.4
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


class _File(NamedTuple):
    """A file that `word` names, the environment's or a deployment's, as it is now: one that changes is another one."""

    word: str
    path: str
    changed: int


_Trusted = _File | Literal["usual", "anybody"]
"""A file of certificates, or the usual ones; "anybody" where none is judged."""

_reading: Final = Lock()
"""Deployments are opened in several threads at once, and what one has read the others need not read."""


def _trusted(ssl_verify: SslVerify, environ: Mapping[str, str]) -> _Trusted:
    """What judges the certificates of servers."""
    said = without_final_newline(environ.get("SSL_VERIFY", "")).strip()
    name, word = ("SSL_VERIFY", said or "true") if ssl_verify is None else ("ssl_verify", str(ssl_verify))
    if word.lower() == "false":
        return "anybody"
    if word.lower() != "true":
        return _file(name, word, _NO_CERTIFICATES)
    for variable in _CERTIFICATE_FILES:
        file = without_final_newline(environ.get(variable, ""))
        if file and Path(file).is_file():
            return _file(variable, file, _NO_CERTIFICATES)
    return "usual"


def _shown(own: Certificate, environ: Mapping[str, str]) -> tuple[_File, ...]:
    """The files of the certificate that servers are shown: it, and its key if that is in another one."""
    if own.file is None:
        file = without_final_newline(environ.get(_CERTIFICATE, "")).strip()
        return (_file(_CERTIFICATE, file, _NO_KEY),) if file else ()
    certificate = _file("ssl_certificate", own.file, _NO_KEY)
    return (certificate,) if own.key is None else (certificate, _file("ssl_key", own.key, _NO_KEY))


def _file(word: str, path: str, problem: str) -> _File:
    try:
        return _File(word, path, Path(path).stat().st_mtime_ns)
    except (OSError, ValueError):
        raise ValueError(problem.format(word)) from None


def _look_at(trusted: _File) -> None:
    """Raises `ValueError` for a file with no certificate in it, without reading them as a server's are judged."""
    try:
        if b"-----BEGIN " in Path(trusted.path).read_bytes():
            return
    except OSError:
        pass
    raise ValueError(_NO_CERTIFICATES.format(trusted.word))


@lru_cache(1024)
def _tls(trusted: _Trusted, shown: tuple[_File, ...]) -> ssl.SSLContext:
    """The same one for the same files, so that connections are shared."""
    context = _trusting(trusted)
    context.set_alpn_protocols(["http/1.1"])  # all that the clients here speak
    if shown:
        try:
            context.load_cert_chain(shown[0].path, shown[-1].path, password=_no_password)
        except (OSError, ValueError):
            raise ValueError(_NO_KEY.format(shown[0].word)) from None
    return context


def _trusting(trusted: _Trusted) -> ssl.SSLContext:
    if isinstance(trusted, _File):
        try:
            return ssl.create_default_context(cafile=trusted.path)
        except (OSError, ValueError):  # ssl.SSLError is an OSError
            raise ValueError(_NO_CERTIFICATES.format(trusted.word)) from None
    context = ssl.create_default_context()
    if trusted == "anybody":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    else:
        with suppress(ImportError):
            context.load_verify_locations(import_module("certifi").where())
    return context


def _no_password() -> str:
    """For a key with a passphrase, which OpenSSL would otherwise ask for on the terminal, and wait."""
    return ""
