"""Clients that are right with what tests are made of, and broken with what people have in Vault.

A file with a line's end, a password with quotes, a certificate, a secret that Terraform makes anew.
Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resilient_vault_client import PermissionDenied, Secret
from resilient_vault_client._clock import clock
from resilient_vault_client._grant import Grant
from resilient_vault_client._held import Held
from tests.mutants.clients import Leasing, Tweaked
from tests.mutants.edges_leases import RenewsAtShare
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    DeletedError,
    GivenUpError,
    MissingError,
    Reply,
    UnavailableError,
    Wire,
)

# What is in a file, and who wrote it


class TakesALinesEndForItsToken(LazyClient):
    """Would send the token with the line's end behind it, which no HTTP library lets it."""

    auth = frozenset({"token-file"})

    def _valid_token(self, deadline: float) -> Token:
        del deadline
        value = Path(self._environ["VAULT_TOKEN_FILE"]).read_text(encoding="ascii")
        if "\n" in value:
            raise GivenUpError("a header has no line's end in its value")
        return Token(value, first_ttl=0.0, ttl=0.0, renewable=False, batch=False, uses=0)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        del where, token, deadline
        return False  # whoever replaces it will have done so by the next call


# What is written


class _SpellsItsWrites(Tweaked):
    """Makes the body of a write by itself."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def spelled(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if method == "POST" and "/data/" in url.path:
                content = self.spell(json.loads(content)["data"])
            return send(method, url, headers, content, deadline)

        transport._send = spelled  # type: ignore[method-assign]  # that is its fault

    def spell(self, data: Mapping[str, str]) -> bytes:
        """What is sent for it."""
        raise NotImplementedError


class WritesJsonByHand(_SpellsItsWrites):
    """Puts values between quotes, as shell scripts do: one with a quote or two lines is no JSON."""

    def spell(self, data: Mapping[str, str]) -> bytes:
        pairs = ", ".join(f'"{key}": "{value}"' for key, value in data.items())
        return f'{{"data": {{{pairs}}}}}'.encode()


class CountsLettersForBytes(_SpellsItsWrites):
    """Tells the length of a body in letters, so that Vault reads no further than that."""

    def spell(self, data: Mapping[str, str]) -> bytes:
        text = json.dumps({"data": dict(data)}, ensure_ascii=False)
        return text.encode()[: len(text)]


class WritesAsciiAlone(_SpellsItsWrites):
    """Writes a question mark for each letter beyond ASCII, and says that it is done."""

    def spell(self, data: Mapping[str, str]) -> bytes:
        plain = {key: value.encode("ascii", "replace").decode() for key, value in data.items()}
        return json.dumps({"data": plain}).encode()


class _ChangesMore(Tweaked):
    """Whoever changes one key has the others go through its hands."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        api = self.client._session()._api
        write = api.write_secret

        def changed(
            token: str, path: str, data: Mapping[str, Any], deadline: Any, *, cas: int | None
        ) -> Any:
            return write(token, path, self.leave(data), deadline, cas=cas)

        api.write_secret = changed  # type: ignore[method-assign]  # that is its fault

    def leave(self, data: Mapping[str, str]) -> dict[str, str]:
        """What it makes of a whole secret."""
        raise NotImplementedError


class DropsEmptyKeysInAChange(_ChangesMore):
    """A change of one key takes out of the secret all those that are empty."""

    def leave(self, data: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in data.items() if value}


class JoinsLinesInAChange(_ChangesMore):
    """A change of one key makes one line of each of the others: no certificate survives that."""

    def leave(self, data: Mapping[str, str]) -> dict[str, str]:
        return {key: " ".join(value.splitlines()) for key, value in data.items()}


# How an answer comes

PIECE, ROOM = 4096, 65536
"""Bytes of a piece of an answer, and the most that somebody has room for."""


class DecodesPieceByPiece(LazyClient):
    """Makes text of each piece of an answer by itself: a letter that two of them share is none."""

    def read_all(self, path: str) -> dict[str, str]:
        def read(value: str) -> str:
            raw = value.encode()
            pieces = (raw[at : at + PIECE] for at in range(0, len(raw), PIECE))
            return "".join(piece.decode(errors="replace") for piece in pieces)

        return {key: read(value) for key, value in super().read_all(path).items()}


