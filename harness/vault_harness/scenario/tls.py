"""TLS of one scenario: whose certificates everybody shows, and whom everybody trusts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args

from vault_harness.certificates import LIFE, NOW, Authority, TlsFiles, server_context
from vault_harness.files import write_text
from vault_harness.scenario.recorder import Recorder

Wire = Literal["plain", "tls", "h2"]
"""What is spoken between a client and Vault: HTTP in the clear, TLS, TLS that offers HTTP/2."""

WIRES: tuple[Wire, ...] = get_args(Wire)


class ScenarioTls:
    """The TLS between a subject and the recorder, which can change while both run.

    One authority signs for Vault and for the recorder to begin with, and the subject trusts it.

    Args:
        directory: For its files.
        http2: Whether HTTP/2 is offered.

    Attributes:
        authority: Who signed first.
        trusted: The file of the authorities that the subject trusts (``VAULT_CACERT``).
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
        """Let the recorder speak TLS with clients that know it by these names."""
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
        """Show another certificate from the next connection on.

        Args:
            authority: Who signs it.
            hosts: Whom it names; by default those that subjects know the recorder by.
            clients: Who must have signed a client's certificate; by default none is asked for.
            life: How long it is good; less than nothing for one that has ended.
            begins: From when on, counted from now.
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
        """Let the subject's file name these authorities; it is replaced as a whole."""
        write_text(self.trusted, b"".join(a.certificate for a in authorities).decode())

    def half_write(self, authority: Authority) -> None:
        """Leave half of this authority in the subject's file, as who writes it in place does."""
        whole = authority.certificate.decode()
        self.trusted.write_text(whole[: len(whole) // 2])

    def give_client_certificate(self, authority: Authority, *, life: timedelta = LIFE) -> None:
        """Give the subject a certificate, in place of the one that it has.

        Args:
            authority: Who signs it.
            life: How long from now on it is good.
        """
        self.client = authority.issue(self._directory / "client", "client.test", life=life)

    def environ(self) -> Mapping[str, str]:
        """What the subject is told of it."""
        told = {"VAULT_CACERT": str(self.trusted)}
        if self.client is not None:
            told["VAULT_CLIENT_CERT"] = str(self.client.certificate)
            told["VAULT_CLIENT_KEY"] = str(self.client.key)
        return told
