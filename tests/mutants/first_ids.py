"""Clients that start with half a secret-id (SID-08): those that do well later on only, and others.

`tests.mutants.sid` lists them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from tests.mutants.tempers import StartsWithAToken
from tests.mutants.tls import RefusesToStart
from tests.subjects.lazy_client import Credentials, LazyClient


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


class _WholeOnly(Credentials):
    """What is no UUID is half of one: it is not tried."""

    def usable(self, secret_id: str) -> bool:
        return len(secret_id) == len(str(uuid.UUID(int=0))) and super().usable(secret_id)


class SeesHalfASecretId(LazyClient):
    """Says that it is denied, and asks Vault for nothing, as long as there is half a secret-id."""

    credentials_type = _WholeOnly


class SeesHalfASecretIdAndRefusesToStart(RefusesToStart):
    """Is not there before it has logged in, for which it does not ask with half a secret-id."""

    credentials_type = _WholeOnly
