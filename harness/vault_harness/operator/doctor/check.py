"""The result of a check, and what is checked: a stack, or how a Vault is run."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import UnfinishedRestore
from vault_harness.operator.doctor.kinds import KINDS


class State(enum.StrEnum):
    """How one thing is."""

    GOOD = "good"
    BAD = "bad"
    UNKNOWN = "unknown"  # an earlier check is bad, or the server tells nothing


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Attributes:
        name: For programs: ``sealed``, ``secret-id backend``, ``root token``.
        seen: What is wrong, or for a good result how it is.
        remedy: A shell command that destroys nothing, or advice if no command helps.
        kind: From `KINDS`, of a bad result of `examine`.
        instead: What to do if the state is intended, with its command.
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
        return self.state is State.BAD


def good(name: str, looked_at: str, seen: str) -> CheckResult:
    return CheckResult(name, State.GOOD, looked_at, seen)


def bad(name: str, looked_at: str, seen: str, remedy: str) -> CheckResult:
    return CheckResult(name, State.BAD, looked_at, seen, remedy)


def unknown(name: str, looked_at: str, why: str, remedy: str = "") -> CheckResult:
    return CheckResult(name, State.UNKNOWN, looked_at, why, remedy)


@dataclass(frozen=True)
class ServiceView:
    """A server of the local stack."""

    name: str
    running: bool


@dataclass(frozen=True)
class DockerView:
    """What Docker has on this machine.

    Attributes:
        outdated_images: Built from other code of this project.
    """

    engine: bool
    missing_images: tuple[str, ...] = ()
    line: str = ""
    outdated_images: tuple[str, ...] = ()


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Patient:
    """What the doctor examines. Texts are empty if there is nothing.

    Attributes:
        addresses: Base URLs of Vault's nodes. Empty if nothing was started, or they are not known.
        docker: Called only if needed.
        data_gone: A Vault runs whose data is missing from the data directory.
        toxiproxy: Empty if clients go to Vault directly.
        proxied: Base URL of Vault through Toxiproxy.
        obstacles: Returns a line for each obstacle of clients: toxics, a disabled proxy.
        lost_by_ending: Returns why nobody here could open Vault again after it ends.
        audit_log: None if it is not a readable file on this machine.
        environ: May contain a token or credentials.
        client_certificates: By client. Empty if Vault asks for none.
        ids: Where credentials are, if not in ``data_dir``.
        seal_migration: Source and target of an interrupted one.
        keys_never_kept: What to do about a Vault whose `up` was interrupted after it initialised it
            and before it kept the keys. No backup has them.
        why_none_leads: Returns from the servers' logs why no node leads.
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
        return self.ids or self.data_dir

    @property
    def keyring_path(self) -> Path:
        return self.data_dir / "init.json"


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A Vault whose practice is checked, and its files on this machine.

    Attributes:
        audit_logs: One for each node. Empty if they are not readable files.
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
        namespace: The patient's namespace exists and is open.
        refuses: Vault is open but refused a request. Then no other request is worth a try.
    """

    results: list[CheckResult] = field(default_factory=list)
    operator: VaultAdmin | None = None
    seal: Mapping[str, Any] | None = None
    root: bool = True
    namespace: bool = True
    closed: list[str] = field(default_factory=list)
    refuses: bool = False

    def good(self, name: str, looked_at: str, how: str) -> None:
        self.results.append(good(name, looked_at, how))

    def bad(self, kind: str, looked_at: str, details: Sequence[str] = (), **given: object) -> None:
        """Record a bad result; ``given`` fills the fields in the kind's texts."""
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
        self.results.append(unknown(name, looked_at, why))
