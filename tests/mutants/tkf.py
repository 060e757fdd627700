"""Clients that break TKF: a token file that an agent replaces."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import VaultClient
from tests.mutants.clients import REFERENCE, Mutant, Tolerated, by_name
from tests.mutants.login_clients import AnswersFromMemory
from tests.mutants.reference_clients import GivesUpAfterAnEmptyFile
from tests.subjects.lazy_client import GOODBYE, LazyClient, Token
from tests.subjects.lazy_wire import ClientError, DeniedError, GivenUpError
from vault_harness.judge.subjects.reference import ReferenceSubject

# TKF-01


class KeepsTheLineEndOfItsTokenFile(LazyClient):
    """No HTTP library would send it."""

    auth = frozenset({"token-file"})

    def _valid_token(self, deadline: float) -> Token:
        del deadline
        value = Path(self._environ["VAULT_TOKEN_FILE"]).read_text(encoding="ascii")
        if "\n" in value:
            raise GivenUpError("a header has no line's end in its value")
        return Token(value, first_ttl=0.0, ttl=0.0, renewable=False, batch=False, uses=0)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        del where, token, deadline
        return False


class RevokesItsAgentsToken(ReferenceSubject):
    """Revokes it at its own end."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def close(self) -> None:
        token = self.client._session().authenticator.current
        if token is not None:
            token.revocable = True
        super().close()


class ReadsItsTokenForEachRequest(LazyClient):
    """So it never sends a replaced one."""

    auth = frozenset({"token-file"})

    def _valid_token(self, deadline: float) -> Token:
        del deadline
        value = Path(self._environ["VAULT_TOKEN_FILE"]).read_text(encoding="ascii").strip()
        return Token(value, first_ttl=0.0, ttl=0.0, renewable=False, batch=False, uses=0)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        del where, token, deadline
        return False


class RevokesItsAgentsOldToken(ReadsItsTokenForEachRequest):
    """Before all clients have read the new one."""

    after = 0.3
    _last: Token | None = None

    def _valid_token(self, deadline: float) -> Token:
        new, old = super()._valid_token(deadline), self._last
        self._last = new
        if old is not None and old.value != new.value:
            later = threading.Timer(self.after, self._give_back, (old,))
            later.daemon = True
            later.start()
        return new

    def _give_back(self, old: Token) -> None:
        deadline = time.monotonic() + GOODBYE
        with contextlib.suppress(ClientError):
            self._wire.send("POST", "auth/token/revoke-self", deadline=deadline, token=old.value)


class GivesUpAfterAMissingFile(GivesUpAfterAnEmptyFile):
    """A watch is lost if its file is removed. It waits out an empty file."""

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            if not self._file.exists():
                self._ended.set()


class RetriesARefusedTokenWithoutAPause(ReferenceSubject):
    """Asks about it as often as it can."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def read(self, path: str, key: str) -> object:  # type: ignore[override]  # as good
        for _ in range(6):
            self.client._session().authenticator._login_backoff._until = 0.0
            value = super().read(path, key)
            if not value.stale:
                return value
        return value


class _LooksAtItsFile(LazyClient):
    """Asks Vault for its token's remaining life at each change."""

    auth = frozenset({"token-file"})

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left, self._seen = float("inf"), ""

    def _valid_token(self, deadline: float) -> Token:
        value = Path(self._environ["VAULT_TOKEN_FILE"]).read_text(encoding="ascii").strip()
        token = Token(value, first_ttl=0.0, ttl=0.0, renewable=False, batch=False, uses=0)
        if value and value != self._seen:
            looked = self._ask("GET", "auth/token/lookup-self", deadline, token)
            if looked.status == 200:
                self._left, self._seen = float(looked.body["data"]["ttl"]), value
        return token

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        del where, token, deadline
        return False

    def close(self) -> None:
        self._closed = True  # its agent owns the token


class TreatsATtlOfZeroAsAnEndedToken(_LooksAtItsFile):
    """A token that lives for ever has that TTL too."""

    def _valid_token(self, deadline: float) -> Token:
        token = super()._valid_token(deadline)
        if self._left <= 0:
            raise DeniedError("the token in the file has ended")
        return token


