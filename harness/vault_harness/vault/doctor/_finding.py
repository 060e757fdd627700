"""What was looked at, what is wrong, and the one command that mends it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vault_harness.blueprint import Blueprint
from vault_harness.vault.doctor._kinds import KINDS
from vault_harness.vault.operator import Operator
from vault_harness.vault.unfinished import UnfinishedRestore


class State(enum.StrEnum):
    """How one thing is."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"  # could not be looked at, since something before it is bad


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: Of the check, for programs: ``sealed``, ``secret-id backend``.
        state: How it is.
        looked_at: What was examined: a file, an address, a path in Vault.
        wrong: What is wrong with it, or for a good one how it is.
        remedy: The command that mends it, ready for a shell, or advice where no command can; empty
            for a good one.
        kind: Which of `KINDS` a bad one is.
        runnable: Whether the remedy is a command.
    """

    name: str
    state: State
    looked_at: str
    wrong: str
    remedy: str = ""
    kind: str = ""
    runnable: bool = False

    @property
    def bad(self) -> bool:
        """Whether something must be done."""
        return self.state is State.BAD


@dataclass(frozen=True)
class ServiceView:
    """A server of the local stack: whether its process or container runs."""

    name: str
    running: bool


@dataclass(frozen=True)
class DockerView:
    """What there is of Docker: whether an engine answers, and which images do not do.

    Attributes:
        engine: Whether it answers.
        missing_images: Images that are not there.
        line: The same in a line.
        outdated_images: Images that hold other code of this project than is here.
    """

    engine: bool
    missing_images: tuple[str, ...] = ()
    line: str = ""
    outdated_images: tuple[str, ...] = ()


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What a doctor examines.

    Attributes:
        data_dir: Where keyring, tokens and credentials are.
        blueprint: What Vault should contain.
        addresses: Base URLs of Vault's nodes; empty if nothing was ever started, or nobody knows.
        services: Servers of the local stack; empty for a Vault of somebody else.
        engine: ``process``, ``docker``, ``external`` or ``auto``.
        docker: Looks at Docker; asked only if it matters.
        data_gone: Whether Vault's data is not where the server that runs keeps it.
        data_replaced: Names of the servers under which their data was replaced.
        toxiproxy: Base URL of Toxiproxy's API; empty where clients go to Vault directly.
        proxied: Base URL by which clients reach Vault through Toxiproxy; empty where none does.
        obstacles: What stands between a client and Vault, a line each: toxics, a disabled proxy.
        cut_nodes: Names of the nodes that are cut off from the others.
        lost_by_ending: Why nobody here opens Vault again once it has ended; empty if something
            here does.
        audit_log: Vault's audit log on this machine, None where it cannot be read as a file.
        environ: The environment, for a token or credentials in it.
        ca_cert: For https.
        client_certificates: Where each client's certificate should be, by its name; empty where
            Vault asks for none.
        namespace: Where it should all be; empty for the root namespace.
        ids: Where credentials are, if not in ``data_dir``.
        seal_migration: From which seal to which one a migration was ended half-way, or None.
        keys_never_kept: What is done about a Vault that an `up` has initialised which was ended
            before it kept the keys: no backup has them. Empty for others.
        unfinished_restore: A restore that was begun and is not done, or None.
        timeout: Seconds that a request may take.
        now: The clock.
    """

    data_dir: Path
    blueprint: Blueprint
    addresses: tuple[str, ...] = ()
    services: tuple[ServiceView, ...] = ()
    engine: str = "process"
    docker: Callable[[], DockerView] | None = None
    data_gone: bool = False
    data_replaced: tuple[str, ...] = ()
    toxiproxy: str = ""
    proxied: str = ""
    obstacles: Callable[[], Sequence[str]] = tuple
    cut_nodes: Callable[[], Sequence[str]] = tuple
    lost_by_ending: Callable[[], str] = str
    audit_log: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_cert: Path | None = None
    client_certificates: Mapping[str, Path] = field(default_factory=dict)
    namespace: str = ""
    ids: Path | None = None
    seal_migration: tuple[str, str] | None = None
    keys_never_kept: str = ""
    unfinished_restore: UnfinishedRestore | None = None
    timeout: float = 3.0
    now: Callable[[], datetime] = _now

    @property
    def half_restored(self) -> bool:
        """Whether a backup may be in whose keys are not here: what is here opens nothing then."""
        return self.unfinished_restore is not None and not self.unfinished_restore.keys_here

    @property
    def ids_dir(self) -> Path:
        """Where credentials are."""
        return self.ids or self.data_dir

    @property
    def keyring_path(self) -> Path:
        """Where the unseal keys should be."""
        return self.data_dir / "init.json"


@dataclass
class Examination:
    """Findings so far, and what they let later checks build on.

    Attributes:
        findings: In the order of looking.
        operator: Somebody with a good token at an unsealed Vault, once that is known.
        seal: What seal-status said, once it answered.
        root: Whether that somebody is root.
        namespace: Whether the patient's namespace is there and open.
        closed: Base URLs of the nodes that answer and are sealed, or were never initialised.
        refuses: Whether it is open, and did not do what it was asked: nothing else need be asked.
    """

    findings: list[Finding] = field(default_factory=list)
    operator: Operator | None = None
    seal: Mapping[str, Any] | None = None
    root: bool = True
    namespace: bool = True
    closed: list[str] = field(default_factory=list)
    refuses: bool = False

    def good(self, name: str, looked_at: str, how: str) -> None:
        """Note that something is as it should be."""
        self.findings.append(Finding(name, State.GOOD, looked_at, how))

    def bad(self, kind: str, looked_at: str, **given: object) -> None:
        """Note that something is wrong.

        Args:
            kind: Which of `KINDS`.
            looked_at: What was examined.
            given: What the kind's texts leave open.
        """
        known = KINDS[kind]
        words = {name: str(value) for name, value in given.items()}
        self.findings.append(
            Finding(
                known.name.format(**words),
                State.BAD,
                looked_at,
                known.wrong.format(**words),
                known.what_to_do(words, root=self.root),
                kind,
                bool(known.remedy),
            )
        )

    def unknown(self, name: str, looked_at: str, why: str) -> None:
        """Note that something could not be looked at."""
        self.findings.append(Finding(name, State.UNKNOWN, looked_at, why))
