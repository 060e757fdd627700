"""The certificates of a local stack that speaks TLS: made once, renewed while it runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vault_harness.addresses import base_url
from vault_harness.certificates import (
    CA_KEY_NAME,
    CA_NAME,
    Authority,
    Shown,
    TlsFiles,
    first_in_file,
    in_file,
    shown_by,
)
from vault_harness.commands import named
from vault_harness.engine import (
    RECORDER_NAME,
    TLS_DIRECTORY,
    Endpoints,
    StackProvider,
    tls_files,
)
from vault_harness.errors import StackError
from vault_harness.stack._data_dir import AUTHORITY_NAME
from vault_harness.stack._recording import through
from vault_harness.stack._service_ids import hand_out_ca
from vault_harness.stack.record import StackRecord
from vault_harness.waiting import wait_until

HOSTS = ("localhost", "127.0.0.1", "vault", "toxiproxy", "balancer")
"""By what clients know the servers: of this machine, and of a network of containers. Toxiproxy and
the balancer pass TLS on as it is."""

_SHOWN_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """What a renewal did.

    Attributes:
        serial: Serial number of the new certificate, as every node that serves shows it.
        ends: When it ends, UTC.
        ca_cert: The file with whom to trust.
        nodes: Names of the nodes that show it.
        later: Names of those that do not run now, and show it once they do.
    """

    serial: str
    ends: datetime
    ca_cert: Path
    nodes: tuple[str, ...]
    later: tuple[str, ...]


class Certificates:
    """Makes and renews the certificate that all servers of a stack show.

    Args:
        data_dir: Holds the authority, and beside it what it signed.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._authority = data_dir / AUTHORITY_NAME
        self._directory = data_dir / TLS_DIRECTORY

    def prepare(self, provider: StackProvider, *, wanted: bool) -> None:
        """Have a certificate there before servers start, if they shall speak TLS.

        Args:
            provider: Who runs the stack.
            wanted: Whether TLS is asked for; a stack that spoke it goes on with it anyway.

        Raises:
            StackError: It runs in plain HTTP, and clients know its addresses.
            SettingsError: The authority's files cannot be read.
        """
        record, files = StackRecord.load(self._data_dir), tls_files(self._data_dir)
        if not wanted and not record.tls and files is None:
            return
        if not record.tls and files is None:
            self._refuse_running(provider)
        if not record.tls:
            record.tls = True
            record.save(self._data_dir)  # first: a half-made certificate is made anew
        if files is None:
            self._load_or_make().issue(self._directory, *HOSTS)

    def renew(self, provider: StackProvider, endpoints: Endpoints, *, ca: bool) -> Renewal:
        """A new certificate, shown by every node that runs; see `LocalStack.renew_certificate`."""
        files = tls_files(self._data_dir)
        if files is None:
            raise StackError(
                "the stack speaks plain HTTP: there is no certificate to renew",
                looked_at=str(self._directory),
                remedy=f"{named('down')}, then {named('up', '--tls')}: its data stays",
            )
        if ca:
            authority = Authority()
            authority.save(self._authority)
        else:
            authority = Authority.load(self._authority)
        # The one before, after a change of authorities or one that was ended half-way.
        before = first_in_file(files.ca)
        beside = before if before != authority.certificate.decode() else ""
        files = authority.issue(self._directory, *HOSTS, beside=beside)
        hand_out_ca(self._data_dir)
        provider.reload_vault()
        serving = {service.name for service in provider.describe() if service.serves}
        nodes = [node for node in endpoints.nodes if node.name in serving]
        shown = [_await_shown(node.name, node.address, files) for node in nodes]
        # Between them and clients, where faults of single requests are set; it shows the same.
        recorder = through(provider)
        if recorder is not None and RECORDER_NAME in serving:
            _await_shown("the HTTP recorder", base_url(recorder, tls=True), files)
        return Renewal(
            serial=shown[0].serial,
            ends=shown[0].ends,
            ca_cert=files.ca,
            nodes=tuple(node.name for node in nodes),
            later=tuple(node.name for node in endpoints.nodes if node not in nodes),
        )

    def _load_or_make(self) -> Authority:
        if any((self._authority / name).exists() for name in (CA_NAME, CA_KEY_NAME)):
            return Authority.load(self._authority)
        authority = Authority()
        authority.save(self._authority)
        return authority

    def _refuse_running(self, provider: StackProvider) -> None:
        if found := [each.detail for each in provider.describe() if each.node and each.running]:
            raise StackError(
                "Vault runs in plain HTTP, and TLS is asked for",
                looked_at=f"{self._data_dir}; {', '.join(found)}",
                remedy=f"{named('down')}, then {named('up', '--tls')}: its data stays, and its "
                "addresses begin with https",
            )


def _await_shown(name: str, address: str, files: TlsFiles) -> Shown:
    """What a server shows once that is the new certificate, verified as clients do it."""
    wanted, seen = in_file(files.certificate)[0], list[Shown]()

    def shows() -> bool:
        with contextlib.suppress(OSError):  # the old one may have ended: that is why it is renewed
            seen.append(shown_by(address, ca_cert=files.ca))
        return bool(seen) and seen[-1].content == wanted

    wait_until(
        shows,
        f"{name} to show its new certificate",
        timeout=_SHOWN_SECONDS,
        interval=0.02,
        evidence=lambda: f"it shows {seen[-1].serial}" if seen else "no handshake was verified",
        remedy=f"look at its log ({named('logs')}); {named('restart')} reads it too, and seals",
    )
    return seen[-1]
