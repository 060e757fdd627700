"""Make and renew the certificates of a local stack that speaks TLS."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from vault_harness.addresses import base_url
from vault_harness.certificates import (
    Authority,
    Shown,
    TlsFiles,
    first_in_file,
    in_file,
    is_good,
    shown_by,
)
from vault_harness.errors import StackError, named
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.provider import (
    RECORDER_NAME,
    TLS_DIRECTORY,
    Endpoints,
    StackProvider,
    tls_files,
)
from vault_harness.local.stack.client_certificates import ClientCertificates, load_or_make
from vault_harness.local.stack.data_dir import AUTHORITY_NAME
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.stack.recording import through
from vault_harness.local.stack.service_ids import hand_out_tls
from vault_harness.waiting import wait_until

HOSTS = (
    *("localhost", "127.0.0.1", "vault", "toxiproxy", "balancer"),
    *(f"vault-{number}" for number in range(2, 10)),
)
"""Names of the servers for clients, on this machine and in a container network. Toxiproxy and the
balancer pass TLS through."""

_SHOWN_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class Renewal:
    """The result of a renewal.

    Attributes:
        nodes: Names of the nodes that use it.
        later: Names of stopped nodes, which use it from their next start on.
        clients: Empty if Vault requires no client certificates.
    """

    serial: str
    ends: datetime
    ca_cert: Path
    nodes: tuple[str, ...]
    later: tuple[str, ...]
    clients: tuple[str, ...] = ()


class Certificates:
    """Makes and renews the certificates of servers, and of clients if required."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._authority = data_dir / AUTHORITY_NAME
        self._directory = data_dir / TLS_DIRECTORY
        self.clients = ClientCertificates(data_dir)

    def prepare(self, provider: StackProvider, *, wanted: bool, of_clients: bool = False) -> None:
        """Make certificates before servers start, if they shall speak TLS.

        A stack that had TLS or client certificates keeps them. A Vault that runs without is
        refused.
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
            record.save(self._data_dir)  # first: an unfinished certificate is made again
        if files is None:
            load_or_make(self._authority).issue(self._directory, *HOSTS)
        elif not is_good(files) and not _nodes_that_run(provider):
            # Expired, and no node runs: no client could talk to any of them.
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
        """Renew the certificates of all servers and clients.

        CA files change before certificates, so that servers and clients accept each other at every
        step. `blueprint` is called only if Vault requires client certificates.
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
        # Before anything changes: it may be invalid.
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
        # The recorder of request faults uses the same certificate.
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
        # The first certificate differs if the authority was exchanged. It stays trusted.
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
    wanted, seen = in_file(files.certificate)[0], list[Shown]()

    def shows() -> bool:
        with contextlib.suppress(OSError):  # the old certificate may have expired
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
