"""TLS of one scenario: certificates and trust of both sides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args

from vault_harness.certificates import LIFE, NOW, Authority, TlsFiles, server_context
from vault_harness.files import write_text
from vault_harness.recorder.recorder import Recorder

Wire = Literal["plain", "tls", "h2"]
"""Protocol between a client and Vault: HTTP in the clear, TLS, or TLS that offers HTTP/2."""

WIRES: tuple[Wire, ...] = get_args(Wire)


class ScenarioTls:
    """The TLS between a subject and the recorder, which can change while both run.

    At first one authority signs for Vault and the recorder, and the subject trusts it.

    Attributes:
        authority: The first authority.
        trusted: File of the authorities that the subject trusts (``VAULT_CACERT``).
        client: The subject's own certificate, if it has one.
    """

    def __init__(self, directory: Path, *, http2: bool) -> None:
        self.authority = Authority()
        self.trusted = directory / "trusted.pem"
        self.client: TlsFiles | None = None
        self._directory = directory
        self._protocols = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        self._hosts: tuple[str, ...] = ()
        self._number = 0
        self.trust(self.authority)

    def begin(self, recorder: Recorder, *hosts: str) -> None:
        """Let the recorder speak TLS with clients, under these host names."""
        self._recorder, self._hosts = recorder, hosts
        self.serve(self.authority)

    def serve(
        self,
        authority: Authority,
        *hosts: str,
        clients: Authority | None = None,
        life: timedelta = LIFE,
        begins: timedelta = NOW,
    ) -> None:
        """Present another certificate from the next connection on.

        Args:
            authority: Its issuer.
            hosts: By default those by which subjects find the recorder.
            clients: Required issuer of client certificates; by default clients need none.
            life: Negative for an expired certificate.
            begins: Start of its validity, from now.
        """
        self._number += 1
        files = authority.issue(
            self._directory / f"server-{self._number}",
            *(hosts or self._hosts),
            life=life,
            begins=begins,
        )
        self._recorder.tls = server_context(
            files,
            protocols=self._protocols,
            clients=clients.certificate.decode() if clients is not None else None,
        )

    def trust(self, *authorities: Authority) -> None:
        """Replace the subject's file of trusted authorities as a whole."""
        write_text(self.trusted, b"".join(a.certificate for a in authorities).decode())

    def half_write(self, authority: Authority) -> None:
        """Leave half of an authority in the subject's file, as a write in place may."""
        whole = authority.certificate.decode()
        self.trusted.write_text(whole[: len(whole) // 2])

    def give_client_certificate(self, authority: Authority, *, life: timedelta = LIFE) -> None:
        """Give the subject a new certificate, which expires after `life`."""
        self.client = authority.issue(self._directory / "client", "client.test", life=life)

    def environ(self) -> Mapping[str, str]:
        """Return the variables that tell the subject about TLS."""
        told = {"VAULT_CACERT": str(self.trusted)}
        if self.client is not None:
            told["VAULT_CLIENT_CERT"] = str(self.client.certificate)
            told["VAULT_CLIENT_KEY"] = str(self.client.key)
        return told
