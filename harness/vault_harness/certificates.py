"""Make certificates with an authority of our own, for servers and clients that use TLS."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vault_harness.addresses import host_and_port
from vault_harness.errors import SettingsError, named
from vault_harness.files import private_directory, write_private, write_text

if TYPE_CHECKING:
    import trustme  # takes a while to import, and most tasks do not need it

CA_NAME = "ca.pem"
CA_KEY_NAME = "ca-key.pem"
CLIENTS_NAME = "clients.pem"

OPERATOR = "operator"
"""The common name in the tasks' client certificate, and in that of joining nodes."""

LIFE = timedelta(days=90)

NEAR = timedelta(days=14)
"""Renew a certificate this long before its end."""

NOW = timedelta()

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)

_CLIENT_HOST = "client.invalid"
"""No host has this name, so no server can use a client's certificate.

Go's verification refuses a certificate without a name.
"""

_FLIGHTS = 4
"""Messages in each direction of a handshake; TLS 1.2 needs two."""

_LONGEST_NAME = 64  # the limit of X.520 for a common name

_SKEW = timedelta(hours=1)
"""A certificate is valid from this long ago, as containers' clocks may be late."""


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of a server that uses TLS, read at its start and at each reload.

    Attributes:
        certificate: With those between it and the CA. It must name each of the node's `hosts`.
        clients: CA certificates, one of which must have signed a client's; None if clients need
            none.
    """

    certificate: Path
    key: Path
    ca: Path
    clients: Path | None = None

    @classmethod
    def within(cls, directory: Path) -> Self:
        clients = directory / CLIENTS_NAME
        return cls(
            certificate=directory / "certificate.pem",
            key=directory / "key.pem",
            ca=directory / CA_NAME,
            clients=clients if clients.exists() else None,
        )

    def own(self, name: str) -> Path | None:
        """Return the file of a client's certificate; None if none is needed."""
        return self.ca.with_name(f"{name}.pem") if self.clients is not None else None


def shown_beside(ca_cert: Path | str | None) -> Path | None:
    """Return the client certificate in the folder of this CA file, or None."""
    own = Path(ca_cert).with_name(f"{OPERATOR}.pem") if ca_cert is not None else None
    return own if own is not None and own.exists() else None


