"""Correct clients of other styles: what they ask for is no more than a scenario allows, only other.

Each is listed in the module of the group whose scenario once took its style for a fault.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any

from resilient_vault_client import PermissionDenied
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._grant import Grant
from resilient_vault_client._leases import Leases
from tests.mutants.clients import LooksByItself, Tweaked
from tests.subjects.lazy_client import Credentials, LazyClient, Token, _mark, _secret
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    GivenUpError,
    MissingError,
    Reply,
    UnavailableError,
    Wire,
)


class StartsSlowly(LazyClient):
    """Needs as long for its start as a JVM with a context does, and asks for nothing until then."""

    takes = 4.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        threading.Event().wait(self.takes)
        super().__init__(environ)


class StartsVerySlowly(StartsSlowly):
    """As on a machine with little to spare: for longer than a short-lived certificate is good."""

    takes = 13.0


class LoadsAtItsFirstRead(LazyClient):
    """Takes longer for its first read than a call may: a virtual machine loads its classes then."""

    times, takes = 1, 3.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._left = [self.takes] * self.times

    def read_all(self, path: str) -> dict[str, str]:
        if self._left:
            time.sleep(self._left.pop())
        return super().read_all(path)


class LoadsAtItsSecondReadToo(LoadsAtItsFirstRead):
    """Takes as long once more."""

    times = 2


class WantsVaultAtItsSlowStart(StartsSlowly):
    """Fails fast: without a token it does not start, and its supervisor starts it once more."""

    takes = 7.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._valid_token(time.monotonic() + self._deadline)


class LooksEverySecond(LooksByItself):
    """Looks at its token at a pace of its own, beside the looks that denials cost."""

    def _look(self, token: Token, deadline: float) -> None:
        self._ask("GET", "auth/token/lookup-self", deadline, token)


class LooksFourTimesASecond(LooksEverySecond):
    """More often than anything can change."""

    every = 0.25


class LooksMoreOftenAfterAnOutage(LooksEverySecond):
    """Trusts its first token, and looks at each that comes after it five times a second."""

    _logins = 0

    def _log_in(self, deadline: float) -> Token:
        self._logins += 1
        self.every = 1.0 if self._logins == 1 else 0.2
        return super()._log_in(deadline)


class AsksForHealthFirst(LazyClient):
    """Logs in only where Vault says that it serves, and has a look at what it was given."""

    def _log_in(self, deadline: float) -> Token:
        self._ask_for_health(deadline)
        token = super()._log_in(deadline)
        self._ask("GET", "auth/token/lookup-self", deadline, token)
        return token

    def _ask_for_health(self, deadline: float) -> None:
        with self._gate.passage(deadline):
            named, self._wire._namespace = self._wire._namespace, ""  # it is the server's own
            try:
                self._wire.send("GET", "sys/health", deadline=deadline)
            finally:
                self._wire._namespace = named


class TriesToGiveBackEachBatchToken(LazyClient):
    """Gives back each token that it replaces, and takes Vault's 400 for an answer."""

    times = 1

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        token = super()._log_in(deadline)
        for _ in range(self.times if old is not None else 0):
            assert old is not None
            self._ask("POST", "auth/token/revoke-self", deadline, old, {})
        return token


class _OneAtATime(Wire):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turn = threading.Lock()

    def send(self, *args: Any, deadline: float, **how: Any) -> Reply:
        if not self._turn.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise GivenUpError("another request is under way")
        try:
            return super().send(*args, deadline=deadline, **how)
        finally:
            self._turn.release()


class AsksForMetadataFirst(LazyClient):
    """Looks which version a secret has, and asks for it then."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        token = self._valid_token(deadline)
        where = f"{self._mount}/metadata/{path}"
        reply = self._ask("GET", where, deadline, token)
        if reply.status == 403 and self._was_dead(where, token, deadline):
            return super()._fetch(path, deadline)
        return reply if reply.status == 403 else super()._fetch(path, deadline)


class AsksForTheDeniedInTwoWays(AsksForMetadataFirst):
    """Asks for metadata, then for the secret, and does both once more where both are denied."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        for _ in range(2):
            token = self._valid_token(deadline)
            self._ask("GET", f"{self._mount}/metadata/{path}", deadline, token)
            reply = self._ask("GET", f"{self._mount}/data/{path}", deadline, token)
            if reply.status != 403:
                return reply
        raise DeniedError(f"the policy denies {path}")


