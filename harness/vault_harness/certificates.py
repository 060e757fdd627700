"""Certificates from an authority of our own, for servers and clients that speak TLS."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import trustme

from vault_harness.addresses import host_and_port
from vault_harness.errors import SettingsError
from vault_harness.files import private_directory, write_private, write_text

CA_NAME = "ca.pem"
CA_KEY_NAME = "ca-key.pem"

LIFE = timedelta(days=90)
"""How long a certificate is good for where nobody says otherwise."""

NEAR = timedelta(days=14)
"""Before its end, when a certificate should be renewed."""

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?", re.DOTALL)

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
    """

    certificate: Path
    key: Path
    ca: Path

    @classmethod
    def within(cls, directory: Path) -> Self:
        """The files by their usual names in a folder, there or not."""
        return cls(
            certificate=directory / "certificate.pem",
            key=directory / "key.pem",
            ca=directory / CA_NAME,
        )


class Authority:
    """A certificate authority that nobody trusts by itself. Its repr shows no secret.

    Args:
        ca: One that exists; a new one by default.
    """

    def __init__(self, ca: trustme.CA | None = None) -> None:
        self._ca = trustme.CA(organization_name="vault-harness") if ca is None else ca

    @classmethod
    def load(cls, directory: Path) -> Self:
        """The authority that `save` left in a folder.

        Raises:
            SettingsError: There is none, or its files cannot be used.
        """
        try:
            certificate = (directory / CA_NAME).read_bytes()
            return cls(trustme.CA.from_pem(certificate, (directory / CA_KEY_NAME).read_bytes()))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"the certificate authority cannot be read: {type(error).__name__}",
                looked_at=f"{CA_NAME} and {CA_KEY_NAME} in {directory}",
                remedy="put both files back from a backup; without them no certificate is renewed",
            ) from error

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
        name: str | None = None,
        beside: str = "",
    ) -> TlsFiles:
        """A new certificate in a folder, in place of the one that is there.

        The key is written before the certificate, and each by renaming; who reads both in between
        finds that they do not fit, and tries again.

        Args:
            directory: Where the files go, by the names of `TlsFiles.within`.
            hosts: Names and addresses that it is good for; a client's has any.
            life: How long from now on it is good.
            name: Its common name, where that matters.
            beside: CA certificates, as PEM, that are trusted beside this authority's.
        """
        now = datetime.now(UTC)
        made = self._ca.issue_cert(
            *hosts, common_name=name, not_before=min(now, now + life) - _SKEW, not_after=now + life
        )
        files = TlsFiles.within(directory)
        private_directory(directory)
        write_private(files.key, made.private_key_pem.bytes())
        chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
        write_text(files.certificate, chain.decode())
        write_text(files.ca, self.certificate.decode() + beside)
        return files


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
    context = ssl.create_default_context(cafile=str(ca_cert) if ca_cert is not None else None)
    with (
        contextlib.closing(socket.create_connection((host, port), timeout=timeout)) as plain,
        context.wrap_socket(plain, server_hostname=host) as connection,
    ):
        said, content = connection.getpeercert(), connection.getpeercert(binary_form=True)
    assert said is not None  # it was asked for and verified
    assert content is not None
    ends = ssl.cert_time_to_seconds(str(said["notAfter"]))
    return Shown(
        serial=str(said["serialNumber"]), ends=datetime.fromtimestamp(ends, UTC), content=content
    )


def in_file(path: Path) -> tuple[bytes, ...]:
    """The certificates of a PEM file, as DER, in its order."""
    return tuple(map(ssl.PEM_cert_to_DER_cert, _CERTIFICATE.findall(path.read_text())))


def first_in_file(path: Path) -> str:
    """The first certificate of a PEM file, as PEM; empty if there is none."""
    found = _CERTIFICATE.search(path.read_text())
    return found[0] if found else ""