class LooksUpAnEndlessTokenInALoop(_LooksAtItsFile):
    """When two thirds of its remaining life are over."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._over = threading.Event()
        threading.Thread(target=self._look_on, name="looks", daemon=True).start()

    def _look_on(self) -> None:
        while not self._over.wait(min(2 / 3 * self._left, 0.5)):
            seen, self._seen = self._seen, ""
            if seen:
                try:
                    self._valid_token(time.monotonic() + self._deadline)
                except (ClientError, OSError):
                    self._left = float("inf")  # the agent will replace it

    def close(self) -> None:
        self._over.set()
        super().close()


class AnswersFromMemoryWithATokenFile(AnswersFromMemory, ReadsItsTokenForEachRequest):
    """Keeps its values even if a refresh fails."""

    def _refresh(self) -> None:
        while not self._over.wait(random.uniform(*self.every)):
            for path in list(self._kept):
                with contextlib.suppress(ClientError, OSError):
                    self._kept[path] = LazyClient.read_all(self, path)


class UsesAnOldTokenOfItsFileForAWhile(AnswersFromMemoryWithATokenFile):
    every = (0.9, 1.1)
    after = 5.0
    _own: Token | None = None
    _seen = "", 0.0

    def _valid_token(self, deadline: float) -> Token:
        new, now = super()._valid_token(deadline), time.monotonic()
        if new.value != self._seen[0]:
            self._seen = new.value, now
        if self._own is None or now - self._seen[1] >= self.after:
            self._own = new
        return self._own


class ReadsItsTokenFileLate(ReferenceSubject):
    """Only the first new token, by some seconds."""

    after = 3.8

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._file = Path(environ["VAULT_TOKEN_FILE"])
        self._late = self._file.with_name("late-token")
        self._late.write_text(self._file.read_text(encoding="ascii"), encoding="ascii")
        self._ended = threading.Event()
        super().__init__(VaultClient(environ={**environ, "VAULT_TOKEN_FILE": str(self._late)}))
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        wait = self.after
        while not self._ended.wait(0.05):
            try:
                delivered = self._file.read_text(encoding="ascii")
            except FileNotFoundError:  # an agent restarts
                continue
            if delivered != self._late.read_text(encoding="ascii"):
                time.sleep(wait)
                wait = 0.0
                self._late.write_text(delivered, encoding="ascii")
                self.client._session().authenticator._login_backoff._until = 0.0

    def close(self) -> None:
        self._ended.set()
        super().close()


MUTANTS = by_name(
    Mutant(KeepsTheLineEndOfItsTokenFile, "TKF-01", "a good read within", deviates_from=REFERENCE),
    Mutant(RevokesItsAgentsToken, "TKF-01", "agent's token is left alone"),
    Mutant(RevokesItsAgentsOldToken, "TKF-01", "requests (login and renew and revoke)"),
    Mutant(GivesUpAfterAMissingFile, "TKF-01", "a good read within"),
    Mutant(RetriesARefusedTokenWithoutAPause, "TKF-01", "no request storm"),
    Mutant(TreatsATtlOfZeroAsAnEndedToken, "TKF-01", "a good read within"),
    Mutant(LooksUpAnEndlessTokenInALoop, "TKF-01", "no loop without a pause"),
    # Some seconds: recovery may take 4 s, a refresh 5 s.
    Mutant(UsesAnOldTokenOfItsFileForAWhile, "TKF-01", "a good request with the token").called(
        "uses-an-old-token-of-its-file-for-too-long", after=10.5
    ),
    Mutant(ReadsItsTokenFileLate, "TKF-01", "a good read within").called(
        "reads-its-token-file-too-late", after=6.5
    ),
)


TOLERATED = by_name(
    Tolerated(ReadsItsTokenForEachRequest, "TKF-01"),
    Tolerated(UsesAnOldTokenOfItsFileForAWhile, "TKF-01"),
    Tolerated(ReadsItsTokenFileLate, "TKF-01"),
)
