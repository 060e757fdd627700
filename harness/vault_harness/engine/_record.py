"""``stack.json``: what tasks must know of the stack that an earlier task made. No secrets."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

from vault_harness import files
from vault_harness.commands import named
from vault_harness.engine._provider import Endpoints
from vault_harness.engine._shape import EngineName
from vault_harness.errors import StackError

FILE_NAME = "stack.json"


@dataclass
class Record:
    """The content of ``stack.json``.

    Attributes:
        engine: Who runs the stack; None if nothing was ever started.
        choice: Why that engine, in one line.
        endpoints: Where it is, or was last.
        services: What the provider needs to find its servers again; empty when they were stopped.
        seeded: Name of the blueprint that was applied last, empty for none.
        blueprint: Its file.
    """

    engine: EngineName | None = None
    choice: str = ""
    endpoints: Endpoints | None = None
    services: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeded: str = ""
    blueprint: str = ""

    @classmethod
    def load(cls, data_dir: Path) -> Record:
        """Read it; an empty one if there is none.

        Raises:
            StackError: It is there and cannot be read.
        """
        path = data_dir / FILE_NAME
        try:
            content: Any = json.loads(path.read_text())
            endpoints = content.get("endpoints")
            return cls(
                engine=cast("EngineName | None", content.get("engine")),
                choice=str(content.get("choice") or ""),
                endpoints=Endpoints(**endpoints) if endpoints else None,
                services=dict(content.get("services") or {}),
                seeded=str(content.get("seeded") or ""),
                blueprint=str(content.get("blueprint") or ""),
            )
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise StackError(
                f"{FILE_NAME} cannot be read: {error}",
                looked_at=str(path),
                remedy=f"remove {path}; {named('down')} then still finds what runs",
            ) from None

    def save(self, data_dir: Path) -> None:
        """Write it safely, 0600."""
        path = files.private_directory(data_dir) / FILE_NAME
        files.write_private(path, json.dumps(asdict(self), indent=2) + "\n")
