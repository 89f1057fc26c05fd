"""TlsSection: the gateway's own certificate, which is read again with the configuration: a new one needs no restart."""

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from crplugins.settings.section import Section


class TlsSection(Section):
    """The gateway's certificate. The files are read again with the configuration, so that a new certificate counts."""

    certfile: Annotated[str, Field(min_length=1)] = Field(examples=["/etc/ssl/gateway.pem"])
    """The certificate in PEM, and those that have signed it."""

    keyfile: Annotated[str, Field(min_length=1)] | None = Field(default=None, examples=["/etc/ssl/gateway.key"])
    """The private key of `certfile` in PEM, if that is not in the same file."""

    keyfile_password: SecretStr | None = Field(default=None, examples=["${TLS_PASSWORD}"])
    """The password of the private key, if it has one."""

    def load_into(self, context: ssl.SSLContext) -> None:
        """For the connections that are made from now on. Blocks. Raises OSError, `ssl.SSLError` among them."""
        password = self.keyfile_password
        # Never None: OpenSSL would ask for it on the terminal, and wait.
        secret = "" if password is None else password.get_secret_value()
        context.load_cert_chain(self.certfile, self.keyfile, lambda: secret)

    def problem(self) -> str | None:
        """Why the files are no good, if they are not. Blocks."""
        for file in (self.certfile, self.keyfile):
            if file is not None and (why := unreadable(file)) is not None:
                return why
        try:
            self.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        except OSError as error:
            reason = tls_reason(error)
            return f"{self.certfile} and its key are no certificate and key in PEM that belong together ({reason})"
        return None


def unreadable(file: str) -> str | None:
    """Why the file cannot be read, if it cannot. Blocks."""
    try:
        Path(file).read_bytes()
    except OSError as error:
        return f"{file} cannot be read: {error.strerror}"
    return None


def tls_reason(error: OSError) -> str:
    """What OpenSSL says is wrong with certificates that it was given."""
    return getattr(error, "reason", None) or type(error).__name__
