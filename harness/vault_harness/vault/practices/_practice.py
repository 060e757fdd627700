"""What a production Vault is asked, and how an answer is told."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vault_harness.vault.operator import Operator


class Standing(enum.StrEnum):
    """How a practice stands."""

    KEPT = "kept"
    BROKEN = "broken"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Practice:
    """One practice.

    Attributes:
        name: In a word or two: ``root token``, ``audit``.
        standing: How it stands.
        looked_at: A path in Vault, a file, an address.
        seen: What was seen there, or why nothing could be.
        remedy: The command or the setting that mends it; empty where it is kept. None destroys.
    """

    name: str
    standing: Standing
    looked_at: str
    seen: str
    remedy: str = ""


def kept(name: str, looked_at: str, seen: str) -> Practice:
    """A practice that is kept."""
    return Practice(name, Standing.KEPT, looked_at, seen)


def broken(name: str, looked_at: str, seen: str, remedy: str) -> Practice:
    """A practice that is broken, and what mends it."""
    return Practice(name, Standing.BROKEN, looked_at, seen, remedy)


def cannot_tell(name: str, looked_at: str, why: str, remedy: str = "") -> Practice:
    """A practice of which nothing is known, why, and what would let it be told."""
    return Practice(name, Standing.CANNOT_TELL, looked_at, why, remedy)


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A Vault and what belongs to it on this machine.

    Attributes:
        operator: Somebody with a token that may read the configuration.
        addresses: Base URLs of the nodes that are known here.
        keyring: Where unseal keys would be on this machine.
        backups: The folder of backups.
        audit_logs: The audit log of each node; none where they cannot be read as files.
        now: The present, UTC.
    """

    operator: Operator
    addresses: Sequence[str]
    keyring: Path
    backups: Path
    audit_logs: Sequence[Path]
    now: datetime

    @classmethod
    def today(
        cls,
        operator: Operator,
        *,
        addresses: Sequence[str],
        keyring: Path,
        backups: Path,
        audit_logs: Sequence[Path] = (),
    ) -> Deployment:
        """The same, as it is now."""
        return cls(
            operator=operator,
            addresses=addresses,
            keyring=keyring,
            backups=backups,
            audit_logs=audit_logs,
            now=datetime.now(UTC),
        )
