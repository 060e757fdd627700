"""Open a Vault that answers: initialise it once, keep its keys, unseal it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vault_harness import files
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    StackError,
    named,
)
from vault_harness.interrupts import uninterrupted
from vault_harness.local.engine.configuration import DATA_NAME
from vault_harness.local.engine.provider import NODE_NAME, Endpoints
from vault_harness.local.stack.data_dir import INIT_MARKER_NAME, KEYRING_NAME
from vault_harness.local.stack.members import admit, await_voters, health_of
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import CLOSED, NEW, SEALED, VaultAdmin
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.keyring import Keyring, UnfinishedRestore, unfinished_restore
from vault_harness.local.vault.tokens import admin_with_token

_UNSEAL_SECONDS = 30.0
_LOG_LINE = re.compile(r"(?P<time>\S+) \[(?P<level>\w+)\] +(?:core: )?(?P<text>.*)")


@dataclass(frozen=True, kw_only=True)
class Unsealed:
    """The result of unsealing, as names of nodes.

    Attributes:
        opened: Serve now, and did not before.
        before: Served before.
        silent: Do not run or answer; their state is unknown.
    """

    opened: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


def none_leads(why: str) -> StackError:
    return StackError(
        f"Vault is unsealed, and no node can lead: {why}",
        looked_at=f"the servers' logs ({named('logs')})",
        remedy=f"fix that, then {named('up')}",
    )


class Opening:
    """Opens a Vault. It never removes one that somebody else may have initialised."""

    def __init__(self, data_dir: Path, server_lines: Callable[[], Iterable[str]] = tuple) -> None:
        self._server_lines = server_lines
        self.keyring_path = data_dir / KEYRING_NAME
        self._marker = data_dir / INIT_MARKER_NAME

    def keyring(self) -> Keyring | None:
        return Keyring.load(self.keyring_path) if self.keyring_path.exists() else None

    def keyring_trouble(self) -> str:
        """Return why the keyring cannot be used; empty if it can, or if there is none."""
        try:
            self.keyring()
        except HarnessError as error:
            return error.cause
        except OSError as error:
            return f"{KEYRING_NAME} cannot be read: {error.strerror}"
        return ""

    def check_keys(self, threshold: int = 0) -> None:
        """Check that enough keys are here; 0 uses the keyring's threshold. Sends no key."""
        keyring = self.keyring()
        if keyring is None:
            raise KeyringMissing(
                "the unseal keys are not here",
                looked_at=self._looked_at(),
                remedy=self.keys_never_kept()
                or f"{self._mount()}{named('restore.keys')} puts them back from a backup, or "
                f"if you have them elsewhere, save them as {self.keyring_path}",
            )
        wanted = threshold or keyring.threshold
        given = len(set(keyring.keys[: keyring.threshold]))
        if given < wanted:
            raise KeyringMissing(
                "too few of the unseal keys are here",
                looked_at=f"{self.keyring_path}: {given} would be given, and {wanted} are needed",
                remedy=f"{named('restore.keys')} puts the right keyring back from a backup, and "
                "keeps this one beside",
            )

    def seal_status(self, endpoints: Endpoints, *, timeout: float = 10.0) -> SealStatus:
        """Return the nodes' common status: initialised if one is, sealed if all are."""
        keyring = None
        with contextlib.suppress(HarnessError, OSError):  # looking works without a keyring
            keyring = self.keyring()
        found, errors = [], []
        with cluster.operators(
            endpoints.addresses, keyring, ca_cert=endpoints.ca_cert, timeout=timeout
        ) as nodes:
            for node in nodes:
                try:
                    found.append(node.seal_status())
                except OperatorError as error:
                    errors.append(error)
        if not found:
            raise errors[0]
        return max(found, key=lambda status: (status.initialised, not status.sealed))

    def any_sealed(self, endpoints: Endpoints) -> bool:
        return not CLOSED.isdisjoint(health_of(endpoints))

    def open(self, discard: Callable[[], object], endpoints: Endpoints) -> None:
        """Initialise a new Vault, and unseal a sealed one.

        `discard` removes a new Vault whose keys could not be saved. Keys without an initialised
        Vault are refused, and the reverse.
        """
        if not self.seal_status(endpoints).initialised:
            self._initialise(discard, endpoints)
        self.unseal(endpoints)

    def unseal(self, endpoints: Endpoints) -> Unsealed:
        """Unseal every node that answers, and let new nodes join.

        A Vault that unseals itself needs no keys, unless it was sealed by hand.
        """
        keyring = self.keyring()
        if keyring is None:
            keyring = self._no_keys_needed(endpoints)
        with cluster.operators(endpoints.addresses, keyring, ca_cert=endpoints.ca_cert) as every:
            health = dict(zip(every, cluster.health_of_all(every), strict=True))
            nodes = [node for node, status in health.items() if status] or list(every)
            silent = _names(endpoints, [node for node in every if node not in nodes])
            try:
                self._open(nodes, health, keyring, endpoints)
            except OperatorError as error:
                raise self.half_restored(error) from None
            except DeadlineExceeded as error:
                if not silent:
                    raise self.half_restored(error) from None
                raise DeadlineExceeded(
                    f"{error.cause}; {' and '.join(silent)} did not answer",
                    looked_at=error.looked_at,
                    remedy=f"{named('up')} wakes what was paused, and starts what does not run; "
                    f"else {error.remedy}",
                ) from None
        if endpoints.balancer is not None:
            self._await_balancer(endpoints)
        if self._marker.exists():  # a read-only disk refuses even to remove a missing file
            self._marker.unlink()
        # 0: no answer at first, then one after a second try
        closed = [node for node in nodes if health[node] in {0, *CLOSED}]
        return Unsealed(
            opened=_names(endpoints, closed),
            before=_names(endpoints, [node for node in nodes if node not in closed]),
            silent=silent,
        )

    def is_begun(self) -> bool:
        return self._marker.exists()

    def keys_never_kept(self) -> str:
        """Return the remedy for a Vault that was initialised without saving its keys, else empty.

        Only the user can know whether somebody else has them, so it destroys nothing.
        """
        here = self.keyring_path
        if here.exists() or not self._marker.exists():
            return ""
        data = here.parent / NODE_NAME / DATA_NAME
        return (
            f"{self._mount()}if you have the keys, save them as {here} (`vault operator init "
            f"-format=json` prints that form), then {named('up')}. If nobody ever had them, "
            f"this Vault is empty: {named('down')}, give the folder {data} another name, "
            f"then {named('up')}, which makes a new one there"
        )

    def unfinished_restore(self) -> UnfinishedRestore | None:
        return unfinished_restore(self.keyring_path)

    def is_half_restored(self) -> bool:
        """Return whether a restore was interrupted before it saved its backup's keys here.

        The present keys may not open Vault.
        """
        unfinished = self.unfinished_restore()
        return unfinished is not None and not unfinished.keys_here

    def forget_what_changed_nothing(self, endpoints: Endpoints) -> None:
        """Delete the note of a restore that was interrupted before its snapshot was loaded.

        Only after a start of all nodes: a running node may still notice that its keys differ. If
        all nodes belong to one Vault and a token is valid, nothing changed.
        """
        unfinished = self.unfinished_restore()
        if unfinished is None or unfinished.keys_here or (keyring := self.keyring()) is None:
            return
        with (
            contextlib.suppress(HarnessError),
            cluster.operators(endpoints.addresses, keyring, ca_cert=endpoints.ca_cert) as nodes,
        ):
            if len({node.request("GET", "sys/seal-status")["cluster_id"] for node in nodes}) > 1:
                return
            leader = cluster.wait_for_active(nodes, timeout=_UNSEAL_SECONDS).address
            admin_with_token(
                leader, keyring, self.keyring_path.parent, ca_cert=endpoints.ca_cert
            ).close()
            unfinished.note.unlink()

    def half_restored(self, error: HarnessError) -> HarnessError:
        unfinished = self.unfinished_restore()
        if unfinished is None or unfinished.keys_here:
            return error
        return type(error)(
            f"{error.cause}; a restore was ended half-way, and its backup's keys are not here yet",
            looked_at=f"{error.looked_at}; {unfinished.note}",
            remedy=unfinished.remedy,
        )

    def _open(
        self,
        nodes: Sequence[VaultAdmin],
        health: Mapping[VaultAdmin, int],
        keyring: Keyring,
        endpoints: Endpoints,
    ) -> None:
        outside = [node for node in nodes if health[node] == NEW and len(endpoints.nodes) > 1]
        given: Sequence[VaultAdmin] = ()
        if len(endpoints.nodes) > 1 and (outside or keyring.kind == "shamir"):
            # A node can only join through a leader, which needs a quorum of the members.
            members = [node for node in nodes if node not in outside]
            outside += cluster.give_keys_to_all(members, keyring)
            if outside:
                inside = [node for node in members if node not in outside]
                leader = cluster.wait_for_active(inside, timeout=_UNSEAL_SECONDS)
                admit(outside, leader, keyring, endpoints)
            given = nodes if keyring.kind == "shamir" else ()
        leader = self._unseal_all(nodes, keyring, given)
        if len(endpoints.nodes) > 1:
            # Also for old members: an interrupted task may not have waited.
            unsure = () if outside else (KeyringMissing, OperatorError)
            with contextlib.suppress(*unsure):  # without a token it cannot be checked
                self._await_voters(leader, keyring, len(nodes))

    def _no_keys_needed(self, endpoints: Endpoints) -> Keyring:
        if self._marker.exists() or self.seal_status(endpoints).kind != "recovery":
            raise self.keyring_missing()
        return Keyring((), 0, "", kind="recovery")

    def _unseal_all(
        self, nodes: Sequence[VaultAdmin], keyring: Keyring, given: Sequence[VaultAdmin] = ()
    ) -> VaultAdmin:
        began = datetime.now(UTC)

        def check() -> None:
            if why := self.why_none_leads(began):
                raise none_leads(why)

        try:
            return cluster.unseal_all(
                nodes, keyring, timeout=_UNSEAL_SECONDS, given=given, check=check
            )
        except DeadlineExceeded as error:
            if keyring.keys or SEALED not in cluster.health_of_all(nodes):
                raise  # it is unsealed, so keys would not help
            raise KeyringMissing(
                "this Vault unseals itself when it is started, and does not now; its recovery keys "
                "are not here",
                looked_at=f"{self._looked_at()}; {error.looked_at}",
                remedy=f"{named('restart')}, if it was sealed by hand; {named('restore.keys')} "
                "puts the keys back from a backup",
            ) from None

    def why_none_leads(self, since: datetime) -> str:
        """Return the error that made each recent attempt to lead fail; empty if none.

        A single failure means nothing: during an election a node may lose its turn.
        """
        first, failed = "", list[str]()
        for line in self._server_lines():
            found = _LOG_LINE.match(line)
            if found is None or datetime.fromisoformat(found["time"]) < since:
                continue
            text = found["text"]
            if "post-unseal setup starting" in text:
                first = ""
            elif "post-unseal setup complete" in text:
                failed.clear()
            elif found["level"] == "ERROR":
                first = first or text
                if "post-unseal setup failed" in text:
                    failed.append(first)
        return failed[-1] if len(failed) > 1 and failed[-2] == failed[-1] else ""

    def _await_voters(self, leader: VaultAdmin, keyring: Keyring, count: int) -> None:
        directory = self.keyring_path.parent
        acting = admin_with_token(leader.address, keyring, directory, ca_cert=leader.ca_cert)
        with contextlib.closing(acting) as operator:
            await_voters(operator, count)

    def _await_balancer(self, endpoints: Endpoints) -> None:
        """Wait until the balancer knows the leader; before that, it refuses clients."""
        with cluster.operators([endpoints.vault], self.keyring(), ca_cert=endpoints.ca_cert) as (
            front,
        ):
            front.wait_active(_UNSEAL_SECONDS)

    def _initialise(self, discard: Callable[[], object], endpoints: Endpoints) -> None:
        if self.keyring_path.exists():
            raise self._keys_of_another()
        files.write_private(self._marker, datetime.now(UTC).isoformat(timespec="seconds"))
        with (
            cluster.operators([endpoints.node.address], ca_cert=endpoints.ca_cert) as (operator,),
            uninterrupted(),
        ):
            try:
                # The stack names the CA; a keyring may move to another stack.
                keyring = replace(operator.init(), ca_cert=None)
            except HarnessError:
                self._forget_if_new(endpoints)
                raise
            try:
                keyring.save(self.keyring_path)
            except OSError as error:
                # This Vault is new and ours, and its keys end with this process.
                discard()
                self._marker.unlink(missing_ok=True)
                raise StackError(
                    f"the unseal keys of the new Vault could not be written: {error.strerror}",
                    looked_at=str(self.keyring_path),
                    remedy="make room there; the new, empty Vault was removed, so run "
                    f"{named('up')} again",
                ) from None

    def _forget_if_new(self, endpoints: Endpoints) -> None:
        with contextlib.suppress(HarnessError):
            if not self.seal_status(endpoints).initialised:
                self._marker.unlink(missing_ok=True)

    def _keys_of_another(self) -> StackError:
        return StackError(
            "keys are here, and the Vault that was started was never initialised: its data "
            "is not where it was",
            looked_at=str(self.keyring_path),
            remedy="put the data back, from a backup or from where it was moved; to begin again, "
            f"move {KEYRING_NAME} to a safe place and run {named('up')}",
        )

    def keyring_missing(self) -> KeyringMissing:
        looked_at = self._looked_at()
        back = f"{self._mount()}{named('restore.keys')} puts them back from a backup"
        other_folder = "for a new Vault use another folder (HARNESS_DATA_DIR)"
        if never_kept := self.keys_never_kept():
            begun = files.tail(self._marker).strip()
            return KeyringMissing(
                "this Vault is initialised, and its unseal keys are not here: an up that was "
                "ended half-way may have lost them, or somebody initialised it by hand",
                looked_at=f"{looked_at}; {self._marker} of {begun or 'an unknown time'}",
                remedy=never_kept,
            )
        return KeyringMissing(
            "this Vault is initialised, and its unseal keys are not here: once sealed, nobody can "
            "open it",
            looked_at=looked_at,
            remedy=f"{back}; keep the data until they turn up, and {other_folder}",
        )

    def _looked_at(self) -> str:
        here = self.keyring_path
        # Also beside the target of a link, where kept copies are.
        places = dict.fromkeys((here, files.led_to(here)))
        found = (path for place in places for path in sorted(place.parent.glob(f"{place.name}.*")))
        beside = ", ".join(path.name if path.parent == here.parent else str(path) for path in found)
        leads = f", a link to {here.readlink()}" if files.leads_nowhere(here) else ""
        return f"{here}{leads}" + (f"; beside it: {beside}" if beside else "")

    def _mount(self) -> str:
        return (
            "mount the disk that has them; else " if files.leads_nowhere(self.keyring_path) else ""
        )


def _names(endpoints: Endpoints, nodes: Sequence[VaultAdmin]) -> tuple[str, ...]:
    asked = {node.address for node in nodes}
    return tuple(node.name for node in endpoints.nodes if node.address in asked)
