"""Clients that break the promises of TKF: a token file that an agent replaces."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from resilient_vault_client import VaultClient
from tests.mutants import neglected, outsiders, oversights, tempers
from tests.mutants.clients import REFERENCE, Mutant, Tolerated
from tests.subjects.lazy_client import GOODBYE, LazyClient, Token
from tests.subjects.lazy_wire import ClientError
from vault_harness.subjects.reference import ReferenceSubject


class ReadsItsTokenOnce(ReferenceSubject):
    """Takes the token that is in the file when it starts, and keeps it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        file = Path(environ["VAULT_TOKEN_FILE"])
        kept = file.with_name("kept-token")
        kept.write_text(file.read_text(encoding="ascii"), encoding="ascii")
        super().__init__(VaultClient(environ={**environ, "VAULT_TOKEN_FILE": str(kept)}))


class ReadsItsTokenForEachRequest(LazyClient):
    """Has no memory of a token at all, so the one that was replaced is never sent again."""

    auth = frozenset({"token-file"})

    def _valid_token(self, deadline: float) -> Token:
        del deadline
        value = Path(self._environ["VAULT_TOKEN_FILE"]).read_text(encoding="ascii").strip()
        return Token(value, first_ttl=0.0, ttl=0.0, renewable=False, batch=False, uses=0)

    def _was_dead(self, where: str, token: Token, deadline: float) -> bool:
        del where, token, deadline
        return False  # whoever replaces it will have done so by the next call


class KeepsWhatItHasRead(tempers.AnswersFromMemory, ReadsItsTokenForEachRequest):
    """Answers from memory, and keeps what it has there whatever a refresh of it comes to."""

    def _refresh(self) -> None:
        while not self._over.wait(random.uniform(*self.every)):
            for path in list(self._kept):
                with contextlib.suppress(ClientError, OSError):
                    self._kept[path] = LazyClient.read_all(self, path)


class KeepsWhatItHasReadAndItsToken(KeepsWhatItHasRead):
    """The token too, which it reads from its file once."""

    _first: Token | None = None

    def _valid_token(self, deadline: float) -> Token:
        self._first = self._first or super()._valid_token(deadline)
        return self._first


class KeepsItsTokenAWhile(KeepsWhatItHasRead):
    """Takes a token that is new in its file for its own only some seconds after it has seen it."""

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


class KeepsItsTokenTooLong(KeepsItsTokenAWhile):
    """Some seconds later than it may: recovery may take 4 s, a refresh 5 s."""

    after = 10.5


class LooksForItsTokenLate(ReferenceSubject):
    """The first new token reaches it some seconds after it was delivered, the others at once."""

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
            except FileNotFoundError:  # an agent is started anew
                continue
            if delivered != self._late.read_text(encoding="ascii"):
                time.sleep(wait)
                wait = 0.0
                self._late.write_text(delivered, encoding="ascii")
                self.client._session().authenticator._login_backoff._until = 0.0

    def close(self) -> None:
        self._ended.set()
        super().close()


class LooksForItsTokenTooLate(LooksForItsTokenLate):
    """A second and a half after it may."""

    after = 6.5


class RevokesItsAgentsToken(ReferenceSubject):
    """Gives the token back at its end, as if it were its own."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def close(self) -> None:
        token = self.client._session().authenticator.current
        if token is not None:
            token.revocable = True
        super().close()


class GivesBackItsAgentsOldToken(ReadsItsTokenForEachRequest):
    """Gives the token that it had back when there is another, though not all have read that yet."""

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


class HammersARefusedToken(ReferenceSubject):
    """Asks about a token that was refused as often as it can."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(VaultClient(environ=environ))

    def read(self, path: str, key: str) -> object:  # type: ignore[override]  # as good
        for _ in range(6):
            self.client._session().authenticator._login_backoff._until = 0.0
            value = super().read(path, key)
            if not value.stale:
                return value
        return value


class TakesAGoneFileForTheEnd(oversights.TakesAnEmptyFileForTheEnd):
    """Watches its file, and what watches it ends where there is none for a moment.

    An empty one it waits out: so does a watch for changes that is lost with what it watched.
    """

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            if not self._file.exists():
                self._ended.set()


MUTANTS: dict[str, Mutant] = {
    "reads-its-token-once": Mutant(ReadsItsTokenOnce, "TKF-01", "a good read within", REFERENCE),
    "takes-a-lines-end-for-its-token": Mutant(
        outsiders.TakesALinesEndForItsToken, "TKF-01", "a good read within", REFERENCE
    ),
    "revokes-its-agents-token": Mutant(
        RevokesItsAgentsToken, "TKF-01", "agent's token is left alone", REFERENCE
    ),
    "gives-back-its-agents-old-token": Mutant(
        GivesBackItsAgentsOldToken, "TKF-01", "requests (login and renew and revoke)", REFERENCE
    ),
    "takes-a-gone-file-for-the-end": Mutant(
        TakesAGoneFileForTheEnd, "TKF-01", "a good read within", REFERENCE
    ),
    "hammers-a-refused-token": Mutant(
        HammersARefusedToken, "TKF-01", "no request storm", REFERENCE
    ),
    "takes-an-empty-token-file-for-the-end": Mutant(
        oversights.TakesAnEmptyFileForTheEnd, "TKF-01", "a good read within", REFERENCE
    ),
    "takes-no-end-for-the-end": Mutant(
        neglected.TakesNoEndForTheEnd, "TKF-01", "a good read within", REFERENCE
    ),
    "looks-for-ever-at-what-has-no-end": Mutant(
        neglected.LooksForEverAtWhatHasNoEnd, "TKF-01", "no loop without a pause", REFERENCE
    ),
    "keeps-what-it-has-read-and-its-token": Mutant(
        KeepsWhatItHasReadAndItsToken, "TKF-01", "a good request with the token", REFERENCE
    ),
    "keeps-its-token-too-long": Mutant(
        KeepsItsTokenTooLong, "TKF-01", "a good request with the token", REFERENCE
    ),
    "looks-for-its-token-too-late": Mutant(
        LooksForItsTokenTooLate, "TKF-01", "a good read within", REFERENCE
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "reads-its-token-for-each-request": Tolerated(ReadsItsTokenForEachRequest, "TKF-01", REFERENCE),
    "keeps-its-token-a-while": Tolerated(KeepsItsTokenAWhile, "TKF-01", REFERENCE),
    "keeps-what-it-has-read": Tolerated(KeepsWhatItHasRead, "TKF-01", REFERENCE),
    "looks-for-its-token-late": Tolerated(LooksForItsTokenLate, "TKF-01", REFERENCE),
}
