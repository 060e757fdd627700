"""The certificates of a local stack that speaks TLS: made once, renewed while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vault_harness.addresses import base_url
from vault_harness.blueprint import Blueprint
from vault_harness.certificates import (
    Authority,
    Shown,
    TlsFiles,
    first_in_file,
    in_file,
    is_good,
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
from vault_harness.stack._client_certificates import ClientCertificates, load_or_make
from vault_harness.stack._data_dir import AUTHORITY_NAME
from vault_harness.stack._recording import through
from vault_harness.stack._service_ids import hand_out_tls
from vault_harness.stack.record import StackRecord
from vault_harness.waiting import wait_until

HOSTS = (
    *("localhost", "127.0.0.1", "vault", "toxiproxy", "balancer"),
    *(f"vault-{number}" for number in range(2, 10)),
)
"""By what clients know the servers: of this machine, and of a network of containers. Toxiproxy and
the balancer pass TLS on as it is; nodes know each other by name there."""

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
        clients: Names of the clients that have a new certificate too; none where Vault asks for
            nothing.
    """

    serial: str
    ends: datetime
    ca_cert: Path
    nodes: tuple[str, ...]
    later: tuple[str, ...]
    clients: tuple[str, ...] = ()


class Certificates:
    """Makes and renews what all servers of a stack show, and its clients, if they are asked.

    Args:
        data_dir: Holds the authority, and beside it what it signed.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._authority = data_dir / AUTHORITY_NAME
        self._directory = data_dir / TLS_DIRECTORY
        self.clients = ClientCertificates(data_dir)

    def prepare(self, provider: StackProvider, *, wanted: bool, of_clients: bool = False) -> None:
        """Have certificates there before servers start, if they shall speak TLS.

        Args:
            provider: Who runs the stack.
            wanted: Whether TLS is asked for; a stack that spoke it goes on with it anyway.
            of_clients: Whether Vault shall ask its clients for certificates, which needs TLS; one
                that did goes on with it anyway.

        Raises:
            StackError: It runs in plain HTTP, or asks for nothing, and clients know it so.
            SettingsError: An authority's files cannot be read.
        """
        record, files = StackRecord.load(self._data_dir), tls_files(self._data_dir)
        asks = of_clients or record.client_certs or self.clients.wanted
        if not wanted and not asks and not record.tls and files is None:
            return
        if not record.tls and files is None:
            option = "--client-certs" if of_clients else "--tls"
            self._refuse_running(provider, "in plain HTTP, and TLS", option)
        elif asks and not record.client_certs and not self.clients.wanted:
            self._refuse_running(
                provider, "and asks for no client certificate, and that", "--client-certs"
            )
        if not record.tls or record.client_certs != asks:
            record.tls, record.client_certs = True, asks
            record.save(self._data_dir)  # first: a half-made certificate is made anew
        if files is None:
            load_or_make(self._authority).issue(self._directory, *HOSTS)
        elif not is_good(files) and not _nodes_that_run(provider):
            # No server could be asked to show another one: none that shows this one is talked to.
            self._issue(Authority.load(self._authority), files)
        if asks:
            self.clients.prepare()

    def renew(
        self,
        provider: StackProvider,
        endpoints: Endpoints,
        *,
        ca: bool,
        blueprint: Callable[[], Blueprint],
    ) -> Renewal:
        """A new certificate, shown by every node that runs; see `LocalStack.renew_certificate`.

        Where clients are asked for theirs, those are renewed too. Every step leaves servers and
        clients that take each other: whom to trust is told before anybody shows it.

        Args:
            provider: Who runs the stack.
            endpoints: Where it is.
            ca: Of new authorities.
            blueprint: Which services there are; asked for only where Vault asks for certificates.
        """
        files = tls_files(self._data_dir)
        if files is None:
            raise StackError(
                "the stack speaks plain HTTP: there is no certificate to renew",
                looked_at=str(self._directory),
                remedy=f"{named('down')}, then {named('up', '--tls')}: its data stays",
            )
        serving = {service.name for service in provider.describe() if service.serves}
        nodes = [node for node in endpoints.nodes if node.name in serving]
        # Before anything is changed: it may be broken.
        plan = blueprint() if self.clients.wanted else None
        if ca and plan is not None:
            self.clients.check_exchange(nodes)
        if ca:
            authority = Authority()
            authority.save(self._authority)
        else:
            authority = Authority.load(self._authority)
        files = self._issue(authority, files)
        clients: tuple[str, ...] = ()
        if plan is not None:
            clients = self.clients.exchange(plan) if ca else self.clients.renew(plan)
        hand_out_tls(self._data_dir)
        provider.reload_vault()
        shown = [_await_shown(node.name, node.address, files) for node in nodes]
        # Between them and clients, where faults of single requests are set; it shows the same.
        recorder = through(provider)
        if recorder is not None and RECORDER_NAME in serving:
            _await_shown("the HTTP recorder", base_url(recorder, tls=True), files)
        if clients:
            self.clients.await_taken(nodes)
        return Renewal(
            serial=shown[0].serial,
            ends=shown[0].ends,
            ca_cert=files.ca,
            nodes=tuple(node.name for node in nodes),
            later=tuple(node.name for node in endpoints.nodes if node not in nodes),
            clients=clients,
        )

    def _issue(self, authority: Authority, files: TlsFiles) -> TlsFiles:
        """A new certificate; who trusts the authority before goes on to do so."""
        # The one before, after a change of authorities or one that was ended half-way.
        before = first_in_file(files.ca)
        beside = before if before != authority.certificate.decode() else ""
        return authority.issue(self._directory, *HOSTS, beside=beside)

    def _refuse_running(self, provider: StackProvider, how: str, option: str) -> None:
        if found := _nodes_that_run(provider):
            raise StackError(
                f"Vault runs {how} is asked for",
                looked_at=f"{self._data_dir}; {', '.join(found)}",
                remedy=f"{named('down')}, then {named('up', option)}: its data stays, and its "
                "addresses begin with https",
            )


def _nodes_that_run(provider: StackProvider) -> list[str]:
    return [each.detail for each in provider.describe() if each.node and each.running]


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
