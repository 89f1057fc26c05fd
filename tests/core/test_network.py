"""Through which proxy a server is reached, and who judges its certificate: by the environment, in every spelling."""

import os
import ssl
from pathlib import Path

import pytest

from crplugins.core.network import Certificate, Network
from tests.tls_setup import in_two_files, self_signed, with_passphrase

PROXY = "http://proxy.example:3128"


def proxy(url, **environ):
    return Network(None, environ).proxy(url)


@pytest.mark.parametrize(
    ("environ", "plain", "secure"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": PROXY}, PROXY, None),
        ({"HTTPS_PROXY": PROXY}, None, PROXY),
        ({"http_proxy": PROXY, "HTTP_PROXY": "http://other"}, PROXY, None),
        ({"http_proxy": "", "HTTP_PROXY": PROXY}, None, None),
        ({"ALL_PROXY": PROXY, "HTTPS_PROXY": "https://u:p@second:1"}, PROXY, "https://u:p@second:1"),
        ({"all_proxy": f"{PROXY}\n"}, PROXY, PROXY),
        ({"HTTP_PROXY": "proxy.example:3128"}, PROXY, None),
        ({"ALL_PROXY": "socks5://127.0.0.1:1", "HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY}, PROXY, PROXY),
        ({"HTTP_PROXY": "http://evil", "REQUEST_METHOD": "GET"}, None, None),
    ],
)
def test_each_scheme_has_its_proxy(environ, plain, secure):
    assert (proxy("http://a.example/v1", **environ), proxy("https://a.example/v1", **environ)) == (plain, secure)


@pytest.mark.parametrize(
    ("listed", "url", "goes_through"),
    [
        ("*", "http://a.example", False),
        ("a.example", "http://a.example/v1", False),
        ("A.Example.", "http://a.example./v1", False),
        ("example", "http://a.example", False),
        (".example", "http://a.example", False),
        ("*.example", "http://a.example", False),
        ("a.example", "http://ba.example", True),
        ("b.a.example", "http://a.example", True),
        ("other, a.example", "http://a.example", False),
        ("other a.example", "http://a.example", False),
        ("a.example:8000", "http://a.example:8000", False),
        ("a.example:8000", "http://a.example", True),
        ("a.example:80", "http://a.example", False),
        ("10.0.0.0/8", "http://10.1.2.3:8000", False),
        ("10.0.0.0/8", "http://11.1.2.3:8000", True),
        ("10.1.2.3", "http://10.1.2.3", False),
        ("::1", "http://[::1]:8000", False),
        ("[::1]:8000", "http://[::1]:8000", False),
        ("[::1]:8000", "http://[::1]:9000", True),
        ("fd00::/8", "http://[fd00::7]", False),
        ("localhost", "http://127.0.0.1", True),
        (",", "http://a.example", True),
        (".", "http://a.example", True),
        ("", "http://a.example", True),
    ],
)
def test_who_is_listed_is_reached_without(listed, url, goes_through):
    assert proxy(url, HTTP_PROXY=PROXY, NO_PROXY=listed) == (PROXY if goes_through else None)
    assert proxy(url, HTTP_PROXY=PROXY, no_proxy=listed, NO_PROXY="*") == (PROXY if goes_through else None)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize("value", ["socks5://hunter2@h:1", "http://", "http://h:hunter2", "http://[hunter2", "ftp://h"])
def test_a_proxy_that_cannot_be_used_is_refused_by_its_variable(name, value):
    with pytest.raises(ValueError, match=name) as caught:
        Network(None, {name: value})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("ssl_verify", "environ"),
    [
        ("FILE", {}),
        ("FILE", {"SSL_VERIFY": "false"}),
        (None, {"SSL_VERIFY": "FILE\n"}),
        (None, {"SSL_CERT_FILE": "FILE"}),
        (None, {"SSL_CERT_FILE": "/is/not/there", "REQUESTS_CA_BUNDLE": "FILE"}),
        (True, {"SSL_VERIFY": "false", "REQUESTS_CA_BUNDLE": "FILE"}),
        ("true", {"SSL_CERT_FILE": "FILE"}),
    ],
)
def test_a_file_of_certificates_takes_the_place_of_the_usual_ones(ssl_verify, environ, tmp_path):
    file = str(self_signed(tmp_path))
    put = {name: value.replace("FILE", file) for name, value in environ.items()}
    network = Network(file if ssl_verify == "FILE" else ssl_verify, put)
    assert network.tls.cert_store_stats()["x509"] == 1
    assert network.tls.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize(("ssl_verify", "environ"), [(False, {}), ("False", {}), (None, {"SSL_VERIFY": "False"})])
def test_certificates_can_be_left_unjudged(ssl_verify, environ):
    assert Network(ssl_verify, environ).tls.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize("environ", [{}, {"SSL_VERIFY": "true"}, {"SSL_CERT_FILE": "/is/not/there"}])
def test_else_the_usual_certificates_judge(environ):
    network = Network(None, environ)
    assert network.tls.check_hostname
    assert network.tls.cert_store_stats()["x509_ca"] > 10


def test_a_file_without_certificates_is_refused_by_the_name_that_names_it(tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    for ssl_verify, environ, name in (
        (str(tmp_path / "no.pem"), {}, "ssl_verify"),
        ("/is/not/there", {}, "ssl_verify"),
        (None, {"SSL_VERIFY": "/is/not/there"}, "SSL_VERIFY"),
        (None, {"REQUESTS_CA_BUNDLE": str(tmp_path / "no.pem")}, "REQUESTS_CA_BUNDLE"),
    ):
        with pytest.raises(ValueError, match=name):
            Network(ssl_verify, environ)


def test_the_same_files_are_one_context_and_files_that_change_another(tmp_path):
    file = self_signed(tmp_path, "client")
    own = Certificate(str(file))
    first = Network(None, {}, certificate=own).tls
    assert Network(None, {}, certificate=own).tls is first
    assert Network(None, {}).tls is not first
    assert Network(None, {"SSL_CERTIFICATE": "/is/not/there"}, certificate=own).tls is first
    os.utime(self_signed(tmp_path, "client"), ns=(0, file.stat().st_mtime_ns + 1))
    assert Network(None, {}, certificate=own).tls is not first


@pytest.mark.parametrize("word", ["ssl_certificate", "SSL_CERTIFICATE"])
@pytest.mark.parametrize("kind", ["absent", "folder", "no certificate", "no key", "another key", "passphrase"])
def test_a_certificate_that_cannot_be_shown_is_refused_by_its_word(word, kind, tmp_path):
    """A key with a passphrase too: OpenSSL would ask for it on the terminal, and wait."""
    (tmp_path / "text.pem").write_text("no certificate")
    certificate, _ = in_two_files(self_signed(tmp_path, "client"))
    _, other = in_two_files(self_signed(tmp_path, "other"))
    both = tmp_path / "both.pem"
    both.write_bytes(Path(certificate).read_bytes() + Path(other).read_bytes())
    file = {
        "absent": "/is/not/there", "folder": tmp_path, "no certificate": tmp_path / "text.pem", "no key": certificate,
        "another key": both, "passphrase": with_passphrase(self_signed(tmp_path, "locked")),
    }[kind]  # fmt: skip
    own = Certificate(str(file)) if word == "ssl_certificate" else Certificate()
    with pytest.raises(ValueError, match=f"^{word} must be a file of a certificate with its key"):
        Network(None, {"SSL_CERTIFICATE": str(file)}, certificate=own)


def test_a_key_in_a_file_of_its_own_is_named_when_it_is_not_there(tmp_path):
    certificate, _ = in_two_files(self_signed(tmp_path, "client"))
    with pytest.raises(ValueError, match="^ssl_key must be"):
        Network(None, {}, certificate=Certificate(certificate, "/is/not/there"))