class _HasRoomFor64Kilobytes(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        if len(raw) > ROOM:
            raise UnavailableError("the answer is longer than its buffer")
        return raw


class HasRoomFor64Kilobytes(LazyClient):
    """Reads an answer as a line, for which its library has a limit that nobody has set."""

    wire_type = _HasRoomFor64Kilobytes


# What keys and values look like


class UnwrapsDataTwice(LazyClient):
    """Goes down as long as there is `data`, so as to be right with both versions of KV."""

    def read_all(self, path: str) -> dict[str, str]:
        inner: Any = super().read_all(path)
        while "data" in inner:
            inner = inner["data"]
        return dict(inner)


class TakesADotForAWayDown(LazyClient):
    """Takes the name of a key for a path into the secret: there is no `tls` with a `crt` in it."""

    def read(self, path: str, key: str) -> str:
        inner: Any = self.read_all(path)
        for part in key.split("."):
            inner = inner.get(part) if isinstance(inner, dict) else None
        if inner is None:
            raise MissingError(f"there is no {key} in {path}")
        return str(inner)


class HasKeysWithoutCase(LazyClient):
    """Keeps the keys of a secret in small letters, as libraries for settings do."""

    def read(self, path: str, key: str) -> str:
        found = {name.lower(): value for name, value in self.read_all(path).items()}
        if key.lower() not in found:
            raise MissingError(f"there is no {key} in {path}")
        return found[key.lower()]


class TakesDigitsForANumber(LazyClient):
    """Reads values as YAML does, and hands out a number's shortest form: a PIN loses its zeros."""

    def read_all(self, path: str) -> dict[str, str]:
        found = super().read_all(path)
        return {key: str(int(one)) if one.isdigit() else one for key, one in found.items()}


class FillsInVariables(LazyClient):
    """Puts variables of its environment into values, as it does with its settings."""

    def read_all(self, path: str) -> dict[str, str]:
        return {key: os.path.expandvars(one) for key, one in super().read_all(path).items()}


class TakesADateForADeletion(LazyClient):
    """A version with a `deletion_time` is deleted, it thinks, and be that time in an hour."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        if _metadata(reply).get("deletion_time"):
            raise DeletedError(f"{path} is deleted")
        return reply


class TakesADestroyedVersionForMissing(LazyClient):
    """Knows what was deleted by its `deletion_time`; what was only destroyed has none."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        known = _metadata(reply)
        if known and reply.status != 200 and not known.get("deletion_time"):
            raise MissingError(f"there is no {path}")
        return reply


# Which secret it is


class ComparesVersionNumbersAlone(LazyClient):
    """Goes on with what it has as long as the number of its version is the same."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[int, Reply]] = {}

    def _fetch(self, path: str, deadline: float) -> Reply:
        reply = super()._fetch(path, deadline)
        if reply.status != 200:
            self._kept.pop(path, None)
            return reply
        version = int(_metadata(reply).get("version") or 0)
        known, kept = self._kept.get(path, (0, reply))
        if version == known:
            return kept
        self._kept[path] = version, reply
        return reply


class PutsDataBehindEachMount(LazyClient):
    """Makes `MOUNT/data/` of each `MOUNT/` in a path, of a folder with the mount's name too."""

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        mount = f"{self._mount}/"
        if path.startswith(mount):
            path = path.replace(f"{mount}data/", mount, 1).replace(mount, f"{mount}data/")
        return super()._ask(method, path, deadline, token, body)


class PutsItsWholesTogether(LazyClient):
    """Has one dictionary for all that it has read: a whole secret has the keys of others too."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._found: dict[str, dict[str, str]] = {}

    def read(self, path: str, key: str) -> str:
        found = super().read_all(path)
        if key not in found:
            raise MissingError(f"there is no {key} in {path}")
        return found[key]

    def read_all(self, path: str) -> dict[str, str]:
        found = self._found[path] = super().read_all(path)
        together: dict[str, str] = {}
        for one in (*self._found.values(), found):
            together.update(one)
        return together


def _metadata(reply: Reply) -> dict[str, Any]:
    """What an answer says of the version that it is about; nothing, if it is about none."""
    return dict((reply.body.get("data") or {}).get("metadata") or {})


# How long something lives


class _OverflowsItsTimers(RenewsAtShare):
    share = 0.8

    def _plan(self, held: Held, grant: Grant) -> None:
        super()._plan(held, grant)
        if (held.due - clock()) * 1000 >= 2**31:
            held.due = clock()


class OverflowsItsLeasesTimers(Leasing):
    """Its leases have timers that count milliseconds in 31 bits; its token has others."""

    leases_type = _OverflowsItsTimers


# How it says that it is


class IsIllBesideADenial(Tweaked):
    """Says that it is not well for two seconds after each denial, whatever else is read well."""

    lasts = 2.0
    _denied = float("-inf")

    def read(self, path: str, key: str) -> Secret:
        try:
            return super().read(path, key)
        except PermissionDenied:
            self._denied = time.monotonic()
            raise

    def health(self) -> bool:
        return time.monotonic() - self._denied > self.lasts and super().health()


class SaysHowItsLastReadWas(IsIllBesideADenial):
    """Says it by its last read: a good one after a denial makes it well again."""

    def read(self, path: str, key: str) -> Secret:
        found = super().read(path, key)
        self._denied = float("-inf")
        return found