class AsksWhichMountsThereAre(LazyClient):
    """Looks at its mount before it reads, and at its token where it may not know of that mount."""

    def _fetch(self, path: str, deadline: float) -> Reply:
        token = self._valid_token(deadline)
        where = f"sys/internal/ui/mounts/{self._mount}"
        if self._ask("GET", where, deadline, token).status == 403:
            self._ask("GET", "auth/token/lookup-self", deadline, token)
            raise MissingError(f"there is no mount {self._mount}")
        return super()._fetch(path, deadline)


class AsksWhatItMayFirst(Tweaked):
    """Writes only where Vault says that it may."""

    def write(self, path: str, data: Mapping[str, str]) -> None:
        session, deadline = self.client._session(), Deadline(1.0)
        where = f"{session._api._mount}/data/{path}"
        may = session._api._transport.request(
            "POST",
            "sys/capabilities-self",
            token=session.authenticator.token(deadline, 1.0).text,
            body={"paths": [where]},
            deadline=deadline,
        )
        if may["capabilities"] == ["deny"]:
            raise PermissionDenied(f"the policy denies {path}", path=path)
        super().write(path, data)


class AsksOneThingAtATime(LazyClient):
    """Never has two requests under way: a read waits for the renewal before it.

    Correct where answers come; TOK-22 asks for more than that.
    """

    wire_type = _OneAtATime


class LeavesTheLoginToTheNextCall(LazyClient):
    """Drops a token that Vault does not renew, and has no use for another until somebody reads."""

    def _renewed(self, token: Token, deadline: float) -> bool:
        if not super()._renewed(token, deadline):
            self._token = None
        return True


class GivesItsTokenBackAtOnce(LazyClient):
    """Gives its token back as soon as it has another: a read with the old one is made once more.

    That a caller has one on its way then is chance. Here a caller has one each time, who gets no
    core for a moment after he has taken the old token.
    """

    late = 0.1

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._old: Token | None = None
        self._taken, self._given_back = threading.Event(), threading.Event()

    def _log_in(self, deadline: float) -> Token:
        old = self._token
        if old is not None:
            self._taken.clear()
            self._given_back.clear()
            self._old = old
            self._taken.wait(1.0)
        token = super()._log_in(deadline)
        if old is not None:
            with contextlib.suppress(ClientError):
                self._ask("POST", "auth/token/revoke-self", deadline, old)
            self._given_back.set()
        return token

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if method == "GET" and token is self._old and not self._taken.is_set():
            self._taken.set()
            self._given_back.wait(1.0)
            time.sleep(self.late)
        return super()._ask(method, path, deadline, token, body)


class ReadsOnWithWhatItGaveBack(GivesItsTokenBackAtOnce):
    """Has a caller who reads with it long after that, and finds out by the refusal."""

    late = 0.7


class ProbesItselfNowAndThen(LazyClient):
    """Says of its health how its last look at its token ended, which it takes every five seconds.

    A question for it costs no request. It declares no back-off, since its health has that pace.
    """

    capabilities = LazyClient.capabilities | {"health"}
    every = 5.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {"deadline": self._deadline}
        self._well = True
        self._over = threading.Event()
        threading.Thread(target=self._probe, name="probe", daemon=True).start()

    def _probe(self) -> None:
        while not self._over.wait(self.every):
            deadline = time.monotonic() + self._deadline * 0.95
            try:
                token = self._valid_token(deadline)
                look = self._ask("GET", "auth/token/lookup-self", deadline, token)
            except ClientError:
                self._well = False
            else:
                self._well = look.status == 200

    def health(self) -> bool:
        return self._well

    def close(self) -> None:
        self._over.set()
        super().close()


class KnowsNothingBeforeItsFirstLook(ProbesItselfNowAndThen):
    """Says that it is not well until it has looked."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._well = False


class AsksBeforeItHasAToken(LazyClient):
    """Asks once as nobody, when it is made, whether there is anything to read."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        deadline = time.monotonic() + self._deadline
        self._wire.send("GET", f"{self._mount}/data/backend/django", deadline=deadline)


