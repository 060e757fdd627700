"""Exercising a disaster: back up, lose everything, restore elsewhere, compare."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from vault_harness import files
from vault_harness.blueprint import Blueprint
from vault_harness.boundary import without_frames
from vault_harness.engine import QUICK_AUTOPILOT, Engine, Node, NodeSpec
from vault_harness.errors import OperatorError
from vault_harness.vault import approle, cluster
from vault_harness.vault.backup._contents import Comparison, Contents, compare
from vault_harness.vault.backup._files import Backup, Keys
from vault_harness.vault.backup._lock import Lock, Opener, new_identity
from vault_harness.vault.backup._make import make_backup
from vault_harness.vault.backup._restore import restore
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator
from vault_harness.vault.root import standing_operator


@dataclass
class DrillReport:
    """What an exercise showed.

    Attributes:
        steps: Each step with its seconds, in order.
        comparison: The restored Vault against the backup.
        live: The restored Vault against the live one as it was at the end.
        logins: AppRoles that logged in to the restored Vault.
        seals: The restored Vault against the backup after each change of its seal, by the seal.
        problems: One line each; empty means that the backup would have saved the day.
    """

    steps: list[tuple[str, float]] = field(default_factory=list)
    comparison: Comparison | None = None
    live: Comparison | None = None
    logins: list[str] = field(default_factory=list)
    seals: dict[str, Comparison] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    @property
    def seconds_to_recover(self) -> float:
        """From the loss to a Vault that serves: without making the backup or comparing."""
        return sum(seconds for step, seconds in self.steps if step in _RECOVERY)

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(seconds for _, seconds in self.steps)

    @contextlib.contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Note how long a step takes."""
        begun = time.monotonic()
        yield
        self.steps.append((step, time.monotonic() - begun))


@dataclass(frozen=True, kw_only=True)
class Copy:
    """The restored Vault of an exercise, for whoever goes on with it.

    Attributes:
        node: Its server, which may be ended and started anew on the same data.
        spec: What that was made by.
        keyring_path: Its keyring; the operator's token is beside it.
        contents: What its backup says that it has.
    """

    node: Node
    spec: NodeSpec
    keyring_path: Path
    contents: Contents


_START_SECONDS = 60.0
_JOIN_SECONDS = 30.0
"""For a new node to become a member, while the first one has more to do than it can."""

_OPEN, _START, _RESTORE = "open it", "start an empty Vault", "restore and unseal"
_RECOVERY = frozenset({_OPEN, _START, _RESTORE})


@without_frames
def drill(
    op: Operator,
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
    """Exercise a disaster with a copy: the live Vault is only read.

    The backup is locked with a key that is made for the exercise and never written down.

    Args:
        op: At the live Vault, may read everything and take snapshots.
        keys: Of the live Vault.
        engine: Runs the Vault that is restored into.
        blueprint: Which mounts and AppRoles matter.
        directory: For the backup and that Vault; emptied by whoever made it.
        seal: The live Vault's seal stanza, if it unseals itself. The key of a static seal is taken
            from the backup; the holder of a transit seal is taken as something that was not lost.
        nodes: How many servers the copy has.
        say: Told each step as it begins.
        then: Goes on with the copy before it ends, and notes in the report what that showed.

    Raises:
        HarnessError: A step failed altogether; differences are in the report instead.
    """
    report = DrillReport()
    directory = directory.absolute()  # servers are started with other working directories
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
        snapshot, contents = copy.open_snapshot(opener)
        found = copy.open_keys(opener)
    say("starting an empty Vault")
    extra = {"seal": _with_key_of_backup(seal, found, directory)} if seal else {}
    specs = [_spec(directory, extra, number, of=nodes) for number in range(1, nodes + 1)]
    copies = [engine.node(spec) for spec in specs]
    home = directory / "vault-data"
    home.mkdir(mode=0o700)
    opened = contextlib.ExitStack()
    try:
        with report.timed(_START):
            for node in copies:
                node.start()
            empty = opened.enter_context(cluster.operators([node.address for node in copies]))
            _initialise(empty, home / "init.json", at=copies[0].inner_address)
        say("restoring")
        with report.timed(_RESTORE):
            restored = restore(
                empty,
                home / "init.json",
                snapshot,
                contents,
                found,
                restart=partial(_restart, copies),
            )
        report.comparison = restored.comparison
        report.problems += restored.comparison.different
        leader = cluster.wait_for_active(empty, timeout=_START_SECONDS)
        acting = standing_operator(leader.address, Keyring.load(home / "init.json"), home)
        with contextlib.closing(acting):
            say("logging in with each AppRole")
            with (
                report.timed("log in with each AppRole"),
                contextlib.closing(acting.within(contents.namespace)) as inside,
            ):
                _log_in(inside, blueprint, home, report)
            with report.timed("compare with the live Vault"):
                report.live = compare(op, contents)
        if then is not None:
            path = home / "init.json"
            copied = Copy(node=copies[0], spec=specs[0], keyring_path=path, contents=contents)
            then(copied, report)
    finally:
        opened.close()
        for node in copies:
            node.kill()
            close = getattr(node, "close", None)
            if close is not None:
                close()
    return report


def _spec(directory: Path, extra: Mapping[str, object], number: int, *, of: int) -> NodeSpec:
    """A server of the copy.

    OpenBao refuses a snapshot's audit device where the configuration declares another one, so it
    has none.
    """
    name, home = ("drill", "vault") if number == 1 else (f"drill-{number}", f"vault-{number}")
    quick = {"storage": {"raft": QUICK_AUTOPILOT}} if of > 1 else {}
    return NodeSpec(
        name=name, directory=directory / home, storage="raft", audit=False, extra={**quick, **extra}
    )


def _initialise(nodes: Sequence[Operator], keyring_path: Path, *, at: str) -> None:
    """Make an empty Vault of new servers, all of them voters, who reach the first one at ``at``."""
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
    """The stanza of the copy: what is in the backup counts, not what lies beside the live Vault."""
    static = seal.get("static")
    if not isinstance(static, Mapping) or not keys.static_key:
        return dict(seal)
    path = directory / "static.key"
    files.write_private(path, keys.static_key)
    return {"static": {**static, "current_key": f"file://{path}"}}


def _log_in(op: Operator, blueprint: Blueprint, home: Path, report: DrillReport) -> None:
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
