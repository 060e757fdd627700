"""What clients show to a stack's Vault that asks for certificates: signed, handed out, exchanged.

They are signed by an authority of their own, not by the servers'. A service's key then proves
nothing to who trusts the servers' authority, and a server's key opens no door. Above all the two
are exchanged in different ways: clients read anew whom they trust, while a server reads the
authorities of its clients once, when it starts (OpenBao 2.7.2; SIGHUP has it read its own
certificate alone). So the servers' authority can be exchanged without a look at this one.

That is also why there are two of these, the one that signs now and the one that will sign next, and
a server trusts both from its start on. Another authority can sign while all servers run: it is
trusted already. The one before is trusted by each server until that one starts again.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from vault_harness.blueprint import Blueprint
from vault_harness.certificates import (
    CA_NAME,
    CLIENTS_NAME,
    OPERATOR,
    Authority,
    end_of,
    first_in_file,
    pems,
)
from vault_harness.commands import named
from vault_harness.engine import (
    BALANCER_NAME,
    RECORDER_NAME,
    TLS_DIRECTORY,
    NodeEndpoint,
    answers,
    seal_status_url,
)
from vault_harness.errors import StackError
from vault_harness.files import write_text
from vault_harness.stack._data_dir import AUTHORITY_NAME, NAMESPACES_NAME
from vault_harness.vault.approle import CERTIFICATE_SUFFIX, certificate_file, credential_files
from vault_harness.waiting import wait_until

_OWN = (OPERATOR, BALANCER_NAME, RECORDER_NAME)
"""Clients that are the stack itself: its tasks, and what stands between clients and Vault."""

_PROBE = "next.pem"
_PROBE_LIFE = timedelta(hours=1)
_TAKEN_SECONDS = 15.0
_LOOK_SECONDS = 3.0


class ClientCertificates:
    """The certificates of all clients of a stack, and who signs them.

    Args:
        data_dir: Holds the authorities, what the stack's own clients show, and beside the ids of
            its services what those show.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._signing = data_dir / AUTHORITY_NAME / "clients"
        self._following = data_dir / AUTHORITY_NAME / "clients-next"
        self._tls = data_dir / TLS_DIRECTORY

    @property
    def wanted(self) -> bool:
        """Whether the servers are started so that they ask for one."""
        return (self._tls / CLIENTS_NAME).exists()

    def files(self, blueprint: Blueprint) -> dict[str, Path]:
        """Where each client's is, by its name, there or not.

        Clients are the stack's own; the blueprint's services, and its AppRoles by their own names,
        that have ids here; and whoever was given one before.
        """
        own = {name: self._tls / f"{name}.pem" for name in _OWN}
        found = sorted(self._data_dir.glob(f"*{CERTIFICATE_SUFFIX}"))
        return (
            own
            | {path.name.removesuffix(CERTIFICATE_SUFFIX): path for path in found}
            | self._of_services(blueprint)
        )

    def prepare(self) -> None:
        """Before servers start: have authorities there, and what the stack's own clients show.

        Raises:
            SettingsError: An authority's files cannot be read.
        """
        signing = self._authorities()[0]
        self._trust(*self._beside())
        own = {name: self._tls / f"{name}.pem" for name in _OWN}
        ends = {name: end_of(path) for name, path in own.items()}
        now = datetime.now(UTC)
        self._issue(signing, {n: own[n] for n, end in ends.items() if end is None or end < now})

    def issue_missing(self, blueprint: Blueprint) -> None:
        """Give a certificate to each service that has none.

        Raises:
            SettingsError: The authority's files cannot be read.
        """
        services = self._of_services(blueprint)
        missing = {name: path for name, path in services.items() if not path.exists()}
        if missing:
            self._issue(Authority.load(self._signing), missing)

    def renew(self, blueprint: Blueprint) -> tuple[str, ...]:
        """New ones for all clients; the authority before is left out of whom servers trust.

        Returns:
            Whose; see `files`.

        Raises:
            SettingsError: The authority's files cannot be read.
        """
        signing = self._authorities()[0]
        self._trust()
        return self._issue(signing, self.files(blueprint))

    def exchange(self, blueprint: Blueprint) -> tuple[str, ...]:
        """The same by the next authority; the one before stays trusted beside it.

        To be called after `check_exchange`.
        """
        before = first_in_file(self._signing / CA_NAME) if self._signing.is_dir() else ""
        retired = self._signing.with_name("clients-before")
        shutil.rmtree(retired, ignore_errors=True)
        if self._signing.is_dir():
            self._signing.rename(retired)
        # From here on `_authorities` goes on, should this end half-way.
        signing = self._authorities()[0]
        shutil.rmtree(retired, ignore_errors=True)
        self._trust(before)
        return self._issue(signing, self.files(blueprint))

    def check_exchange(self, nodes: Sequence[NodeEndpoint]) -> None:
        """See that the nodes take what the next authority signs, before anybody is told to show it.

        Raises:
            SettingsError: That authority's files cannot be read.
            StackError: A node does not: it runs since before the last exchange.
        """
        probe = self._tls / _PROBE
        Authority.load(self._following).issue_client(probe, OPERATOR, life=_PROBE_LIFE)
        try:
            refusing = [node.name for node in nodes if not _taken(node, probe)]
        finally:
            probe.unlink(missing_ok=True)
        if refusing:
            raise StackError(
                f"{' and '.join(refusing)} would refuse what the next authority of clients signs: "
                "a server reads whom it trusts when it starts, and this one runs since before the "
                "last exchange",
                looked_at=", ".join(node.address for node in nodes),
                remedy=f"{named('restart')}, then {named('unseal')}, then this again; nothing was "
                "changed",
            )

    def await_taken(self, nodes: Sequence[NodeEndpoint]) -> None:
        """See that each node takes what the tasks show now.

        Raises:
            DeadlineExceeded: One does not.
        """
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
        """Who signs now, and who will next; made where there are none."""
        if not self._signing.is_dir() and self._following.is_dir():
            self._following.rename(self._signing)  # an exchange, begun now or ended half-way
        return load_or_make(self._signing), load_or_make(self._following)

    def _beside(self) -> list[str]:
        """Whom servers trust beside the two: before a renewal nobody is left out."""
        with contextlib.suppress(FileNotFoundError):
            return [self._tls.joinpath(CLIENTS_NAME).read_text()]
        return []

    def _trust(self, *beside: str) -> None:
        """Write whom servers trust from their next start on."""
        both = [(folder / CA_NAME).read_text() for folder in (self._signing, self._following)]
        wanted = list(dict.fromkeys(pem for text in (*both, *beside) for pem in pems(text)))
        write_text(self._tls / CLIENTS_NAME, "".join(wanted))

    def _of_services(self, blueprint: Blueprint) -> dict[str, Path]:
        roles = {role: role for role in blueprint.approles} | dict(blueprint.services)
        # A certificate is good for the whole server, whichever namespace the ids are of.
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
    """The authority of a folder; a new one where there is none.

    A key alone is of one that was never finished: it has signed nothing.

    Raises:
        SettingsError: Its key is lost, or it cannot be read.
    """
    if (directory / CA_NAME).exists():
        return Authority.load(directory)
    authority = Authority()
    authority.save(directory)
    return authority


def _taken(node: NodeEndpoint, own: Path) -> bool:
    return answers(seal_status_url(node.address), timeout=_LOOK_SECONDS, own=own)
