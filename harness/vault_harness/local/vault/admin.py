"""Operate one Vault server: initialise, unseal, seal, look."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import hvac.exceptions
import requests

from vault_harness.errors import (
    DeadlineExceeded,
    KeyringMissing,
    OperatorError,
    named,
    without_frames,
)
from vault_harness.local.vault.connection import NO_LEADER, SealStatus, VaultApi
from vault_harness.local.vault.keyring import KeyKind, Keyring
from vault_harness.waiting import Awaited, in_words, wait_until

LEADER_SECONDS = 10.0
"""An election takes some seconds on a busy machine."""

_POLL_SECONDS = 0.005
_BETWEEN_SEALS_SECONDS = 20.0

ACTIVE, STANDBY, NEW, SEALED = 200, 429, 501, 503
"""Statuses of ``sys/health``."""

SERVING, CLOSED = frozenset({ACTIVE, STANDBY}), frozenset({NEW, SEALED})

_HEALTH = {
    0: "does not answer",
    ACTIVE: "is active",
    STANDBY: "is a standby",
    NEW: "is not initialised",
    SEALED: "is sealed",
}


class VaultAdmin(VaultApi):
    """The API of one Vault server with an administrator's token. Its repr shows no secret.

    Args:
        token: None for requests without one (init, unseal, seal-status).
        ca_cert: The client certificate lies beside it.
        namespace: Requests for the whole server (`vault_harness.namespaces.ROOT_LEVEL`) go to the
            root namespace.
        patience: Seconds in which a request is repeated if a node knows no leader. A task must not
            fail because nodes elect one.
    """

    def __repr__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"<VaultAdmin {self.address}{where}{' with a token' if self.client.token else ''}>"

    def with_token(self, token: str) -> VaultAdmin:
        return self._like(token, self.namespace)

    def within(self, namespace: str) -> VaultAdmin:
        return self._like(self.client.token, namespace)

    def _like(self, token: str | None, namespace: str) -> VaultAdmin:
        return VaultAdmin(
            *(self.address, token, self.ca_cert, self._timeout),
            namespace=namespace,
            patience=self._patience,
        )

    @without_frames
    def init(self, shares: int = 5, threshold: int = 3) -> Keyring:
        """Initialise it. Save the keyring at once: nobody can get it again."""
        kind = self.seal_status().kind
        of = "secret" if kind == "shamir" else "recovery"
        body = {f"{of}_shares": shares, f"{of}_threshold": threshold}
        with self.asking("initialise") as client:
            # Raft writes its first log entries here, which takes seconds on a slow disk.
            client.adapter._kwargs["timeout"] = max(self._timeout, 60.0)  # noqa: SLF001 -- no other way
            try:
                result = client.adapter.put("/v1/sys/init", json=body)
            finally:
                client.adapter._kwargs["timeout"] = self._timeout  # noqa: SLF001 -- as above
        return Keyring(
            keys=tuple(result["keys_base64" if kind == "shamir" else "recovery_keys_base64"]),
            threshold=threshold,
            root_token=str(result["root_token"]),
            kind=kind,
            ca_cert=self.ca_cert,
        )

    @without_frames
    def unseal(self, keyring: Keyring, timeout: float = 10.0, *, standby_ok: bool = False) -> None:
        """Unseal it and wait until it serves.

        A server with auto-unseal that was sealed by hand takes recovery keys as a proof, and must
        reach its own key.
        """
        deadline = time.monotonic() + timeout
        self.give_keys(keyring)
        self.wait_active(max(deadline - time.monotonic(), 0.0), standby_ok=standby_ok)

    def give_keys(self, keyring: Keyring) -> None:
        """Unseal it if it is sealed, without waiting for the result."""
        if keyring.kind == "recovery" and not keyring.keys:
            return  # the recovery keys are kept elsewhere, so it must unseal itself
        if keyring.shares < max(keyring.threshold, 1):
            raise KeyringMissing(
                "the keyring holds too few unseal keys",
                looked_at=f"{keyring.shares} keys, {keyring.threshold} needed",
                remedy="take the keyring that belongs to this Vault",
            )
        if keyring.kind == "recovery":
            try:
                self._give(keyring)
            except OperatorError as error:
                status = self.seal_status()
                if not status.sealed:  # it has unsealed itself meanwhile
                    return
                raise OperatorError(
                    f"this Vault should unseal itself by its seal {status.seal}, but it does not: "
                    f"{error.cause}",
                    looked_at=f"{self.address}; {error.looked_at}",
                    remedy=f"check that its key's holder answers ({named('up')} starts it), and "
                    f"look at the server's log ({named('logs')})",
                ) from None
            return
        self._give(keyring)

    @without_frames
    def migrate_seal(self, keyring: Keyring, timeout: float = 60.0) -> None:
        """Migrate it to the seal of its configuration, and wait until it serves.

        It must have been started with that seal, and with the old one disabled. After an earlier
        migration it is only unsealed.
        """
        deadline = time.monotonic() + timeout
        self.give_keys_between_seals(keyring)
        wait_until(
            self._serves,
            "Vault to be active under its new seal",
            timeout=deadline - time.monotonic(),
            interval=_POLL_SECONDS,
            evidence=lambda: f"GET {self.address}/v1/sys/health",
            remedy=f"look at the server's log ({named('logs')})",
        )

    @without_frames
    def give_keys_between_seals(
        self, keyring: Keyring, *, patience: float = _BETWEEN_SEALS_SECONDS
    ) -> None:
        """Give the keys for `migrate_seal`. It may take `patience` seconds to report its seal."""
        status = self.seal_status_between_seals(patience)
        if status.migrating:
            try:
                self._give(keyring, migrate=True)
            except OperatorError:
                # The answer to the last key is a seal status, and the server may be between the
                # seals. The next status tells whether it took the keys.
                if self.seal_status_between_seals(patience).sealed:
                    raise
        else:
            kind: KeyKind = "recovery" if status.kind == "recovery" else "shamir"
            self.give_keys(replace(keyring, kind=kind))

    def seal_status_between_seals(self, patience: float = _BETWEEN_SEALS_SECONDS) -> SealStatus:
        """Return the `seal_status` of a server that may be about to change its seal.

        For a moment it has one seal and a configuration with the other, and answers 500 ("barrier
        seal type of ... does not match expected type of ...").
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.seal_status()
            except OperatorError:
                self.see_that_it_answers()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)  # bounded by the deadline

    def see_that_it_answers(self) -> int:
        """Return the HTTP status of any answer; raise `OperatorError` without one."""
        with self.asking("read the seal status"):
            url = f"{self.address}/v1/sys/seal-status"
            answer = self._session.get(url, timeout=self._timeout)
        return int(answer.status_code)

    def _serves(self) -> bool:
        health = self.health()
        if health == 0:
            self.see_that_it_answers()  # raises at once for a dead server, instead of a wait
        return health == ACTIVE

    def _give(self, keyring: Keyring, *, migrate: bool = False) -> None:
        with self.asking("unseal") as client:
            if client.sys.read_seal_status()["sealed"]:
                # Drop keys of another unfinished attempt.
                client.sys.submit_unseal_key(reset=True)
                try:
                    answers = [
                        client.sys.submit_unseal_key(key=key, migrate=migrate)
                        for key in keyring.keys[: keyring.threshold]
                    ]
                except hvac.exceptions.InvalidRequest:
                    raise self._wrong_keys() from None
                # A repeated key counts once. A node that is sealed and needs no more is joining a
                # cluster, and unseals once the leader has accepted it.
                if answers[-1]["sealed"] and answers[-1]["progress"]:
                    raise self._wrong_keys()

    def _wrong_keys(self) -> OperatorError:
        return OperatorError(
            "these keys do not unseal this Vault",
            looked_at=self.address,
            remedy="use the keyring that belongs to this Vault, or the data that belongs to the "
            "keyring; keep both until it is open",
        )

    def seal(self) -> None:
        with self.asking("seal") as client:
            client.sys.seal()

    def wait_active(self, timeout: float, *, standby_ok: bool = False) -> None:
        """Wait until it is active, or with `standby_ok` a standby, which forwards requests."""
        deadline = time.monotonic() + timeout
        good = SERVING if standby_ok else {ACTIVE}
        awaited = Awaited(f"Vault at {self.address} to be active", timeout)
        while (status := self.health()) not in good:
            awaited.still(partial(_told, status))
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"Vault was not active within {in_words(timeout)}: {_told(status)}",
                    looked_at=f"GET {self.address}/v1/sys/health",
                    remedy=f"look at the server's log ({named('logs')})",
                )
            time.sleep(_POLL_SECONDS)  # bounded by the deadline

    def health(self, *, timeout: float | None = None) -> int:
        """Return the status of ``sys/health``, 0 without an answer."""
        try:
            return self._session.get(
                f"{self.address}/v1/sys/health",
                timeout=self._timeout if timeout is None else timeout,
                allow_redirects=False,
            ).status_code
        except requests.RequestException:
            return 0


def _told(status: int) -> str:
    return f"it {health_in_words(status)}"


def knew_no_leader(error: OperatorError) -> bool:
    return NO_LEADER in error.cause


def health_in_words(status: int) -> str:
    """Describe a status of ``sys/health``, to follow "it"."""
    return _HEALTH.get(status, f"answers {status}")


def alive(op: VaultAdmin) -> dict[str, Any] | None:
    """Return what Vault says of the acting token; None if it is not valid."""
    with op.asking("look up a token") as client:
        try:
            return dict(client.auth.token.lookup_self()["data"])
        except hvac.exceptions.Forbidden:
            return None
