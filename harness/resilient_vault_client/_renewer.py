"""The thread that keeps the token alive, and revokes replaced ones."""

from __future__ import annotations

import contextlib

from resilient_vault_client._deadline import NO_PATIENCE, Deadline, clock
from resilient_vault_client._errands import Background
from resilient_vault_client._errors import (
    ClientClosed,
    PermissionDenied,
    RequestRefused,
    ServerFailed,
    VaultError,
)
from resilient_vault_client._grant import EARLIEST, LAST_RESORT, LATEST, TOO_SHORT, Token
from resilient_vault_client._login import Authenticator
from resilient_vault_client._retrier import Tools, never
from resilient_vault_client.events import (
    RenewalFailed,
    Renewed,
    RenewerRestarted,
    TokenRevoked,
)

_LEAST_JITTER = 0.05

# A server's words, with a 500, in the last second before the maximum.
_AT_MAX_TTL = "past the max TTL"

# Seconds between two checks whether a replaced token is in use.
_RETIRED_EVERY = 0.05


class Renewer(Background):
    """Renew the current token, or replace it while it lives.

    `failures` counts those in a row.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        tools: Tools,
    ) -> None:
        super().__init__("vault-renewer", "renew the token")
        self._authenticator = authenticator
        self._api, self._retrier, self._circuit = tools.api, tools.retrier, tools.circuit
        self._backoff, self._notifier = tools.backoff, tools.notifier
        self._timeout = tools.timeout
        self._planned: Token | None = None
        self._due = 0.0
        self._grant = 0.0
        self._pause: float | None = None
        self.failures = 0

    def _restarted(self) -> None:
        self._notifier.notify(RenewerRestarted())

    def _step(self) -> float | None:
        calm = self._circuit.outage is None
        if calm:
            self.give_back(self._authenticator.take_retired())
        token = self._authenticator.current
        if token is None or not token.usable:
            wait = self._replace_lost(token)
        else:
            if token is not self._planned:
                self._plan(token)
            wait = self._due - clock()
            if wait <= 0:
                wait = self._keep(token)
        if calm and self._authenticator.has_retired:
            wait = _RETIRED_EVERY if wait is None else min(wait, _RETIRED_EVERY)
        return None if wait == float("inf") else wait

    def _plan(self, token: Token) -> None:
        self._planned = token
        self._pause = None
        self.failures = 0
        # From the beginning of the life, or from now if that life was planned before.
        begin = token.granted_at if token.granted_at > self._grant else clock()
        self._grant = token.granted_at
        life = token.expires_at - begin
        if token.uses_left is not None:
            # A renewal would cost one of few uses, so the client logs in when they are used up.
            self._due = token.expires_at
            return
        if token.capped and life < TOO_SHORT:
            self._due = begin
            return
        latest = LATEST
        if life > 0:
            # On a slow line the answer must arrive before the token ends.
            latest = min(LATEST, max(EARLIEST + _LEAST_JITTER, 1.0 - 2 * token.took / life))
        self._due = begin + life * self._backoff.between(EARLIEST, latest)

    def _keep(self, token: Token) -> float | None:
        """Renew the token or log in; return the seconds until the next work."""
        deadline = Deadline(self._timeout, NO_PATIENCE)
        try:
            if token.renewable and not token.capped:
                self._renew(token, deadline)
            else:
                reason = "max_ttl" if token.capped else "not_renewable"
                self._authenticator.replace(token, deadline, reason=reason)
        except ClientClosed:
            return None
        except VaultError as error:
            return self._failed(token, error)
        current = self._authenticator.current
        if current is None:
            return None
        self._plan(current)
        return max(0.0, self._due - clock())

    def _renew(self, token: Token, deadline: Deadline) -> None:
        denial: PermissionDenied | RequestRefused
        token.begin()
        token.renewing = True
        try:
            started, answer = self._retrier.run(
                lambda: (clock(), self._api.renew(token.text, deadline)),
                scope="renew-self",
                deadline=deadline,
                repeat=never,
            )
        except (PermissionDenied, RequestRefused) as error:
            denial = error
        except ServerFailed as error:
            if _AT_MAX_TTL not in str(error):
                raise
            token.capped = True
            return
        else:
            token.renewed(answer.get("auth"), started)
            token.proven = True
            self._notifier.notify(Renewed(ttl=token.remaining, capped=token.capped))
            return
        finally:
            token.renewing = False
            token.end()
        self._refused(token, denial, deadline)

    def _refused(self, token: Token, denial: VaultError, deadline: Deadline) -> None:
        """Handle a refusal: the token is dead, or is never renewed."""
        if isinstance(denial, PermissionDenied):
            new = self._authenticator.after_denial(token, denial, deadline, policy_login=False)
            if new is not None:
                return
        token.renewable = False
        self._notifier.notify(
            RenewalFailed(error=denial, remaining=token.remaining, retry_in=token.remaining)
        )

    def _failed(self, token: Token, error: VaultError) -> float:
        """Choose when to try again: with growing pauses, until the token ends."""
        last_resort = (token.ttl or 0.0) * LAST_RESORT
        if not error.echo:
            self.failures += 1
            self._pause = self._backoff.next(self._pause)
            wait = max(self._pause, error.retry_in or 0.0)
            self._notifier.notify(
                RenewalFailed(error=error, remaining=token.remaining, retry_in=wait)
            )
            if isinstance(error, ServerFailed) and token.remaining <= last_resort:
                # Vault answers and does not renew; a login may work instead.
                token.renewable = False
        else:
            wait = max(error.retry_in or 0.0, 0.05)
        self._due = clock() + min(wait, max(token.remaining - last_resort, wait / 4))
        return max(0.0, self._due - clock())

    def _replace_lost(self, token: Token | None) -> float | None:
        """Log in before a read needs it; return the seconds until the next try."""
        if token is None:
            return None
        if token.uses_left is not None:
            return None
        try:
            self._authenticator.token(Deadline(self._timeout, NO_PATIENCE))
        except VaultError as error:
            wait = error.retry_in
            if wait is None:
                self._pause = self._backoff.next(self._pause)
                wait = self._pause
            # A new secret-id may come at any time, and only reading the file finds it.
            return min(max(wait, 0.05), max(self._backoff.cap, 0.05))
        return 0.0

    def give_back(self, tokens: list[Token], timeout: float | None = None) -> None:
        """Revoke tokens; if that fails they expire."""
        deadline = Deadline(self._timeout if timeout is None else timeout)
        for token in tokens:
            with contextlib.suppress(VaultError):
                self._api.revoke(token.text, deadline)
                self._notifier.notify(TokenRevoked())
