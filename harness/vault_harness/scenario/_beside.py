"""A thread beside a scenario, for as long as a block lasts."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import Self

_LAST_LOOK_SECONDS = 5.0


class Beside(ABC):
    """A context manager whose thread goes on until the block ends.

    Args:
        name: Of the thread.
    """

    def __init__(self, name: str) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abstractmethod
    def _run(self) -> None:
        """What it does until `_over` is set."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(timeout=_LAST_LOOK_SECONDS)