class StartsWithNoMountThatItMayNotSee(LazyClient):
    """Asks for its mount with one token, gives that back, asks with another, and gives up."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        deadline = time.monotonic() + self._deadline
        where = f"sys/internal/ui/mounts/{self._mount}"
        for _ in range(2):
            token = self._valid_token(deadline)
            if self._ask("GET", where, deadline, token).status == 200:
                return
            self._token = None
            self._ask("POST", "auth/token/revoke-self", deadline, token)
        self.close()
        raise MissingError(f"there is no mount {self._mount}")


class _ReadsAheadOfALogin(Credentials):
    """Has read its files a moment before they are used."""

    def current(self) -> tuple[str, str]:
        ids = super().current()
        time.sleep(0.3)
        return ids


class LogsInAMomentAfterItHasRead(LazyClient):
    """What replaces a secret-id meanwhile is used at its next login."""

    credentials_type = _ReadsAheadOfALogin


class RestsForFourSeconds(LazyClient):
    """Gives Vault a rest after a failure, as a circuit breaker does, and says for how long."""

    rests = 4.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.declares = {**self.declares, "backoff_cap": self.rests}
        self._until = 0.0

    def read_all(self, path: str) -> dict[str, str]:
        if time.monotonic() < self._until:
            raise UnavailableError("Vault failed a moment ago")
        try:
            return super().read_all(path)
        except UnavailableError:
            self._until = time.monotonic() + self.rests
            raise


class RestsForWhatItDoesNotKeep(RestsForFourSeconds):
    """Keeps what it has read fresh, answers from that, and gives Vault a rest for all else.

    No read of what it keeps shows that rest, which an outage costs a secret that nobody has read.
    """

    every, keeps = 0.5, 5.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._kept: dict[str, tuple[float, dict[str, str]]] = {}
        self._over = threading.Event()
        threading.Thread(target=self._refresh, name="refresh", daemon=True).start()

    def read_all(self, path: str) -> dict[str, str]:
        asked = time.monotonic()
        at, values = self._kept.get(path, (float("-inf"), {}))
        if asked - at >= self.keeps:
            values = super().read_all(path)
            self._kept[path] = asked, values
        return dict(values)

    def _refresh(self) -> None:
        while not self._over.wait(self.every):
            token = self._token
            for path in list(self._kept) if token is not None else []:
                assert token is not None
                asked = time.monotonic()
                where, deadline = f"{self._mount}/data/{path}", asked + self.every
                try:
                    reply = self._wire.send("GET", where, deadline=deadline, token=token.value)
                    self._kept[path] = asked, _secret(reply, path)
                except UnavailableError:
                    self._until = time.monotonic() + self.rests
                except ClientError:
                    self._kept.pop(path, None)  # the next caller asks, and hears why

    def close(self) -> None:
        self._over.set()
        super().close()


class RestsTooLongForWhatItDoesNotKeep(RestsForWhatItDoesNotKeep):
    """Says four seconds, and takes twice as many."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.rests = 8.0


class _LongPauses(Credentials):
    def usable(self, secret_id: str) -> bool:
        times = self._failed.get(_mark(secret_id), [])
        long_ago = not times or time.monotonic() - times[-1] >= 2.0 * 2 ** len(times)
        return len(times) < 3 and long_ago


class StopsAfterLongPauses(LazyClient):
    """Tries a refused secret-id twice more, after 4 s and after 8 s, and no more."""

    credentials_type = _LongPauses


class LooksUp(Leases):
    """Looks at a lease before it renews it, and after."""

    def _ask_for_more(self, grant: Grant, deadline: Deadline) -> dict[str, Any]:
        self._look(grant, deadline)
        answer = super()._ask_for_more(grant, deadline)
        self._look(grant, deadline)
        return answer

    def _look(self, grant: Grant, deadline: Deadline) -> None:
        self._api._transport.request(
            "POST",
            "sys/leases/lookup",
            token=grant.token.text,
            body={"lease_id": grant.id},
            deadline=deadline,
        )
