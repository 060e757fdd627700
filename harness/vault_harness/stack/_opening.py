"""From a Vault that answers to one that serves: initialised once, its keys kept, unsealed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine import DATA_NAME, NODE_NAME, Endpoints
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    OperatorError,
    StackError,
)
from vault_harness.interrupts import uninterrupted
from vault_harness.stack._data_dir import INIT_MARKER_NAME, KEYRING_NAME
from vault_harness.stack._members import admit, await_voters
from vault_harness.vault import Keyring, Operator, SealStatus, cluster
from vault_harness.vault.root import standing_operator
from vault_harness.vault.unfinished import UnfinishedRestore, unfinished_restore

_UNSEAL_SECONDS = 30.0
_NEW = 501
_CLOSED = frozenset({0, _NEW, 503})  # 0 is one that was asked again, and answered then


@dataclass(frozen=True, kw_only=True)
class Unsealed:
    """What came of unsealing, by the names of nodes.

    Attributes:
        opened: Those that were sealed, or no members yet, and serve now.
        before: Those that served before.
        silent: Those that do not run, or do not answer: whether they are open, nobody knows.
    """

    opened: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()


class Opening:
    """Opens the Vault of a data directory.

    It initialises a Vault only where there are no keys, and never removes one that somebody else
    may have initialised.

    Args:
        data_dir: Where the keyring is.
    """

    def __init__(self, data_dir: Path) -> None:
        self.keyring_path = data_dir / KEYRING_NAME
        self._marker = data_dir / INIT_MARKER_NAME

    def keyring(self) -> Keyring | None:
        """The keyring, or None if there is none."""
        return Keyring.load(self.keyring_path) if self.keyring_path.exists() else None

    def check_keys(self, threshold: int = 0) -> None:
        """See that keys are here that can open a Vault; they are given to nobody.

        Args:
            threshold: How many it wants; 0 if it is not known, for what the keyring says.

        Raises:
            KeyringMissing: There are none, or too few.
            StackError: The keyring is broken.
        """
        keyring = self.keyring()
        if keyring is None:
            raise KeyringMissing(
                "the unseal keys are not here",
                looked_at=self._looked_at(),
                remedy=self.keys_never_kept()
                or f"{self._mount()}{named('restore.keys')} puts them back from a backup, or "
                f"whoever has them saves them as {self.keyring_path}",
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
        """What those nodes say together that answer: initialised if one is, sealed if all are.

        Raises:
            OperatorError: None of them answers.
        """
        keyring = None
        with contextlib.suppress(HarnessError):  # a broken one: no reason not to look
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
        """Whether a node that answers is sealed, or no member yet."""
        with cluster.operators(endpoints.addresses, ca_cert=endpoints.ca_cert) as nodes:
            return not {501, 503}.isdisjoint(cluster.health_of_all(nodes))

    def open(self, discard: Callable[[], object], endpoints: Endpoints) -> None:
        """Initialise what is new, and unseal what is sealed.

        Args:
            discard: Removes a new Vault whose keys could not be kept.
            endpoints: Where it is.

        Raises:
            KeyringMissing: It is initialised, and its keys are not here.
            StackError: It is not initialised, and keys are here.
        """
        if not self.seal_status(endpoints).initialised:
            self._initialise(discard, endpoints)
        self.unseal(endpoints)

    def unseal(self, endpoints: Endpoints) -> Unsealed:
        """Unseal every node that answers; one of a cluster that is none yet becomes a member.

        One that unseals itself needs no keys, unless it was sealed by hand.

        Returns:
            What came of it. Of a cluster some may be silent; the others serve.

        Raises:
            KeyringMissing: The keys are not here, and they are needed.
            OperatorError: A node does not take the keys, or none answers.
            DeadlineExceeded: Those that answer do not all serve in time.
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
        if self._marker.exists():  # a disk that can only be read takes no removal of nothing either
            self._marker.unlink()
        closed = [node for node in nodes if health[node] in _CLOSED]
        return Unsealed(
            opened=_names(endpoints, closed),
            before=_names(endpoints, [node for node in nodes if node not in closed]),
            silent=silent,
        )

    def is_begun(self) -> bool:
        """Whether a task was ended while it initialised the Vault, or does so now."""
        return self._marker.exists()

    def keys_never_kept(self) -> str:
        """What a person does about a Vault that was initialised, and whose keys were not kept.

        No backup has them. Whether somebody else does, only a person can know; nothing of it
        destroys what that one has.

        Returns:
            Empty where the keys are here, or no task was ended while it initialised the Vault.
        """
        here = self.keyring_path
        if here.exists() or not self._marker.exists():
            return ""
        data = here.parent / NODE_NAME / DATA_NAME
        return (
            f"{self._mount()}whoever has the keys saves them as {here} (`vault operator init "
            f"-format=json` prints that form), then {named('up')}. If nobody ever had them, "
            f"nothing is in this Vault: {named('down')}, give the folder {data} another name, then "
            f"{named('up')}, which makes a new one there"
        )

    def unfinished_restore(self) -> UnfinishedRestore | None:
        """A restore that was ended half-way, or is under way."""
        return unfinished_restore(self.keyring_path)

    def is_half_restored(self) -> bool:
        """Whether a restore was ended half-way, and has not put its backup's keys here yet.

        Its Vault may have the snapshot by now, which these keys do not open.
        """
        unfinished = self.unfinished_restore()
        return unfinished is not None and not unfinished.keys_here

    def forget_what_changed_nothing(self, endpoints: Endpoints) -> None:
        """Drop the note of a restore that was ended before its backup was in.

        For who has just started all nodes: one that runs on may be about to find out that it has
        other keys. Where all are of one Vault, and a token that is here is good there, it is as it
        was before, and the next restore begins anew in any case.
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
            standing_operator(
                leader, keyring, self.keyring_path.parent, ca_cert=endpoints.ca_cert
            ).close()
            unfinished.note.unlink()

    def half_restored(self, error: HarnessError) -> HarnessError:
        """The error of keys or tokens that are not good; with what goes on where that is why."""
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
        nodes: Sequence[Operator],
        health: Mapping[Operator, int],
        keyring: Keyring,
        endpoints: Endpoints,
    ) -> None:
        """Unseal nodes and wait until all of them serve; of a cluster, as members that vote."""
        outside = [node for node in nodes if health[node] == _NEW and len(endpoints.nodes) > 1]
        given: Sequence[Operator] = ()
        if len(endpoints.nodes) > 1 and (outside or keyring.kind == "shamir"):
            # A quorum of the others leads, by whom alone one can become a member.
            members = [node for node in nodes if node not in outside]
            outside += cluster.give_keys_to_all(members, keyring)
            if outside:
                inside = [node for node in members if node not in outside]
                leader = cluster.wait_for_active(inside, timeout=_UNSEAL_SECONDS)
                admit(outside, leader, keyring, endpoints)
            given = nodes if keyring.kind == "shamir" else ()
        leader = self._unseal_all(nodes, keyring, given)
        if len(endpoints.nodes) > 1:
            # Also of those that are members: who ended the task that made them waited for none.
            unsure = () if outside else (KeyringMissing, OperatorError)
            with contextlib.suppress(*unsure):  # nobody can tell
                self._await_voters(leader, keyring, len(nodes))

    def _no_keys_needed(self, endpoints: Endpoints) -> Keyring:
        """The empty keyring, for a Vault that unseals itself.

        Raises:
            KeyringMissing: It does not, or nobody may ever have had its keys.
        """
        if self._marker.exists() or self.seal_status(endpoints).kind != "recovery":
            raise self.keyring_missing()
        return Keyring((), 0, "", kind="recovery")

    def _unseal_all(
        self, nodes: Sequence[Operator], keyring: Keyring, given: Sequence[Operator] = ()
    ) -> Operator:
        try:
            return cluster.unseal_all(nodes, keyring, timeout=_UNSEAL_SECONDS, given=given)
        except DeadlineExceeded as error:
            if keyring.keys or 503 not in cluster.health_of_all(nodes):
                raise  # it is open, and no keys would make it serve
            raise KeyringMissing(
                "this Vault unseals itself when it is started, and does not now; its recovery keys "
                "are not here",
                looked_at=f"{self._looked_at()}; {error.looked_at}",
                remedy=f"{named('restart')}, if it was sealed by hand; {named('restore.keys')} "
                "puts the keys back from a backup",
            ) from None

    def _await_voters(self, leader: Operator, keyring: Keyring, count: int) -> None:
        directory = self.keyring_path.parent
        acting = standing_operator(leader.address, keyring, directory, ca_cert=leader.ca_cert)
        with contextlib.closing(acting) as operator:
            await_voters(operator, count)

    def _await_balancer(self, endpoints: Endpoints) -> None:
        """Until it knows who leads, clients would be turned away."""
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
                # Whom to trust is said by the stack: a keyring may be carried to another one.
                keyring = replace(operator.init(), ca_cert=None)
            except HarnessError:
                self._forget_if_new(endpoints)
                raise
            try:
                keyring.save(self.keyring_path)
            except OSError as error:
                # Ours alone, a moment old, and its keys are lost with this process.
                discard()
                self._marker.unlink(missing_ok=True)
                raise StackError(
                    f"the unseal keys of the new Vault could not be written: {error.strerror}",
                    looked_at=str(self.keyring_path),
                    remedy="make room there; the new, empty Vault was removed again, so run "
                    f"{named('up')} once more",
                ) from None

    def _forget_if_new(self, endpoints: Endpoints) -> None:
        """Drop the marker of an init that came to nothing."""
        with contextlib.suppress(HarnessError):
            if not self.seal_status(endpoints).initialised:
                self._marker.unlink(missing_ok=True)

    def _keys_of_another(self) -> StackError:
        return StackError(
            "keys are here, and the Vault that was started has never been initialised: its data "
            "is not where it was",
            looked_at=str(self.keyring_path),
            remedy="put the data back, of a backup or from where it was moved; to begin anew move "
            f"{KEYRING_NAME} to a safe place and run {named('up')}",
        )

    def keyring_missing(self) -> KeyringMissing:
        """The error for an initialised Vault whose keys are not here."""
        looked_at = self._looked_at()
        back = f"{self._mount()}{named('restore.keys')} puts them back from a backup"
        anew = "a new Vault finds its place in another folder (HARNESS_DATA_DIR)"
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
            remedy=f"{back}; the data stays for the day when they turn up, and {anew}",
        )

    def _looked_at(self) -> str:
        here = self.keyring_path
        # Beside what a link leads to, too: there are those that were kept.
        places = dict.fromkeys((here, files.led_to(here)))
        found = (path for place in places for path in sorted(place.parent.glob(f"{place.name}.*")))
        beside = ", ".join(path.name if path.parent == here.parent else str(path) for path in found)
        leads = f", a link to {here.readlink()}" if files.leads_nowhere(here) else ""
        return f"{here}{leads}" + (f"; beside it: {beside}" if beside else "")

    def _mount(self) -> str:
        """What comes before other remedies where the keys are on a disk that is away."""
        return (
            "mount the disk that has them; else " if files.leads_nowhere(self.keyring_path) else ""
        )


def _names(endpoints: Endpoints, nodes: Sequence[Operator]) -> tuple[str, ...]:
    """What nodes are called, in their order."""
    asked = {node.address for node in nodes}
    return tuple(node.name for node in endpoints.nodes if node.address in asked)
