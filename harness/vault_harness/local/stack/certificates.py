"""Make and renew the certificates of a local stack that speaks TLS, and of its clients."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from vault_harness.addresses import base_url
from vault_harness.certificates import (
    CA_NAME,
    CLIENTS_NAME,
    OPERATOR,
    Authority,
    Shown,
    TlsFiles,
    end_of,
    first_in_file,
    in_file,
    is_good,
    pems,
    shown_by,
)
from vault_harness.errors import StackError, named
from vault_harness.files import write_text
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import answers, seal_status_url
from vault_harness.local.engine.provider import (
    BALANCER_NAME,
    RECORDER_NAME,
    TLS_DIRECTORY,
    Endpoints,
    NodeEndpoint,
    StackProvider,
    tls_files,
)
from vault_harness.local.stack.client_path import through_recorder
from vault_harness.local.stack.data_dir import AUTHORITY_NAME, NAMESPACES_NAME, hand_out_tls
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.approle import CERTIFICATE_SUFFIX, certificate_file, credential_files
from vault_harness.waiting import wait_until

HOSTS = (
    *("localhost", "127.0.0.1", "vault", "toxiproxy", "balancer"),
    *(f"vault-{number}" for number in range(2, 10)),
)
"""Names of the servers for clients, on this machine and in a container network. Toxiproxy and the
balancer pass TLS through."""

_SHOWN_SECONDS = 15.0

_OWN = (OPERATOR, BALANCER_NAME, RECORDER_NAME)
"""The stack's own clients."""

_PROBE = "next.pem"
_PROBE_LIFE = timedelta(hours=1)
_TAKEN_SECONDS = 15.0
_LOOK_SECONDS = 3.0


class ClientCertificates:
    """The certificates of all clients, for a Vault that requires them, and who signs them.

    Their authority is not the servers' one, so a service's key proves nothing to clients, and a
    server's key opens nothing. A server reads the authorities of its clients only at its start
    (OpenBao 2.7.2; SIGHUP only reloads its own certificate).

    So there are two: one signs now, the other will sign next. A server trusts both from its start,
    so the next one can begin to sign while servers run.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._signing = data_dir / AUTHORITY_NAME / "clients"
        self._following = data_dir / AUTHORITY_NAME / "clients-next"
        self._tls = data_dir / TLS_DIRECTORY

    @property
    def wanted(self) -> bool:
        return (self._tls / CLIENTS_NAME).exists()

    def files(self, blueprint: Blueprint) -> dict[str, Path]:
        """Return each client's certificate file, whether it exists or not."""
        own = {name: self._tls / f"{name}.pem" for name in _OWN}
        found = sorted(self._data_dir.glob(f"*{CERTIFICATE_SUFFIX}"))
        return (
            own
            | {path.name.removesuffix(CERTIFICATE_SUFFIX): path for path in found}
            | self._of_services(blueprint)
        )

    def prepare(self) -> None:
        """Make the authorities and the stack's own certificates, before servers start."""
        signing = self._authorities()[0]
        self._trust(*self._beside())
        own = {name: self._tls / f"{name}.pem" for name in _OWN}
        ends = {name: end_of(path) for name, path in own.items()}
        now = datetime.now(UTC)
        self._issue(signing, {n: own[n] for n, end in ends.items() if end is None or end < now})

    def issue_missing(self, blueprint: Blueprint) -> None:
        services = self._of_services(blueprint)
        missing = {name: path for name, path in services.items() if not path.exists()}
        if missing:
            self._issue(Authority.load(self._signing), missing)

    def renew(self, blueprint: Blueprint) -> tuple[str, ...]:
        """Issue new certificates, and end the trust in the former authority."""
        signing = self._authorities()[0]
        self._trust()
        return self._issue(signing, self.files(blueprint))

    def exchange(self, blueprint: Blueprint) -> tuple[str, ...]:
        """Let the next authority sign; the former one stays trusted. Needs `check_exchange`."""
        before = first_in_file(self._signing / CA_NAME) if self._signing.is_dir() else ""
        retired = self._signing.with_name("clients-before")
        shutil.rmtree(retired, ignore_errors=True)
        if self._signing.is_dir():
            self._signing.rename(retired)
        # If this is interrupted, `_authorities` completes it.
        signing = self._authorities()[0]
        shutil.rmtree(retired, ignore_errors=True)
        self._trust(before)
        return self._issue(signing, self.files(blueprint))

    def check_exchange(self, nodes: Sequence[NodeEndpoint]) -> None:
        """Refuse if a node has run since before the last exchange and trusts no next authority."""
        probe = self._tls / _PROBE
        Authority.load(self._following).issue_client(probe, OPERATOR, life=_PROBE_LIFE)
        try:
            refusing = [node.name for node in nodes if not _taken(node, probe)]
        finally:
            probe.unlink(missing_ok=True)
        if refusing:
            raise StackError(
                f"{' and '.join(refusing)} would refuse certificates of the next client authority: "
                "a server reads its trusted authorities at its start, and this one has run since "
                "before the last exchange",
                looked_at=", ".join(node.address for node in nodes),
                remedy=f"{named('restart')}, then {named('unseal')}, then repeat this; nothing was "
                "changed",
            )

    def await_taken(self, nodes: Sequence[NodeEndpoint]) -> None:
        own = self._tls / f"{OPERATOR}.pem"
        for node in nodes:
            wait_until(
                partial(_taken, node, own),
                f"{node.name} to take the tasks' new certificate",
                timeout=_TAKEN_SECONDS,
                interval=0.05,
                remedy=f"look at its log ({named('logs')}); {named('restart')} has it read whom to "
                "trust, and seals",
            )

    def _authorities(self) -> tuple[Authority, Authority]:
        if not self._signing.is_dir() and self._following.is_dir():
            self._following.rename(self._signing)  # continue an exchange
        return load_or_make(self._signing), load_or_make(self._following)

    def _beside(self) -> list[str]:
        """Return former authorities, which stay trusted until a renewal."""
        with contextlib.suppress(FileNotFoundError):
            return [self._tls.joinpath(CLIENTS_NAME).read_text()]
        return []

    def _trust(self, *beside: str) -> None:
        """Write the authorities that servers trust from their next start on."""
        both = [(folder / CA_NAME).read_text() for folder in (self._signing, self._following)]
        wanted = list(dict.fromkeys(pem for text in (*both, *beside) for pem in pems(text)))
        write_text(self._tls / CLIENTS_NAME, "".join(wanted))

    def _of_services(self, blueprint: Blueprint) -> dict[str, Path]:
        roles = {role: role for role in blueprint.approles} | dict(blueprint.services)
        # A certificate is valid for the whole server, in any namespace.
        places = [self._data_dir, *self._data_dir.glob(f"{NAMESPACES_NAME}/*/")]
        return {
            name: certificate_file(name, self._data_dir)
            for name, role in roles.items()
            if any(all(file.exists() for file in credential_files(role, at)) for at in places)
        }

    @staticmethod
    def _issue(signing: Authority, clients: Mapping[str, Path]) -> tuple[str, ...]:
        for name, path in clients.items():
            signing.issue_client(path, name)
        return tuple(clients)


def load_or_make(directory: Path) -> Authority:
    """Return the authority of a folder, or make one. A key without certificate signed nothing."""
    if (directory / CA_NAME).exists():
        return Authority.load(directory)
    authority = Authority()
    authority.save(directory)
    return authority


def _taken(node: NodeEndpoint, own: Path) -> bool:
    return answers(seal_status_url(node.address), timeout=_LOOK_SECONDS, own=own)


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
        recorder = through_recorder(provider)
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
