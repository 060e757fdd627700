"""Clients that do well with a secret-id that is refused later on, and not when they start (SID-08).

`tests.mutants.sid` lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.mutants.tempers import StartsWithAToken
from tests.subjects.lazy_client import Credentials


class _AnyNumber(Credentials):
    """Every secret-id is good for another try."""

    def usable(self, *_: Any, **__: Any) -> bool:
        return True


class InsistsAtItsStart(StartsWithAToken):
    """The loop in which it waits for its first token counts no refusals; all that follows does."""

    credentials_type: type[Credentials] = _AnyNumber

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._credentials = Credentials(environ)
