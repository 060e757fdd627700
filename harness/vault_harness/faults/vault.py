"""Faults that Vault itself is made to have: sealed, tokens or credentials gone, sick but green."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import hvac
import requests

from vault_harness.engine import Capability, Node
from vault_harness.errors import CapabilityMissing, OperatorError, ScenarioDefect
from vault_harness.faults._auth import AuthFaults
from vault_harness.faults._fault import Fault, Signature
from vault_harness.vault import Operator, approle, cluster
from vault_harness.waiting import wait_until

LOCKOUT_THRESHOLD = 5
"""Bad secret-ids that lock an AppRole for everybody, by Vault's default (user lockout)."""

RESTORE = 30.0
"""Seconds in which a Vault that was given a snapshot must serve again."""

SILENCE = 0.5
"""Seconds without an answer by which a Vault is known to hang: a hundred times what one takes."""


class VaultFaults(AuthFaults):
    """What can go wrong with a Vault, done to the one of a stack.

    Args:
        stack: The Vault, with its keyring and an operator's token.
        journal: Where faults are noted.
        mount: Mount point of the AppRole method.
        namespace: Where the client works, if that is not the root.
    """

    # The seal

    @contextmanager
    def sealed(self) -> Iterator[Fault]:
        """Everything but the seal status answers 503 until it is unsealed.

        Raises:
            CapabilityMissing: Nobody here could unseal it.
        """
        self._must_be_ours(Capability.SEAL, "sealed: its keys are somebody else's")
        # Noted first: Vault refuses requests for a second before its answer to this one comes.
        fault = self._journal.begin_fault("vault sealed", Signature(statuses=frozenset({503})))
        try:
            self._stack.operator.seal()
            yield fault
        finally:
            self._stack.operator.unseal(self._stack.keyring)
            self._journal.end_fault(fault)

    @contextmanager
    def namespace_sealed(self) -> Iterator[Fault]:
        """The client's namespace answers 503; ``sys/health`` is green, and so are its neighbours.

        Raises:
            ScenarioDefect: The client works in none.
        """
        if self._namespace is None:
            raise ScenarioDefect(
                "there is no namespace to seal",
                looked_at="the scenario's entry",
                remedy="give its entry a namespace",
            )
        fault = self._journal.begin_fault("namespace sealed", Signature(statuses=frozenset({503})))
        try:
            self._namespace.seal()
            yield fault
        finally:
            self._namespace.unseal()
            self._journal.end_fault(fault)

    # A cluster

    @contextmanager
    def stepped_down(self, leader: Node) -> Iterator[Fault]:
        """A leader has given its lead away and stays a standby; that cannot be undone.

        Args:
            leader: The node that leads.
        """
        signature = Signature(unanswered=True, late=0.3, statuses=frozenset({307, 500, 503}))
        # Noted first: it refuses requests before the answer to this one comes.
        fault = self._journal.begin_fault("leader stepped down", signature)
        with closing(self._stack.operator_at(leader)) as operator:
            cluster.step_down(operator)
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    def snapshot(self) -> bytes:
        """The raft storage as it is now, for `restored`."""
        return bytes(self._stack.operator.client.sys.take_raft_snapshot().content)

    def _serves(self) -> bool:
        """Whether the operator's token, which is older than any snapshot, is answered."""
        here, token = self._stack.operator, self._stack.keyring.root_token
        with closing(Operator(here.address, token, here.ca_cert, timeout=1.0)) as operator:
            try:
                return bool(operator.request("GET", "auth/token/lookup-self"))
            except OperatorError:
                return False

    @contextmanager
    def restored(self, snapshot: bytes) -> Iterator[Fault]:
        """Vault is as it was when a snapshot was taken; what was made since never was.

        The block begins once Vault serves again: for some seconds it says that it is well, and
        answers nothing else.

        Args:
            snapshot: Of the same Vault, so that its keys are the same.

        Raises:
            CapabilityMissing: Somebody else's data would be lost.
        """
        self._must_be_ours(Capability.RESTORE, "put back: others may have written meanwhile")
        # Tokens of later are answered 403, for good.
        fault = self._journal.begin_fault(
            "an older snapshot restored", Signature(statuses=frozenset({403}), lingers=True)
        )
        self._stack.operator.client.sys.force_restore_raft_snapshot(snapshot)
        wait_until(self._serves, "Vault to serve what the snapshot has", timeout=RESTORE)
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    # Tokens and policies

    @contextmanager
    def token_revoked(self, accessor: str) -> Iterator[Fault]:
        """A token is dead from now on; that cannot be undone, the client must log in."""
        signature = Signature(statuses=frozenset({403}), token=accessor, lingers=True)
        fault = self._journal.begin_fault("token revoked", signature)
        self._post("auth/token/revoke-accessor", {"accessor": accessor})
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    @contextmanager
    def policy(self, name: str, text: str) -> Iterator[Fault]:
        """Live tokens have this policy's new content at once; the old one comes back afterwards."""
        old = self._client().sys.read_policy(name)["data"]["rules"]
        self._client().sys.create_or_update_policy(name, text)
        fault = self._journal.begin_fault(
            "policy changed", Signature(statuses=frozenset({403})), {"policy": name}
        )
        try:
            yield fault
        finally:
            self._client().sys.create_or_update_policy(name, old)
            self._journal.end_fault(fault)

    # AppRole

    @contextmanager
    def role(self, role: str, **parameters: object) -> Iterator[Fault]:
        """A role has other parameters; tokens that were issued before do not change."""
        path = f"auth/{self._mount}/role/{role}"
        old = self._get(path)
        before = {name: old[name] for name in parameters if name in old}
        self._post(path, parameters)
        fault = self._journal.begin_fault(
            "role changed", Signature(), {"role": role, **parameters}, optional=True
        )
        try:
            yield fault
        finally:
            self._post(path, before)
            self._journal.end_fault(fault)

    @contextmanager
    def role_deleted(self, role: str, *, keeps_its_id: bool = True) -> Iterator[Fault]:
        """Logins are refused, renewals answer 500, live tokens go on.

        The role comes back with its role-id, but without its secret-ids: those are gone for good.

        Args:
            role: The AppRole.
            keeps_its_id: False lets Vault give it another role-id, as who makes a role anew gets.
        """
        path = f"auth/{self._mount}/role/{role}"
        old, role_id = self._get(path), approle.role_id(self._operator, role)
        self._client().delete(path)
        fault = self._journal.begin_fault(
            "role deleted",
            Signature(statuses=frozenset({400, 500}), kinds=frozenset({"login", "renew"})),
        )
        try:
            yield fault
        finally:
            self._post(path, {key: value for key, value in old.items() if value not in (None, "")})
            if keeps_its_id:
                self._post(f"{path}/role-id", {"role_id": role_id})
            self._journal.end_fault(fault)

    @contextmanager
    def secret_id_destroyed(
        self, role: str, accessor: str, *, optional: bool = False
    ) -> Iterator[Fault]:
        """The next login with it is refused (400); live tokens go on. That cannot be undone.

        Args:
            role: The AppRole.
            accessor: Of the secret-id.
            optional: Whether a client may never meet it, having a new one by then.
        """
        signature = Signature(statuses=frozenset({400}), kinds=frozenset({"login"}), lingers=True)
        fault = self._journal.begin_fault(
            "secret-id destroyed", signature, {"role": role}, optional=optional
        )
        approle.destroy(self._operator, role, accessor)
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    @contextmanager
    def role_locked(self, role: str) -> Iterator[Fault]:
        """Somebody else's bad secret-ids locked the role: logins answer 403 until it is undone."""
        role_id = approle.role_id(self._operator, role)
        for _ in range(LOCKOUT_THRESHOLD + 1):
            with _refused():
                self._client().auth.approle.login(
                    role_id, "wrong", mount_point=self._mount, use_token=False
                )
        wait_until(
            lambda: any(found.role_id == role_id for found in approle.locked(self._operator)),
            f"role {role} to be in sys/locked-users",
            timeout=5,
            remedy="See whether user lockout is disabled on this Vault",
        )
        fault = self._journal.begin_fault(
            "role locked",
            Signature(statuses=frozenset({403}), kinds=frozenset({"login"})),
            {"role": role},
        )
        try:
            yield fault
        finally:
            approle.unlock(self._operator, role_id)
            self._journal.end_fault(fault)

    # Leases

    @contextmanager
    def leases_revoked(self, prefix: str, *, optional: bool = False) -> Iterator[Fault]:
        """What was leased below a path is gone, as after an incident; that cannot be undone.

        Args:
            prefix: Where, with the mount.
            optional: Whether a client may find it out without asking Vault, from the database.
        """
        signature = Signature(statuses=frozenset({400}), kinds=frozenset({"lease"}), lingers=True)
        fault = self._journal.begin_fault(
            "leases revoked", signature, {"prefix": prefix}, optional=optional
        )
        self._client().adapter.put(f"/v1/sys/leases/revoke-prefix/{prefix}", json={"sync": True})
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    @contextmanager
    def lease_renewals_fail(self, path: str) -> Iterator[Fault]:
        """The database does not let Vault prolong a user: each renewal is answered 400.

        So says Vault where its engine fails, "failed to renew entry"; new users can be made.

        Args:
            path: Where they are leased, ``database/creds/app``.
        """
        role = path.replace("/creds/", "/roles/")
        self._post(role, {"renew_statements": ["SELECT no_such_function()"]})
        fault = self._journal.begin_fault(
            "lease renewals fail",
            Signature(statuses=frozenset({400, 500}), kinds=frozenset({"lease"})),
            {"path": path},
        )
        try:
            yield fault
        finally:
            self._post(role, {"renew_statements": []})
            self._journal.end_fault(fault)

    # A server that is sick behind a green health check

    @contextmanager
    def rate_limited(
        self, path: str, *, rate: float, interval: float, headers: bool = True
    ) -> Iterator[Fault]:
        """More than `rate` requests to `path` within `interval` seconds answer 429.

        Args:
            path: A mount (``ecommerce/``) or a path below it.
            rate: Requests.
            interval: Seconds.
            headers: Whether the answers carry ``Retry-After``.
        """
        self._post("sys/quotas/config", {"enable_rate_limit_response_headers": headers})
        quota = "sys/quotas/rate-limit/harness"
        self._post(quota, {"path": path, "rate": rate, "interval": f"{interval:g}s"})
        fault = self._journal.begin_fault(
            "rate limited",
            Signature(statuses=frozenset({429})),
            {"path": path, "rate": rate, "interval": interval},
        )
        try:
            yield fault
        finally:
            self._client().delete(quota)
            self._journal.end_fault(fault)

    @contextmanager
    def audit_unwritable(self) -> Iterator[Fault]:
        """Its audit log cannot be opened: 500 for everything, while sys/health says 200."""
        fault: Fault | None = None
        try:
            with self._audit_aside() as path:
                path.mkdir()
                try:
                    self._stack.node.reload()
                    self._await_lookup(works=False)
                    fault = self._journal.begin_fault(
                        "audit log unwritable", Signature(statuses=frozenset({500}))
                    )
                    yield fault
                finally:
                    path.rmdir()
        finally:
            self._await_lookup(works=True)
            if fault is not None:
                self._journal.end_fault(fault)

    @contextmanager
    def audit_blocked(self) -> Iterator[Fault]:
        """Its audit log is a full pipe: every request hangs, while sys/health says 200."""
        fault: Fault | None = None
        pipe: int | None = None
        try:
            with self._audit_aside() as path:
                os.mkfifo(path, 0o600)
                try:
                    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
                    _fill(pipe)
                    self._stack.node.reload()
                    self._await_silence()
                    fault = self._journal.begin_fault(
                        "audit log blocked", Signature(unanswered=True, late=1.0)
                    )
                    yield fault
                finally:
                    path.unlink()
        finally:
            # Drained last: a request that was let go writes to whichever file is open by then.
            self._await_lookup(works=True, drain=pipe)
            if pipe is not None:
                os.close(pipe)
            if fault is not None:
                self._journal.end_fault(fault)

    @contextmanager
    def _audit_aside(self) -> Iterator[Path]:
        """The place of the audit log, free while the block runs; the log is back afterwards."""
        path = self._audit_path()
        aside = path.with_name(path.name + ".before")
        path.rename(aside)
        try:
            yield path
        finally:
            aside.rename(path)
            self._stack.node.reload()

    # Plumbing

    def _client(self) -> hvac.Client:
        return self._operator.client

    def _must_be_ours(self, needed: Capability, why: str) -> None:
        """Refuse what cannot be undone to a Vault of somebody else."""
        node = self._stack.node
        if needed not in node.capabilities:
            raise CapabilityMissing(
                f"This Vault may not be {why}",
                looked_at=f"node {node.name} at {node.address}",
                remedy="Run it on the process engine, which starts a Vault of its own",
            )

    def _audit_path(self) -> Path:
        path = self._stack.node.audit_path
        if path is None or Capability.AUDIT_FAULTS not in self._stack.node.capabilities:
            raise CapabilityMissing(
                "The audit log of this Vault cannot be broken from here",
                looked_at=f"node {self._stack.node.name}",
                remedy="Run the scenario on the process engine",
            )
        mode = path.stat().st_mode
        assert stat.S_ISREG(mode), f"{path} is no plain file: an earlier fault was not undone"
        return path

    def _await_lookup(self, *, works: bool, drain: int | None = None) -> None:
        """Wait until a request is answered, and noted in the audit log, or refused with 500.

        Args:
            works: Which of the two.
            drain: A pipe to be emptied meanwhile, so that requests which hang can go on.
        """
        log = self._audit_path() if works else None
        before = log.stat().st_size if log is not None else 0

        def as_wanted() -> bool:
            if drain is not None:
                _drain(drain)
            try:
                self._client().adapter.get("/v1/auth/token/lookup-self", timeout=SILENCE)
            except hvac.exceptions.InternalServerError:
                return not works
            except requests.Timeout:
                return False  # the pipe is full again, or the machine is busy
            # Answered, but as long as it writes to the old file it has not reloaded yet.
            return log is not None and log.stat().st_size > before

        wait_until(
            as_wanted,
            "Vault to answer again" if works else "Vault to refuse everything with 500",
            timeout=20,
            evidence=lambda: self._stack.node.logs(tail=5),
        )

    def _await_silence(self) -> None:
        """Wait until it answers no more, which begins a moment after it was told to reload."""

        def hangs() -> bool:
            try:
                self._client().adapter.get("/v1/auth/token/lookup-self", timeout=SILENCE)
            except requests.Timeout:
                return True
            return False

        wait_until(
            hangs, "Vault to hang", timeout=10, evidence=lambda: self._stack.node.logs(tail=5)
        )


@contextmanager
def _refused() -> Iterator[None]:
    """Expect Vault to refuse."""
    try:
        yield
    except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
        return


def _fill(pipe: int) -> None:
    for size in (4096, 1):
        try:
            while True:
                os.write(pipe, b"\n" * size)
        except BlockingIOError:
            continue


def _drain(pipe: int) -> None:
    try:
        while os.read(pipe, 65536):
            pass
    except BlockingIOError:
        return
