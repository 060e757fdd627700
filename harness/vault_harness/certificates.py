"""Certificates from an authority of our own, for servers and clients that speak TLS."""

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
from vault_harness.commands import named
from vault_harness.errors import SettingsError
from vault_harness.files import private_directory, write_private, write_text

if TYPE_CHECKING:
    import trustme  # which takes a while, and most tasks make and read no certificate

CA_NAME = "ca.pem"
CA_KEY_NAME = "ca-key.pem"
CLIENTS_NAME = "clients.pem"

OPERATOR = "operator"
"""Who the tasks are to a server that asks for certificates, and its nodes where they join."""

LIFE = timedelta(days=90)
"""How long a certificate is good for where nobody says otherwise."""

NEAR = timedelta(days=14)
"""Before its end, when a certificate should be renewed."""

NOW = timedelta()
"""When a certificate begins to be good where nobody says otherwise."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)

_CLIENT_HOST = "client.invalid"
"""What a client's certificate is for: no host has that name, so no server can be played with it.
Go's verification refuses one that names nothing."""

_FLIGHTS = 4
"""Of messages in each direction, until a handshake is done; TLS 1.2 has two."""

_LONGEST_NAME = 64  # of a common name, by X.520

_SKEW = timedelta(hours=1)
"""How long before it was made a certificate is good already: clocks of containers may be behind."""


@dataclass(frozen=True, kw_only=True)
class TlsFiles:
    """PEM files of a server that speaks TLS; read when it starts and at each reload.

    Attributes:
        certificate: Its certificate, and those between it and the CA. It must name each of the
            node's `hosts`.
        key: Its private key.
        ca: The CA certificate by which clients and other nodes know it.
        clients: The CA certificates of which one must have signed what a client shows; None where
            clients are asked for nothing.
    """

    certificate: Path
    key: Path
    ca: Path
    clients: Path | None = None

    @classmethod
    def within(cls, directory: Path) -> Self:
        """The files by their usual names in a folder, there or not; `clients` only if it is."""
        clients = directory / CLIENTS_NAME
        return cls(
            certificate=directory / "certificate.pem",
            key=directory / "key.pem",
            ca=directory / CA_NAME,
            clients=clients if clients.exists() else None,
        )

    def own(self, name: str) -> Path | None:
        """What a client of that name shows, of those in the same folder; None if nobody asks."""
        return self.ca.with_name(f"{name}.pem") if self.clients is not None else None


def shown_beside(ca_cert: Path | str | None) -> Path | None:
    """What the tasks show to servers that they check with this file; None if nobody asks for it.

    It lies in the same folder, with its key: whoever is told whom to trust has both, and no task
    can be told one and not the other.
    """
    own = Path(ca_cert).with_name(f"{OPERATOR}.pem") if ca_cert is not None else None
    return own if own is not None and own.exists() else None