class Authority:
    """A certificate authority that no system trusts. Its repr shows no secret.

    ``ca`` is an existing authority; by default a new one is made.
    """

    def __init__(self, ca: trustme.CA | None = None) -> None:
        if ca is None:
            import trustme

            ca = trustme.CA(organization_name="vault-harness")
        self._ca = ca

    @classmethod
    def load(cls, directory: Path) -> Self:
        import trustme

        try:
            certificate = (directory / CA_NAME).read_bytes()
            key = (directory / CA_KEY_NAME).read_bytes()
            if _belong_together(certificate, key):
                return cls(trustme.CA.from_pem(certificate, key))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the certificate authority cannot be read: {type(error).__name__}",
                looked_at=f"{CA_NAME} and {CA_KEY_NAME} in {directory}",
                remedy="put both files back from a backup; without them no certificate is renewed",
            ) from error
        raise SettingsError(
            "the certificate authority's key and certificate do not match: a change of "
            "authorities may have been interrupted",
            looked_at=f"{CA_NAME} and {CA_KEY_NAME} in {directory}",
            remedy=f"put both files back from a backup; or {named('tls.renew', '--ca')} makes a "
            "new one, and the old one stays trusted",
        )

    @property
    def certificate(self) -> bytes:
        return self._ca.cert_pem.bytes()

    def save(self, directory: Path) -> None:
        private_directory(directory)
        write_private(directory / CA_KEY_NAME, self._ca.private_key_pem.bytes())
        write_text(directory / CA_NAME, self.certificate.decode())

    def issue(
        self,
        directory: Path,
        *hosts: str,
        life: timedelta = LIFE,
        begins: timedelta = NOW,
        name: str | None = None,
        beside: str = "",
    ) -> TlsFiles:
        """Write a new certificate into a folder, in place of an old one.

        Key and certificate are two renamings. A reader that gets one old and one new file notices
        that they do not match, and tries again.

        Args:
            begins: Relative to now.
            name: The common name, if that matters.
            beside: Further CA certificates to trust, as PEM.
        """
        made = self._signed(*hosts, life=life, begins=begins, name=name)
        files = TlsFiles.within(directory)
        private_directory(directory)
        write_private(files.key, made.private_key_pem.bytes())
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        write_text(files.certificate, chain.decode())
        write_text(files.ca, self.certificate.decode() + beside)
        return files

    def issue_client(self, file: Path, name: str, *, life: timedelta = LIFE) -> None:
        """Write a new client certificate and its key into one private file.

        One renaming replaces it, so no reader gets the certificate of one renewal and the key of
        another. ``VAULT_CLIENT_CERT`` and ``VAULT_CLIENT_KEY`` may both name it.
        """
        made = self._signed(_CLIENT_HOST, life=life, name=name[:_LONGEST_NAME])
        private_directory(file.parent)
        write_private(file, made.private_key_and_cert_chain_pem.bytes())

    def _signed(
        self, *hosts: str, life: timedelta, begins: timedelta = NOW, name: str | None
    ) -> trustme.LeafCert:
        since = datetime.now(UTC) + begins
        until = since + life
        return self._ca.issue_cert(
            *hosts, common_name=name, not_before=min(since, until) - _SKEW, not_after=until
        )


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A certificate that a server showed in a verified handshake.

    `serial` is hexadecimal, `ends` in UTC, `content` DER.
    """

    serial: str
    ends: datetime
    content: bytes


def shown_by(address: str, *, ca_cert: Path | None, timeout: float = 3.0) -> Shown:
    """Return the certificate that a server shows to a new connection.

    Args:
        ca_cert: The CA file to trust, or None for the system's authorities.
        timeout: Seconds for each step.

    Raises:
        ssl.SSLCertVerificationError: It is not trusted, has expired, or is for another host.
        OSError: There is no server, or none with TLS.
    """
    host, port = host_and_port(address)
    context = client_context(ca_cert)
    with connected(host, port, context, timeout=timeout) as connection:
        said, content = connection.getpeercert(), connection.getpeercert(binary_form=True)
    assert said is not None
    assert content is not None
    ends = ssl.cert_time_to_seconds(str(said["notAfter"]))
    return Shown(
        serial=str(said["serialNumber"]), ends=datetime.fromtimestamp(ends, UTC), content=content
    )


def connected(host: str, port: int, context: ssl.SSLContext, *, timeout: float) -> ssl.SSLSocket:
    """Return a connection with TLS, which the caller closes; ``timeout`` is for each step.

    The TLS socket is made before it connects. If the server resets a connected socket before TLS
    begins, `ssl` makes another socket and leaves the first open (Python 3.11).
    """
    refused = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
        with contextlib.closing(socket.socket(family, kind, protocol)) as plain:
            plain.settimeout(timeout)
            made = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
        with contextlib.ExitStack() as unfinished:
            unfinished.callback(made.close)
            try:
                made.connect(address)
            except OSError as error:  # another address of the host may work
                refused = error
                continue
            made.do_handshake()
            unfinished.pop_all()
            return made
    try:
        raise refused
    finally:
        del refused  # a cycle: the error holds this frame


def client_context(ca_cert: Path | None) -> ssl.SSLContext:
    """Return the context to verify a server and to show our certificate; see `shown_beside`.

    ``ca_cert`` None means the system's authorities.
    """
    context = ssl.create_default_context(cafile=str(ca_cert) if ca_cert is not None else None)
    if (own := shown_beside(ca_cert)) is not None:
        context.load_cert_chain(own)
    return context


def server_context(
    files: TlsFiles, *, protocols: Sequence[str], clients: str | None = None
) -> ssl.SSLContext:
    """Return the context of this project's own servers.

    ``clients`` are CA certificates, as PEM, one of which must have signed a client's; None asks for
    no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(list(protocols))
    # OpenSSL does not verify a resumed session again, and Vault does.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if clients is not None:
        context.load_verify_locations(cadata=clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _belong_together(certificate: bytes, key: bytes) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    public = load_pem_private_key(key, None).public_key()
    return public == x509.load_pem_x509_certificate(certificate).public_key()


def is_good(files: TlsFiles) -> bool:
    """Return whether a handshake between a server with these files and its client succeeds.

    After an interrupted renewal, for instance, the key may not match.
    """
    there_in, there_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusting = ssl.create_default_context(cafile=str(files.ca))
        trusting.check_hostname = False  # the name does not matter here
        showing = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        showing.load_cert_chain(files.certificate, files.key)
        client = trusting.wrap_bio(there_out, there_in)
        server = showing.wrap_bio(there_in, there_out, server_side=True)
        for _ in range(_FLIGHTS):
            for side in (client, server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
    except OSError:
        return False
    return client.version() is not None


def end_of(path: Path) -> datetime | None:
    """Return when the first certificate of a PEM file ends; None if there is none."""
    from cryptography import x509

    try:
        found = first_in_file(path)
        return x509.load_pem_x509_certificate(found.encode()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def in_file(path: Path) -> tuple[bytes, ...]:
    return tuple(map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(path.read_text())))


def first_in_file(path: Path) -> str:
    """Return the first certificate of a PEM file, as PEM; "" if there is none."""
    return next(iter(pems(path.read_text())), "")


def pems(text: str) -> list[str]:
    """Return the certificates of a PEM text; skip other blocks."""
    return _CERTIFICATE.findall(text)
