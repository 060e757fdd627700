"""Define a practice and its result."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from vault_harness.local.vault.admin import VaultAdmin


class PracticeState(enum.StrEnum):
    """How a practice stands."""

    KEPT = "kept"
    BROKEN = "broken"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Practice:
    """The result for one practice.

    Attributes:
        name: One or two words: ``root token``, ``audit``.
        remedy: A command or setting that repairs it and destroys nothing. Empty if it is kept.
    """

    name: str
    standing: PracticeState
    looked_at: str
    seen: str
    remedy: str = ""


def kept(name: str, looked_at: str, seen: str) -> Practice:
    """Make a result for a kept practice."""
    return Practice(name, PracticeState.KEPT, looked_at, seen)


def broken(name: str, looked_at: str, seen: str, remedy: str) -> Practice:
    """Make a result for a broken practice."""
    return Practice(name, PracticeState.BROKEN, looked_at, seen, remedy)


def cannot_tell(name: str, looked_at: str, why: str, remedy: str = "") -> Practice:
    """Make a result for a practice that could not be checked."""
    return Practice(name, PracticeState.CANNOT_TELL, looked_at, why, remedy)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A Vault and its files on this machine.

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
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    lost_by_ending: str = ""
