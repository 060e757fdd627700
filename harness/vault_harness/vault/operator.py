"""What an operator does to one Vault server: initialise, unseal, seal, look."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

import hvac.exceptions
import requests

from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import DeadlineExceeded, KeyringMissing, OperatorError
from vault_harness.vault._connection import NO_LEADER, Connection, SealStatus
from vault_harness.vault.keyring import KeyKind, Keyring
from vault_harness.waiting import Awaited, wait_until

LEADER_SECONDS = 10.0
"""Of patience, for who acts for a task: an election takes some on a machine that is busy."""

_POLL_SECONDS = 0.005
_BETWEEN_SEALS_SECONDS = 20.0
_ACTIVE = 200
_HEALTH = {
    0: "does not answer",
    200: "is active",
    429: "is a standby",
    501: "is not initialised",
    503: "is sealed",
}


class Operator(Connection):
    """An operator at one Vault server, over hvac. Its repr shows no secret.

    Args:
        address: Base URL of the server.
        token: What to act with; None for what needs no token (init, unseal, seal-status).
        ca_cert: CA certificate for https; what is shown to a server that asks lies beside it.
        timeout: Seconds for each request.
        namespace: Where it acts, without slashes at the ends; the root namespace for None and the
            empty one. What is the whole server's (`vault_harness.namespaces.ROOT_LEVEL`) is asked
            of it there.
        patience: Seconds in which a request is made again that a node of a cluster refuses since it
            knows of no leader; a task does not end because others elect one.

    Attributes:
        address: Base URL of the server.
        ca_cert: As given.
        namespace: Where it acts; empty for the root namespace.
        client: The hvac client, for everything that this class has no verb for.
    """

    def __repr__(self) -> str:
        where = f" in {self.namespace}" if self.namespace else ""
        return f"<Operator {self.address}{where}{' with a token' if self.client.token else ''}>"

    def with_token(self, token: str) -> Operator:
        """Another operator at the same server, acting with ``token``."""
        return self._like(token, self.namespace)

    def within(self, namespace: str) -> Operator:
        """Another operator with the same token, in a namespace; the empty one is the root."""
        return self._like(self.client.token, namespace)

    def _like(self, token: str | None, namespace: str) -> Operator:
        return Operator(
            *(self.address, token, self.ca_cert, self._timeout),
            namespace=namespace,
            patience=self._patience,
        )

    @without_frames
    def init(self, shares: int = 5, threshold: int = 3) -> Keyring:
        """Initialise it. Save the keyring before anything else: nobody ever gets it again.

        The keys are recovery keys where the server unseals itself.

        Raises:
            OperatorError: It is initialised already.
        """
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
        """Unseal it and wait until it serves. Does nothing but wait if it is unsealed.

        A server that unseals itself does so when it starts. After it was sealed by hand it takes
        recovery keys, which prove who asks; its own key must be within reach.

        Args:
            keyring: The cluster's.
            timeout: Seconds for all of it.
            standby_ok: Be content if it is a standby then; see `wait_active`.

        Raises:
            KeyringMissing: The keyring holds fewer keys than are needed.
            OperatorError: Vault does not take the keys.
            DeadlineExceeded: It does not become active within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        self.give_keys(keyring)
        self.wait_active(max(deadline - time.monotonic(), 0.0), standby_ok=standby_ok)

    def give_keys(self, keyring: Keyring) -> None:
        """Unseal it without waiting for what follows. Does nothing if it is unsealed.

        Raises:
            KeyringMissing: The keyring holds fewer keys than are needed.
            OperatorError: Vault does not take the keys.
        """
        if keyring.kind == "recovery" and not keyring.keys:
            return  # whoever keeps them elsewhere waits for it to unseal itself
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
                if not status.sealed:  # it did it itself meanwhile
                    return
                raise OperatorError(
                    f"this Vault unseals itself by its seal {status.seal}, and does not: "
                    f"{error.cause}",
                    looked_at=f"{self.address}; {error.looked_at}",
                    remedy=f"see that what holds its key answers ({named('up')} starts it), and "
                    f"look at the server's log ({named('logs')})",
                ) from None
            return
        self._give(keyring)

    @without_frames
    def migrate_seal(self, keyring: Keyring, timeout: float = 60.0) -> None:
        """Let it go over to the seal of its configuration, and wait until it serves.

        It must have been started with that seal, and with the old one marked as disabled. One that
        has done so before is unsealed only.

        Args:
            keyring: Its keys, which stay the same: they unseal under Shamir's seal, and are
                recovery keys under any other.
            timeout: Seconds for all of it.

        Raises:
            OperatorError: It does not take the keys, or cannot use one of the two seals.
            DeadlineExceeded: It does not become active within ``timeout`` seconds.
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
        """The first half of `migrate_seal`: it goes over, or is unsealed, without a wait for it.

        Args:
            keyring: As there.
            patience: Seconds for it to say which seal it has.

        Raises:
            OperatorError: It does not take the keys, or cannot use one of the two seals.
        """
        status = self.seal_status_between_seals(patience)
        if status.migrating:
            try:
                self._give(keyring, migrate=True)
            except OperatorError:
                # The answer to the last key is a seal status too, of a server that may be between
                # the seals by then. Whether it took the keys, the next status tells.
                if self.seal_status_between_seals(patience).sealed:
                    raise
        else:
            kind: KeyKind = "recovery" if status.kind == "recovery" else "shamir"
            self.give_keys(replace(keyring, kind=kind))

    def seal_status_between_seals(self, patience: float = _BETWEEN_SEALS_SECONDS) -> SealStatus:
        """As `seal_status`, of a server that may be about to go over from one seal to another.

        For a moment it has the one seal and a configuration that names the other, and answers 500
        ("barrier seal type of ... does not match expected type of ..."). That is waited for, for so
        many seconds.

        Raises:
            OperatorError: It does not answer, or goes on like that.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return self.seal_status()
            except OperatorError:
                self.see_that_it_answers()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_POLL_SECONDS)  # between two looks, bounded by the deadline

    def see_that_it_answers(self) -> int:
        """The status of its answer, whatever it is; an `OperatorError` if there is no server."""
        with self.asking("read the seal status"):
            url = f"{self.address}/v1/sys/seal-status"
            answer = self._session.get(url, timeout=self._timeout)
        return int(answer.status_code)

    def _serves(self) -> bool:
        health = self.health()
        if health == 0:
            self.see_that_it_answers()  # one that died says so at once, and is not waited for
        return health == _ACTIVE

    def _give(self, keyring: Keyring, *, migrate: bool = False) -> None:
        with self.asking("unseal") as client:
            if client.sys.read_seal_status()["sealed"]:
                # Whoever began to unseal with other keys began in vain.
                client.sys.submit_unseal_key(reset=True)
                try:
                    answers = [
                        client.sys.submit_unseal_key(key=key, migrate=migrate)
                        for key in keyring.keys[: keyring.threshold]
                    ]
                except hvac.exceptions.InvalidRequest:
                    raise self._wrong_keys() from None
                # The same key twice counts once, and more are wanted. Sealed with none wanted is a
                # node that joins a cluster, and unseals once the leader has accepted it.
                if answers[-1]["sealed"] and answers[-1]["progress"]:
                    raise self._wrong_keys()

    def _wrong_keys(self) -> OperatorError:
        return OperatorError(
            "these keys do not unseal this Vault",
            looked_at=self.address,
            remedy="put the keyring there that belongs to this Vault, or the data that belongs to "
            "the keyring; keep both until it is open",
        )

    def seal(self) -> None:
        """Seal it; needs a token that may."""
        with self.asking("seal") as client:
            client.sys.seal()

    def wait_active(self, timeout: float, *, standby_ok: bool = False) -> None:
        """Wait until it serves requests as the active node.

        Args:
            timeout: Seconds.
            standby_ok: Be content with a standby (429), which forwards to the active node.

        Raises:
            DeadlineExceeded: It does not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        good = {200, 429} if standby_ok else {200}
        awaited = Awaited(f"Vault at {self.address} to be active", timeout)
        while (status := self.health()) not in good:
            awaited.still(partial(_told, status))
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(
                    f"Vault was not active within {timeout:.1f} s: it {health_in_words(status)}",
                    looked_at=f"GET {self.address}/v1/sys/health",
                    remedy=f"look at the server's log ({named('logs')})",
                )
            time.sleep(_POLL_SECONDS)  # between two looks at the condition, bounded by the deadline

    def health(self, *, timeout: float | None = None) -> int:
        """The status of ``sys/health``: 200 active, 429 standby, 501 not initialised, 503 sealed.

        Args:
            timeout: Seconds; by default those of every request.

        Returns:
            The status, or 0 if it does not answer.
        """
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
    """Whether nobody has done what was asked, since a node of a cluster knew of no leader."""
    return NO_LEADER in error.cause


def health_in_words(status: int) -> str:
    """What a status of ``sys/health`` says, to follow "it"."""
    return _HEALTH.get(status, f"answers {status}")
