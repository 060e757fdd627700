"""Clients that break NSP: namespaces."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Mapping
from typing import Any

from tests.mutants.clients import Mutant, Tolerated, _KeyByKeyAsEver, by_name
from tests.mutants.login_clients import (
    AsksForHealthFirst,
    KeepsAndLogsInAtAThird,
    LooksUpItsOldToken,
)
from tests.mutants.reference_clients import Leasing, Tweaked
from tests.subjects.lazy_client import LazyClient, Token, _secret
from tests.subjects.lazy_wire import ClientError, Reply, UnavailableError, Wire

# NSP-01


class _Forgetful(Wire):
    """Leaves the namespace out of some requests."""

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


class WritesWithoutTheNamespace(Tweaked):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def without(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if method == "POST" and "/data/" in url.path:
                headers = [(name, value) for name, value in headers if name != b"X-Vault-Namespace"]
            return send(method, url, headers, content, deadline)

        transport._send = without  # type: ignore[method-assign]


class ReadsWholeSecretsWithoutTheNamespace(_KeyByKeyAsEver):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._other = self.wire_type({**environ, "VAULT_NAMESPACE": ""})

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        token = self._valid_token(deadline).value
        where = f"{self._mount}/data/{path}"
        return _secret(self._other.send("GET", where, deadline=deadline, token=token), path)


class LeasesWithoutTheNamespace(Leasing):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def without(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if "/creds/" in url.path:
                headers = [(name, value) for name, value in headers if name != b"X-Vault-Namespace"]
            return send(method, url, headers, content, deadline)

        transport._send = without  # type: ignore[method-assign]


class RenewsLeasesWithoutTheNamespace(Leasing):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        transport = self.client._session()._transport
        send = transport._send

        def without(method: Any, url: Any, headers: Any, content: Any, deadline: Any) -> Any:
            if "/leases/renew" in url.path:
                headers = [(name, value) for name, value in headers if name != b"X-Vault-Namespace"]
            return send(method, url, headers, content, deadline)

        transport._send = without  # type: ignore[method-assign]


class StartsARenewerForEachLogin(LazyClient):
    """Its first login starts none."""

    _logins = 0

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._over = threading.Event()
        super().__init__(environ)

    def _log_in(self, deadline: float) -> Token:
        token = super()._log_in(deadline)
        self._logins += 1
        if self._logins > 1 and token.ttl:
            threading.Thread(target=self._keep, args=(token,), daemon=True).start()
        return token

    def _keep(self, token: Token) -> None:
        while not self._over.wait(random.uniform(0.45, 0.5) * token.ttl):
            with contextlib.suppress(ClientError):
                by = time.monotonic() + self._deadline
                self._ask("POST", "auth/token/renew-self", by, token, {})

    def close(self) -> None:
        self._over.set()
        super().close()


# NSP-02


class TreatsASealAsADeadToken(LazyClient):
    """At a 503, since the server's health is good."""

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


class RetriesWithoutAPauseWhileSysHealthIsGood(LazyClient):
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


MUTANTS = by_name(
    Mutant(_Forgetful, "NSP-01", "a renew named none").called(
        "renews-without-the-namespace", forgets="auth/token/renew-self"
    ),
    Mutant(WritesWithoutTheNamespace, "NSP-01", "a write named none"),
    Mutant(ReadsWholeSecretsWithoutTheNamespace, "NSP-01", "a read named none"),
    Mutant(LeasesWithoutTheNamespace, "NSP-01", "a credential named none"),
    Mutant(RenewsLeasesWithoutTheNamespace, "NSP-01", "a lease named none"),
    Mutant(_Forgetful, "NSP-01", "a lookup named none").called(
        "looks-up-its-token-without-the-namespace", forgets="auth/token/lookup-self"
    ),
    Mutant(_Forgetful, "NSP-01", "a revoke named none").called(
        "revokes-without-the-namespace", forgets="auth/token/revoke-self"
    ),
    Mutant(LooksUpItsOldToken, "NSP-01", "known to be dead").called(
        "looks-up-its-old-token-in-a-namespace"
    ),
    Mutant(StartsARenewerForEachLogin, "NSP-01", "into a life of"),
    Mutant(TreatsASealAsADeadToken, "NSP-02", "token").called(
        "treats-a-sealed-namespace-as-a-dead-token"
    ),
    Mutant(RetriesWithoutAPauseWhileSysHealthIsGood, "NSP-02", "requests in"),
)


TOLERATED = by_name(
    Tolerated(KeepsAndLogsInAtAThird, "NSP-01").called("notices-a-lost-token-late-in-a-namespace"),
    Tolerated(AsksForHealthFirst, "NSP-01").called("asks-for-health-without-the-namespace"),
)
