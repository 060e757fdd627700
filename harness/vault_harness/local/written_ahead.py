"""Write down what a task is about to do, so that a later run can finish it or take it back.

A crash leaves the earlier record or the new one, never a mixture.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from vault_harness import files
from vault_harness.errors import StackError

Checkpoint = Callable[[str], None]
"""Called with the name of each completed step; tests end the process there."""

_Of = TypeVar("_Of")


@dataclass(frozen=True)
class WrittenAhead(Generic[_Of]):
    """The record of one deed, in its own file.

    Attributes:
        make: Makes the record from the fields in the file.
        refused: Makes the error for an invalid file; without it, such a file is no record.
        format: Number that the file must have, if any.
    """

    file: Path
    make: Callable[..., _Of]
    refused: Callable[[Path], StackError] | None = None
    format: int | None = None

    def read(self) -> _Of | None:
        try:
            content: Any = json.loads(self.file.read_text())
            if self.format is None or content.pop("format") == self.format:
                return self.make(**content)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError):
            pass
        if self.refused is not None:
            raise self.refused(self.file)
        return None

    def write(self, content: Mapping[str, Any]) -> None:
        """Write the record, before the deed and after each step of it."""
        files.private_directory(self.file.parent)
        head = {} if self.format is None else {"format": self.format}
        files.write_private(self.file, json.dumps({**head, **content}, indent=2) + "\n")

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
