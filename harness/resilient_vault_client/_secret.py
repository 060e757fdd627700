"""A secret as a caller gets it, and the memory of the last good ones."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from resilient_vault_client._errors import InvalidPath

_SEGMENT = re.compile(r"[^/\x00-\x1f\x7f?#%\\]+")

Source = Literal["vault", "cache", "stale", "environment"]


def clean_path(path: str) -> str:
    """The path without slashes at its ends.

    Raises:
        InvalidPath: It is empty, or would lead elsewhere.
    """
    given: object = path
    if not isinstance(given, str):
        raise InvalidPath(f"a path is of type {type(given).__name__}: it must be a text")
    cleaned = path.strip("/")
    for segment in cleaned.split("/"):
        if segment in ("", ".", "..") or not _SEGMENT.fullmatch(segment):
            raise InvalidPath(f"{path!r} is no path of a secret", path=path)
    return cleaned


@dataclass(frozen=True, kw_only=True, slots=True)
class Secret:
    """A secret, and how far it can be trusted to be the latest.

    Attributes:
        path: Where it is in the engine.
        key: The key that was asked for, or None for all of it.
        value: The value of that key, or a dictionary of all.
        version: Its version in Vault; None if it does not come from there.
        source: ``vault``; ``cache`` within the cache's time; ``stale`` is a last good value that
            stands in during an outage; ``environment`` is a variable, as fallback or with
            ``USE_VAULT=false``.
        age: Seconds since Vault said so; 0 if it does not come from there.
    """

    path: str
    key: str | None
    value: Any = field(repr=False)
    version: int | None
    source: Source
    age: float

    @property
    def stale(self) -> bool:
        """Whether it stands in for an answer that Vault did not give."""
        return self.source == "stale"