class Authority:
    """A certificate authority that nobody trusts by itself. Its repr shows no secret.

    Args:
        ca: One that exists; a new one by default.
    """

    def __init__(self, ca: trustme.CA | None = None) -> None:
        if ca is None:
            import trustme

            ca = trustme.CA(organization_name="vault-harness")
        self._ca = ca

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The authority that `save` left in a folder.

        Raises:
            SettingsError: There is none, or its files cannot be used.
        """
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
            "the certificate authority's key is not that of its certificate: a change of "
            "authorities may have been ended between the two",
            looked_at=f"{CA_NAME} and {CA_KEY_NAME} in {directory}",
            remedy=f"put both files back from a backup; or {named('tls.renew', '--ca')} makes a "
            "new one, and the one before stays trusted beside it",
        )

    @property
    def certificate(self) -> bytes:
        """Its own certificate, as PEM: what clients trust."""
        return self._ca.cert_pem.bytes()

    def save(self, directory: Path) -> None:
        """Keep it in a folder: its certificate for everybody, its key for nobody else."""
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
        """A new certificate in a folder, in place of the one that is there.

        The key is written before the certificate, and each by renaming; who reads both in between
        finds that they do not fit, and tries again.

        Args:
            directory: Where the files go, by the names of `TlsFiles.within`.
            hosts: Names and addresses that it is good for; a client's has any.
            life: How long it is good.
            begins: From when on, counted from now.
            name: Its common name, where that matters.
            beside: CA certificates, as PEM, that are trusted beside this authority's.
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
        """A new certificate for a client, with its key, in place of what is in that file.

        One file for both: it is replaced by one renaming, so nobody reads the certificate of one
        renewal and the key of another. It is its owner's alone.

        Args:
            file: Where it goes; ``VAULT_CLIENT_CERT`` and ``VAULT_CLIENT_KEY`` may both name it.
            name: Its common name: whose it is.
            life: How long from now on it is good.
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
    """A certificate that a server showed in a handshake, verified on the way.

    Attributes:
        serial: Its serial number, in hexadecimal digits.
        ends: When it ends, UTC.
        content: The certificate itself, as DER.
    """

    serial: str
    ends: datetime
    content: bytes


def shown_by(address: str, *, ca_cert: Path | None, timeout: float = 3.0) -> Shown:
    """What a server shows to who connects now.

    Args:
        address: Its base URL; the certificate must be for its host.
        ca_cert: Whom to trust, None for the system's authorities.
        timeout: Seconds for each step.

    Raises:
        ssl.SSLCertVerificationError: It is not trusted, has ended, or is for another host.
        OSError: Nobody answers there, or not with TLS.
    """
    host, port = host_and_port(address)
    context = client_context(ca_cert)
    with connected(host, port, context, timeout=timeout) as connection:
        said, content = connection.getpeercert(), connection.getpeercert(binary_form=True)
    assert said is not None  # it was asked for and verified
    assert content is not None
    ends = ssl.cert_time_to_seconds(str(said["notAfter"]))
    return Shown(
        serial=str(said["serialNumber"]), ends=datetime.fromtimestamp(ends, UTC), content=content
    )


def connected(host: str, port: int, context: ssl.SSLContext, *, timeout: float) -> ssl.SSLSocket:
    """A connection with TLS, which its caller closes; nothing stays open of one that fails.

    The socket is made before it is connected: of one that the server has reset by the time that TLS
    begins on it, `ssl` makes another, and loses that one, open (Python 3.11).

    Args:
        host: By its name or address, for which its certificate must be, if that is looked at.
        port: Of it.
        context: How it is checked, and what is shown to it.
        timeout: Seconds for each step.

    Raises:
        OSError: Nobody answers there, or not with TLS, or not with what is trusted.
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
            except OSError as error:  # another of its addresses may be the right one
                refused = error
                continue
            made.do_handshake()
            unfinished.pop_all()
            return made
    try:
        raise refused
    finally:
        del refused  # it holds this frame, which would hold it


def client_context(ca_cert: Path | None) -> ssl.SSLContext:
    """By what a server is checked, and what is shown to it if it asks; see `shown_beside`.

    Args:
        ca_cert: Whom to trust, None for the system's authorities.

    Raises:
        OSError: A file cannot be read, or is not what it should be.
    """
    context = ssl.create_default_context(cafile=str(ca_cert) if ca_cert is not None else None)
    if (own := shown_beside(ca_cert)) is not None:
        context.load_cert_chain(own)
    return context


def server_context(
    files: TlsFiles, *, protocols: Sequence[str], clients: str | None = None
) -> ssl.SSLContext:
    """What a server of this project, which is no Vault, shows to its clients.

    Args:
        files: Its certificate and key.
        protocols: What it speaks, for ALPN.
        clients: CA certificates, as PEM, of which one must have signed what a client shows; None
            to ask for nothing.

    Raises:
        OSError: A file cannot be read, or is not what it should be.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(list(protocols))
    # A session that is resumed is not verified again by OpenSSL, as it is by Vault.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if clients is not None:
        context.load_verify_locations(cadata=clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _belong_together(certificate: bytes, key: bytes) -> bool:
    """Whether what a key signs is of that certificate.

    Raises:
        ValueError: One of the two is none.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    public = load_pem_private_key(key, None).public_key()
    return public == x509.load_pem_x509_certificate(certificate).public_key()


def is_good(files: TlsFiles) -> bool:
    """Whether a server with these files, and who trusts their authority, would come together now.

    That is tried: its key may be another one's, its certificate out of its time, or signed by
    somebody else, whatever was ended between the writing of two of them.
    """
    there_in, there_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        trusting = ssl.create_default_context(cafile=str(files.ca))
        trusting.check_hostname = False  # by which name it is called is another question
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
    """When the first certificate of a PEM file ends, UTC; None if there is none to be read."""
    from cryptography import x509

    try:
        found = first_in_file(path)
        return x509.load_pem_x509_certificate(found.encode()).not_valid_after_utc
    except (OSError, ValueError):
        return None


def in_file(path: Path) -> tuple[bytes, ...]:
    """The certificates of a PEM file, as DER, in its order."""
    return tuple(map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(path.read_text())))


def first_in_file(path: Path) -> str:
    """The first certificate of a PEM file, as PEM; empty if there is none."""
    return next(iter(pems(path.read_text())), "")


def pems(text: str) -> list[str]:
    """The certificates of a PEM text, each as PEM, in its order; other blocks are left out."""
    return _CERTIFICATE.findall(text)
