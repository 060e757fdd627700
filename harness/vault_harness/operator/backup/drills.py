"""Rehearse a disaster: back up, lose everything, restore into another Vault, compare."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vault_harness import files
from vault_harness.errors import OperatorError, without_frames
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.configuration import QUICK_AUTOPILOT
from vault_harness.local.engine.shape import Engine, Node, NodeSpec
from vault_harness.local.vault import approle, cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.tokens import admin_with_token
from vault_harness.operator.backup.contents import Comparison, Contents, compare
from vault_harness.operator.backup.files import Backup, Keys
from vault_harness.operator.backup.lock import Lock, Opener, new_identity
from vault_harness.operator.backup.make import make_backup
from vault_harness.operator.backup.restoring import restore


@dataclass
class DrillReport:
    """What a drill showed.

    Attributes:
        comparison: Between the restored Vault and the backup.
        live: Between the live Vault and the backup, at the end.
        seals: Between the Vault and the backup, under each other seal.
    """

    steps: list[tuple[str, float]] = field(default_factory=list)
    comparison: Comparison | None = None
    live: Comparison | None = None
    logins: list[str] = field(default_factory=list)
    seals: dict[str, Comparison] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def seconds_to_recover(self) -> float:
        """From the loss to a Vault that serves."""
        return sum(seconds for step, seconds in self.steps if step in _RECOVERY)

    @property
    def seconds(self) -> float:
        return sum(seconds for _, seconds in self.steps)

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.steps.append((step, time.monotonic() - begun))


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The restored Vault of a drill, for further steps.

    `node` may be stopped and started again on the same data.
    """

    node: Node
    spec: NodeSpec
    keyring_path: Path
    contents: Contents


_START_SECONDS = 60.0
_JOIN_SECONDS = 30.0
"""For a new node to become a member while the first one is overloaded."""

_OPEN, _START, _RESTORE = "open it", "start an empty Vault", "restore and unseal"
_RECOVERY = frozenset({_OPEN, _START, _RESTORE})


@without_frames
def drill(
    op: VaultAdmin,
    keys: Keys,
    engine: Engine,
    blueprint: Blueprint,
    directory: Path,
    *,
    seal: Mapping[str, object] | None = None,
    nodes: int = 1,
    say: Callable[[str], None] = lambda _line: None,
    then: Callable[[Copy, DrillReport], None] | None = None,
) -> DrillReport:
    """Rehearse a disaster on a copy. The live Vault is only read.

    The backup's key is made for the drill and never written to disk. A failed step raises
    `HarnessError`; differences go into the report.

    Args:
        directory: For the backup and the copy. The caller removes it.
        seal: The live Vault's stanza, if it unseals itself. The key of a static seal comes from the
            backup. The holder of a transit seal counts as not lost.
        then: Called with the copy before it ends.
    """
    report = DrillReport()
    directory = directory.absolute()  # servers start in other working directories
    private, public = new_identity()
    say("taking a backup")
    with report.timed("take a backup"):
        backup = make_backup(
            op, keys, directory / "backups", Lock(recipients=(public,)), mounts=blueprint.mounts
        )
    with report.timed("check the copy"):
        copy = Backup.load(backup.directory)
        report.problems += [f"the backup has no {part}" for part in copy.check_files()]
    say("opening it, as if everything else was lost")
    opener = Opener(identities=(private,))
    with report.timed(_OPEN):
        found = copy.open(opener)
    say("starting an empty Vault")
    extra = {"seal": _with_key_of_backup(seal, found.keys, directory)} if seal else {}
    specs = [_spec(directory, extra, number, of=nodes) for number in range(1, nodes + 1)]
    copies = [engine.node(spec) for spec in specs]
    home = directory / "vault-data"
    home.mkdir(mode=0o700)
    running = contextlib.ExitStack()
    try:
        with report.timed(_START):
            for node in copies:
                node.start()
            empty = running.enter_context(cluster.operators([node.address for node in copies]))
            _initialise(empty, home / "init.json", at=copies[0].inner_address)
        say("restoring")
        with report.timed(_RESTORE):
            restored = restore(empty, home / "init.json", found, restart=partial(_restart, copies))
        report.comparison = restored.comparison
        report.problems += restored.comparison.different
        leader = cluster.wait_for_active(empty, timeout=_START_SECONDS)
        acting = admin_with_token(leader.address, Keyring.load(home / "init.json"), home)
        with contextlib.closing(acting):
            say("logging in with each AppRole")
            with (
                report.timed("log in with each AppRole"),
                contextlib.closing(acting.within(found.contents.namespace)) as inside,
            ):
                _log_in(inside, blueprint, home, report)
            with report.timed("compare with the live Vault"):
                report.live = compare(op, found.contents)
        if then is not None:
            path = home / "init.json"
            copied = Copy(node=copies[0], spec=specs[0], keyring_path=path, contents=found.contents)
            then(copied, report)
    finally:
        running.close()
        for node in copies:
            node.kill()
            node.close()
    return report


def _spec(directory: Path, extra: Mapping[str, object], number: int, *, of: int) -> NodeSpec:
    """Describe a server without an audit device."""
    name, home = ("drill", "vault") if number == 1 else (f"drill-{number}", f"vault-{number}")
    quick = {"storage": {"raft": QUICK_AUTOPILOT}} if of > 1 else {}
    return NodeSpec(
        name=name, directory=directory / home, storage="raft", audit=False, extra={**quick, **extra}
    )


def _initialise(nodes: Sequence[VaultAdmin], keyring_path: Path, *, at: str) -> None:
    first, *others = nodes
    keyring = first.init()
    keyring.save(keyring_path)
    if not others:
        return
    cluster.unseal_all([first], keyring, timeout=_START_SECONDS)
    with contextlib.closing(first.with_token(keyring.root_token)) as root:
        root.request(
            "POST", "sys/storage/raft/autopilot/configuration", server_stabilization_time="1s"
        )
        for other in others:
            cluster.admit(other, first, keyring, timeout=_JOIN_SECONDS, at=at)
        given = others if keyring.kind == "shamir" else ()
        cluster.unseal_all(nodes, keyring, timeout=_START_SECONDS, given=given)
        cluster.wait_for_voters(root, len(nodes), timeout=_START_SECONDS)


def _restart(nodes: Sequence[Node]) -> None:
    for node in nodes:
        node.restart()


def _with_key_of_backup(
    seal: Mapping[str, object], keys: Keys, directory: Path
) -> dict[str, object]:
    static = seal.get("static")
    if not isinstance(static, Mapping) or not keys.static_key:
        return dict(seal)
    path = directory / "static.key"
    files.write_private(path, keys.static_key)
    return {"static": {**static, "current_key": f"file://{path}"}}


def _log_in(op: VaultAdmin, blueprint: Blueprint, home: Path, report: DrillReport) -> None:
    for role in blueprint.approles:
        try:
            found = approle.write_credentials(op, role, home, renew=True)
            with op.asking(f"log in as {role}") as client:
                client.auth.approle.login(
                    found.role_id_file.read_text(),
                    found.secret_id_file.read_text(),
                    use_token=False,
                )
            report.logins.append(role)
        except OperatorError as error:
            report.problems.append(f"AppRole {role}: {error.cause}")
