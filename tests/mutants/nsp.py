"""Clients that break the promises of NSP: namespaces."""

from __future__ import annotations

import time

from tests.mutants import (
    always,
    answered_leases,
    other_styles,
    own_pace,
    ticks,
    turnovers,
    untried,
    writing,
)
from tests.mutants.clients import REFERENCE, Mutant, Tolerated
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import Reply, UnavailableError, Wire


class _Forgetful(Wire):
    """Names the namespace but for some requests."""

    forgets = ""

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        if path != self.forgets:
            return super().send(method, path, deadline=deadline, token=token, body=body)
        named, self._namespace = self._namespace, ""
        try:
            return super().send(method, path, deadline=deadline, token=token, body=body)
        finally:
            self._namespace = named


class _RenewsInTheRoot(_Forgetful):
    forgets = "auth/token/renew-self"


class _LooksInTheRoot(_Forgetful):
    forgets = "auth/token/lookup-self"


class _RevokesInTheRoot(_Forgetful):
    forgets = "auth/token/revoke-self"


class RenewsInTheRoot(LazyClient):
    """Makes its renewals by code of their own, which has no header for the namespace."""

    wire_type = _RenewsInTheRoot


class LooksInTheRoot(LazyClient):
    """Asks the root about a token of the namespace."""

    wire_type = _LooksInTheRoot


class LooksInTheRootAtLast(own_pace.KeepsAndLogsInAtAThird):
    """Never renews, and answers from memory: what it has at its next look is mostly a new token."""

    wire_type = _LooksInTheRoot


class RevokesInTheRoot(LazyClient):
    """Gives its token back by code of its own: each restart leaves one behind at HashiCorp's."""

    wire_type = _RevokesInTheRoot


class TakesASealForADeadToken(LazyClient):
    """Drops its token at a 503, since the server's health is green."""

    def read(self, path: str, key: str) -> str:
        try:
            return super().read(path, key)
        except UnavailableError:
            if self._green():
                self._token = None
            raise

    def _green(self) -> bool:
        deadline = time.monotonic() + 0.5
        named, self._wire._namespace = self._wire._namespace, ""
        try:
            return self._wire.send("GET", "sys/health", deadline=deadline).status == 200
        except UnavailableError:
            return False
        finally:
            self._wire._namespace = named


class TrustsAGreenHealth(LazyClient):
    """Asks again without a pause for as long as the server's health is green."""

    def read(self, path: str, key: str) -> str:
        end = time.monotonic() + 0.9 * self._deadline
        while True:
            try:
                return self._once(path, key, end)
            except UnavailableError:
                if time.monotonic() > end - 0.1:
                    raise

    def _once(self, path: str, key: str, end: float) -> str:
        token = self._valid_token(end)
        reply = self._wire.send(
            "GET", f"{self._mount}/data/{path}", deadline=end, token=token.value
        )
        return str(reply.body["data"]["data"][key])


MUTANTS: dict[str, Mutant] = {
    "renews-in-the-root": Mutant(RenewsInTheRoot, "NSP-01", "a renew named none"),
    "writes-in-the-root": Mutant(
        writing.WritesInTheRoot, "NSP-01", "a write named none", REFERENCE
    ),
    "reads-wholes-in-the-root": Mutant(
        turnovers.ReadsWholesInTheRoot, "NSP-01", "a read named none"
    ),
    "leases-in-the-root": Mutant(
        untried.LeasesInTheRoot, "NSP-01", "a credential named none", REFERENCE
    ),
    "renews-leases-in-the-root": Mutant(
        answered_leases.RenewsLeasesInTheRoot, "NSP-01", "a lease named none", REFERENCE
    ),
    "looks-in-the-root": Mutant(LooksInTheRoot, "NSP-01", "a lookup named none"),
    "looks-in-the-root-at-last": Mutant(LooksInTheRootAtLast, "NSP-01", "a lookup named none"),
    "revokes-in-the-root": Mutant(RevokesInTheRoot, "NSP-01", "a revoke named none"),
    "looks-after-its-old-token-in-a-namespace": Mutant(
        always.LooksAfterItsOldToken, "NSP-01", "known to be dead"
    ),
    "sends-a-request-with-its-dead-token-in-a-namespace": Mutant(
        always.SendsOnceMore, "NSP-01", "known to be dead"
    ),
    "starts-a-renewer-for-each-login": Mutant(
        ticks.StartsARenewerForEachLogin, "NSP-01", "into a life of"
    ),
    "takes-a-sealed-namespace-for-a-dead-token": Mutant(TakesASealForADeadToken, "NSP-02", "token"),
    "trusts-a-green-health": Mutant(TrustsAGreenHealth, "NSP-02", "requests in"),
}

TOLERATED: dict[str, Tolerated] = {
    "meets-its-second-loss-in-a-namespace": Tolerated(own_pace.KeepsAndLogsInAtAThird, "NSP-01"),
    "asks-for-health-in-the-root": Tolerated(other_styles.AsksForHealthFirst, "NSP-01"),
}
