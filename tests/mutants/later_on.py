"""Clients that do well the first time, and are wrong the next: at a second outage, a second token.

Each is listed in the module of the group whose scenario it meets.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import ClassVar

from resilient_vault_client import PermissionDenied, RequestRefused, Secret
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._login import Authenticator
from resilient_vault_client._renewer import Renewer
from resilient_vault_client._token import Token as ReferenceToken
from resilient_vault_client._wrapped import WrappedSecretId
from tests.mutants.clients import AtShare, Tweaked
from tests.mutants.ids import UnwrapsBy
from tests.subjects.lazy_client import LazyClient, Token

# Tokens


class EndsTheRenewalsOfAll(LazyClient):
    """All instances of a process have one renewer, which ends with the first that is closed."""

    _renews: ClassVar[dict[str, bool]] = {}

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._renews[self._wire._authority] = True

    def _arm(self, seconds: float) -> None:
        if self._renews[self._wire._authority]:
            super()._arm(seconds)

    def _tick(self) -> None:
        if self._renews[self._wire._authority]:
            super()._tick()

    def close(self) -> None:
        self._renews[self._wire._authority] = False
        super().close()


class ThrowsItsTokenAwayFirst(LazyClient):
    """Drops a token that cannot be renewed any more, which lives on, and looks for another then.

    Where there is none to be had its callers have nothing from two thirds of a life on.
    """

    def _renewed(self, token: Token, deadline: float) -> bool:
        if super()._renewed(token, deadline):
            return True
        self._token = None
        return False


class ThrowsItsTokenAwayAtLast(AtShare, ThrowsItsTokenAwayFirst):
    """Does so when hardly anything is left of its life."""

    share = 0.85


# Health


class TellsOfItsFirstOutageAlone(Tweaked):
    """Its health goes red and green again once, and is well for ever after that."""

    _ill = _over = False

    def health(self) -> bool:
        if self._over:
            return True
        well = super().health()
        self._over = well and self._ill
        self._ill |= not well
        return well


# Wrapping tokens


class _HasOne(WrappedSecretId):
    def load(self, deadline: Deadline, patience: float) -> str:
        return self._opened.secret_id or super().load(deadline, patience)


class KeepsItsFirstOpenedSecretId(UnwrapsBy):
    """Once it has opened a secret-id it never looks for another wrapping token again."""

    wrapped_type = _HasOne


class _TrustsLaterOnes(WrappedSecretId):
    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        if not self._opened.secret_id:
            return super()._open(wrapping, deadline, patience)
        try:
            answer = self._api.unwrap(wrapping, deadline)
        except (RequestRefused, PermissionDenied):
            return ""
        return str((answer.get("data") or {}).get("secret_id") or "")


class TrustsLaterWrappingTokens(UnwrapsBy):
    """Looks who made its first wrapping token, and opens any that comes after a good one."""

    wrapped_type = _TrustsLaterOnes


class _AtAThird(Renewer):
    """Takes no token for renewable."""

    def _plan(self, token: ReferenceToken) -> None:
        token.renewable = False
        super()._plan(token)
        self._due = token.granted_at + (token.expires_at - token.granted_at) / 3


class KeepsAndUnwraps(UnwrapsBy):
    """Never renews, and answers from memory: a lost token may have been replaced when it looks."""

    keeps = 9.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self.client._session().renewer.__class__ = _AtAThird
        self.declares["refresh"] = self.keeps + 1.0
        self._values: dict[tuple[str, str], tuple[float, Secret]] = {}

    def read(self, path: str, key: str) -> Secret:
        asked = monotonic()
        kept = self._values.get((path, key))
        if kept is None or asked - kept[0] >= self.keeps:
            kept = self._values[path, key] = asked, super().read(path, key)
        return kept[1]


class _InNeed(WrappedSecretId):
    authenticator: Authenticator

    @property
    def in_need(self) -> bool:
        """Whether Vault has refused the token that it had."""
        token = self.authenticator.current
        return token is not None and token.lost is not None


class _TrustsAnyInNeed(_InNeed, _TrustsLaterOnes):
    """What it has opened is good, until a token that it gave was refused."""

    def load(self, deadline: Deadline, patience: float) -> str:
        if self._opened.secret_id and not self.in_need:
            return self._opened.secret_id
        return super().load(deadline, patience)


class _TellsOfItsNeed(KeepsAndUnwraps):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        authenticator = self.client._session().authenticator
        wrapped = authenticator._method._wrapped  # type: ignore[attr-defined]  # that of UnwrapsBy
        wrapped.authenticator = authenticator


class TrustsAnyOnceItIsRefused(_TellsOfItsNeed):
    """In its turn it logs in with what it has; for a lost token it opens whatever is there."""

    wrapped_type = _TrustsAnyInNeed


class _OpensAnewInNeed(_InNeed):
    """What it has opened is gone with a token that was refused."""

    def load(self, deadline: Deadline, patience: float) -> str:
        if self.in_need:
            self._opened.wrapping = ""
        return super().load(deadline, patience)


class OpensAnewOnceItIsRefused(_TellsOfItsNeed):
    """In its turn it logs in with what it has; for a lost token it opens the same one again."""

    wrapped_type = _OpensAnewInNeed
