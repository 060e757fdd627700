"""What every task of the operator's side needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from vault_harness.stack import LocalStack


def local_stack() -> LocalStack:
    """The stack of ``invoke up``, by the settings of the environment."""
    from vault_harness.settings import Settings
    from vault_harness.stack import LocalStack

    return LocalStack(Settings.from_environment())


def backups_dir(stack: LocalStack, given: str | None) -> Path:
    """Where backups are: as given, else ``vault-backups`` beside the data directory."""
    from pathlib import Path

    return Path(given) if given else stack.data_dir.parent / "vault-backups"


def plural(count: int, noun: str) -> str:
    """``1 secret``, ``2 secrets``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
