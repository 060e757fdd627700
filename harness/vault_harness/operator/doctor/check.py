"""Define the result of a check, and what is checked: a stack, or how a Vault is run."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.unfinished import UnfinishedRestore
from vault_harness.operator.doctor.kinds import KINDS


class State(enum.StrEnum):
    """How one thing is."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"  # not checked, since an earlier check is bad or the server tells nothing


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: Name of the check, for programs: ``sealed``, ``secret-id backend``, ``root token``.
        seen: What is wrong, or for a good result how it is.
        remedy: A shell command that repairs it and destroys nothing, or advice if no command can.
            Empty if it is good.
        kind: The kind of a bad result of `examine`, from `KINDS`.
        instead: What to do if the state is intended, with its command. Usually empty.
    """

    name: str
    state: State
    looked_at: str
    seen: str
    remedy: str = ""
    kind: str = ""
    runnable: bool = False
    details: tuple[str, ...] = ()
    instead: str = ""

    @property
    def bad(self) -> bool:
        """Whether something must be done."""
        return self.state is State.BAD


def good(name: str, looked_at: str, seen: str) -> CheckResult:
    """Return a good result."""
    return CheckResult(name, State.GOOD, looked_at, seen)


def bad(name: str, looked_at: str, seen: str, remedy: str) -> CheckResult:
    """Return a bad result."""
    return CheckResult(name, State.BAD, looked_at, seen, remedy)


def unknown(name: str, looked_at: str, why: str, remedy: str = "") -> CheckResult:
    """Return the result of a check that could not be made."""
    return CheckResult(name, State.UNKNOWN, looked_at, why, remedy)


@dataclass(frozen=True)
class ServiceView:
    """A server of the local stack, and whether its process or container runs."""

    name: str
    running: bool


@dataclass(frozen=True)
class DockerView:
    """What Docker has on this machine.

    Attributes:
        line: The same in one line.
        outdated_images: Images built from other code of this project.
    """

    engine: bool
    missing_images: tuple[str, ...] = ()
    line: str = ""
    outdated_images: tuple[str, ...] = ()


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What the doctor examines.

    Attributes:
        data_dir: Where keyring, tokens and credentials are.
        addresses: Base URLs of Vault's nodes. Empty if nothing was started, or they are not known.
        services: Servers of the local stack. Empty for an external Vault.
        engine: ``process``, ``docker``, ``external`` or ``auto``.
        docker: Inspects Docker. Called only if needed.
        data_gone: Whether a Vault runs whose data is missing from the data directory.
        data_replaced: Names of running servers whose data was replaced.
        toxiproxy: Base URL of Toxiproxy's API, empty if clients go to Vault directly.
        proxied: Base URL by which clients reach Vault through Toxiproxy, or empty.
        obstacles: Returns a line for each obstacle between a client and Vault: toxics, a disabled
            proxy.
        cut_nodes: Returns the names of nodes that are cut off from the others.
        lost_by_ending: Returns why nobody here could open Vault again after it ends, or nothing.
        audit_log: Vault's audit log on this machine, None if it is not a readable file.
        environ: May contain a token or credentials.
        client_certificates: Path of each client's certificate, by name. Empty if Vault asks for
            none.
        namespace: Empty for the root namespace.
        ids: Where credentials are, if not in ``data_dir``.
        seal_migration: Source and target of an interrupted seal migration, or None.
        keys_never_kept: What to do about a Vault whose `up` was interrupted after it initialised it
            and before it kept the keys. No backup has them. Empty otherwise.
        why_none_leads: Returns from the servers' logs why no node leads, or nothing.
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
    why_none_leads: Callable[[], str] = str
    timeout: float = 3.0
    now: Callable[[], datetime] = _now

    @property
    def half_restored(self) -> bool:
        """Whether Vault may have a backup that no present key opens."""
        return self.unfinished_restore is not None and not self.unfinished_restore.keys_here

    @property
    def ids_dir(self) -> Path:
        """Where credentials are."""
        return self.ids or self.data_dir

    @property
    def keyring_path(self) -> Path:
        """Where the unseal keys should be."""
        return self.data_dir / "init.json"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A Vault whose practice is checked, and its files on this machine.

    Attributes:
        audit_logs: Audit log of each node. Empty if they are not readable files.
        lost_by_ending: Why nobody here could open Vault again after it ends. Empty if somebody
            could.
    """

    operator: VaultAdmin
    addresses: Sequence[str]
    keyring: Path
    backups: Path
    audit_logs: Sequence[Path] = ()
    now: datetime = field(default_factory=_now)
    lost_by_ending: str = ""


@dataclass
class Examination:
    """The results so far, and what later checks need.

    Attributes:
        operator: Has a valid token at an unsealed Vault. None until one is found.
        seal: The answer of seal-status. None until a node answers.
        root: Whether the operator has a root token.
        namespace: Whether the patient's namespace exists and is open.
        closed: Base URLs of nodes that answer and are sealed or not initialised.
        refuses: Whether Vault is open but refused a request. Then no other request is worth a try.
    """

    results: list[CheckResult] = field(default_factory=list)
    operator: VaultAdmin | None = None
    seal: Mapping[str, Any] | None = None
    root: bool = True
    namespace: bool = True
    closed: list[str] = field(default_factory=list)
    refuses: bool = False

    def good(self, name: str, looked_at: str, how: str) -> None:
        """Record a good result."""
        self.results.append(good(name, looked_at, how))

    def bad(self, kind: str, looked_at: str, details: Sequence[str] = (), **given: object) -> None:
        """Record a bad result.

        Args:
            given: Fills the fields in the kind's texts.
        """
        known = KINDS[kind]
        words = {name: str(value) for name, value in given.items()}
        self.results.append(
            CheckResult(
                known.name.format(**words),
                State.BAD,
                looked_at,
                known.wrong.format(**words),
                known.what_to_do(words, root=self.root),
                kind,
                bool(known.remedy),
                tuple(details),
                known.instead(words) if known.instead else "",
            )
        )

    def unknown(self, name: str, looked_at: str, why: str) -> None:
        """Record that something could not be checked."""
        self.results.append(unknown(name, looked_at, why))
