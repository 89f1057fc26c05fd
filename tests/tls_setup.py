"""Certificates of the tests' own, and ports that speak TLS with them."""

import asyncio
import ssl
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


def self_signed(folder, name="localhost"):
    """A file with a key and a certificate for localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        subject, subject, key.public_key(), x509.random_serial_number(), now, now + timedelta(1)
    )
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    path = folder / f"{name}.pem"
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(encoding))
    return path


def in_two_files(path):
    """The certificate and the key of such a file, each in one of its own."""
    key, line, certificate = path.read_text().partition("-----BEGIN CERTIFICATE-----")
    path.with_suffix(".crt").write_text(line + certificate)
    path.with_suffix(".key").write_text(key)
    return str(path.with_suffix(".crt")), str(path.with_suffix(".key"))


def with_passphrase(path):
    """Such a file whose key cannot be read without a passphrase."""
    text = path.read_bytes()
    key = serialization.load_pem_private_key(text, None)
    encryption = serialization.BestAvailableEncryption(b"hunter2")
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        + text[text.index(b"-----BEGIN CERTIFICATE-----") :]
    )
    return path


@asynccontextmanager
async def tls_before(port, certificate, clients=None):
    """A port that speaks TLS for one that does not; only with a client that shows a certificate of `clients`, a file."""

    async def copy(reader, writer):
        while data := await reader.read(1 << 16):
            writer.write(data)
        writer.close()

    async def serve(reader, writer):
        other_reader, other_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(copy(reader, other_writer), copy(other_reader, writer), return_exceptions=True)

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    if clients is not None:
        context.load_verify_locations(clients)
        context.verify_mode = ssl.CERT_REQUIRED
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]
