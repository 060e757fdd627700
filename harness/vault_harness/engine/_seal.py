"""How a stack's Vault is sealed, as its engine must know: the stanza, and who holds the key.

A stack with auto-unseal keeps the server's ``seal`` stanza in a file of its own, which names the
files of key and token and holds neither. Whatever starts the server finds it there.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from vault_harness.commands import named
from vault_harness.dialect import Dialect
from vault_harness.engine._configuration import QUICK_AUTOPILOT
from vault_harness.engine._provider import NodeEndpoint, StackProvider
from vault_harness.engine._shape import Engine
from vault_harness.errors import CapabilityMissing, StackError

SealKind = Literal["shamir", "static", "transit", "awskms", "azurekeyvault"]

SEAL_DIRECTORY = "seal"
"""Where the stanza is, and the files that it names."""

ACCESS_KEYS_NAME = "aws-credentials"
"""There too: the access keys that containers ask Amazon's cloud with."""

_STANZA = "seal.json"
_STATIC_KEY = "static.key"


@runtime_checkable
class SealingProvider(StackProvider, Protocol):
    """A provider whose Vault may unseal itself, by the stanza in its data directory."""

    def whose_server(self) -> tuple[Dialect, str]:
        """Whose server the next start runs, and where that one comes from, for a person.

        Raises:
            ProgramMissing: There is no program of one.
            ImageMissing: There is no image of one.
        """

    def let_reach_holder(self, engine: Engine) -> None:
        """Let servers that an engine makes from now on reach the Vault that holds the key.

        They have the stanza of this stack then, and its address of the holder.

        Raises:
            CapabilityMissing: They cannot: they run in another way than this stack.
            EngineError: It is not there.
        """

    def start_holder(self) -> NodeEndpoint:
        """Start the Vault that holds the key of the other one, and wait until it answers.

        It is not initialised by this. Keeps it if it runs; `StackProvider.stop` and ``destroy`` end
        it with the others.

        Raises:
            EngineError: It could not be run.
            DeadlineExceeded: It does not answer in time.
        """

    def end_holder(self) -> list[str]:
        """End that one alone; returns what was ended, for a person."""

    def end_vault(self) -> list[str]:
        """End Vault politely and nothing else: `start` finds all the others running."""


def static_key_path(data_dir: Path) -> Path:
    """The file of a static seal's key, 32 bytes in base64."""
    return data_dir / SEAL_DIRECTORY / _STATIC_KEY


def stanza_path(data_dir: Path) -> Path:
    """The file of the stanza; it is not there for Shamir's seal."""
    return data_dir / SEAL_DIRECTORY / _STANZA


def node_extra(data_dir: Path, *, cluster: bool) -> dict[str, object]:
    """What the configuration of a stack's node has beside what every node has.

    Args:
        data_dir: Of the stack.
        cluster: Whether it is one of several.

    Raises:
        StackError: The stanza of its seal cannot be read.
    """
    extra: dict[str, object] = {"storage": {"raft": QUICK_AUTOPILOT}} if cluster else {}
    stanza = seal_stanza(data_dir)
    return extra | ({"seal": stanza} if stanza else {})


def seal_stanza(data_dir: Path) -> dict[str, Any]:
    """What the server's configuration says of its seal; empty for Shamir's.

    While one seal is exchanged for another, the old one is in it too, as disabled.

    Raises:
        StackError: The file is there and is no stanza.
        OSError: It may not be read: that says nothing of what it holds.
    """
    path = stanza_path(data_dir)
    try:
        content = json.loads(path.read_text())
        enabled = [kind for kind, stanza in content.items() if not stanza.get("disabled")]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        content, enabled = {}, []
    if not content or len(enabled) > 1:
        raise StackError(
            f"{_STANZA} is not a seal stanza",
            looked_at=str(path),
            remedy=f"remove it; {named('up')} writes it anew from what {path.parent.name}/ has",
        )
    return dict(content)


def holder_out_of_reach(provider: StackProvider, engine: Engine) -> CapabilityMissing:
    """The error for a copy whose engine is not the one of the stack whose holder it needs."""
    return CapabilityMissing(
        f"a copy that the {engine.name} engine runs does not reach the Vault that holds the key: "
        f"that is where the {provider.name} engine has the stack",
        looked_at="HARNESS_ENGINE",
        remedy=f"HARNESS_ENGINE={provider.name} for this too",
    )
