"""Break Vault itself: seal it, revoke what it gave, make it sick."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import hvac
import requests

from vault_harness.errors import CapabilityMissing, OperatorError, ScenarioDefect
from vault_harness.local.engine.shape import Capability, Node
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle, cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.namespace import Namespace
from vault_harness.recorder.fault import Fault, FaultLog, Signature, noted
from vault_harness.waiting import wait_until

LOCKOUT_THRESHOLD = 5
"""Bad secret-ids that lock an AppRole for everybody, by Vault's default."""

RESTORE = 30.0
"""Seconds in which Vault must serve a restored snapshot."""

MOVE = 10.0
"""Seconds that Vault may take to move a mount."""

SILENCE = 0.5
"""Seconds without an answer that show a hang: a hundred times the usual."""


def serves(stack: Stack, at: Node | VaultAdmin) -> bool:
    """Return whether the root token works there, which is older than any snapshot."""
    token = stack.keyring.root_token
    with closing(VaultAdmin(at.address, token, at.ca_cert, timeout=1.0)) as operator:
        try:
            return bool(operator.request("GET", "auth/token/lookup-self"))
        except OperatorError:
            return False


class VaultFaults:
    """Break a stack's Vault. ``namespace`` is the client's, None for the root."""

    def __init__(
        self,
        stack: Stack,
        log: FaultLog,
        *,
        mount: str = "approle",
        namespace: Namespace | None = None,
    ) -> None:
        self._stack = stack
        self._namespace = namespace
        self._operator = stack.operator if namespace is None else namespace.operator
        self._log = log
        self._mount = mount

    # The seal

    @contextmanager
    def sealed(self) -> Iterator[Fault]:
        """Seal Vault: everything except the seal status answers 503."""
        self._must_be_ours(Capability.SEAL, "sealed: its keys are not here")
        # Note the fault first: Vault refuses requests for a second before it answers this one.
        unseal = partial(self._stack.operator.unseal, self._stack.keyring)
        mark = Signature(statuses=frozenset({503}))
        with noted(self._log, "vault sealed", mark, undo=unseal) as fault:
            self._stack.operator.seal()
            yield fault

    @contextmanager
    def namespace_sealed(self) -> Iterator[Fault]:
        """Seal the client's namespace (503); ``sys/health`` and other namespaces work."""
        if self._namespace is None:
            raise ScenarioDefect(
                "there is no namespace to seal",
                looked_at="the scenario's entry",
                remedy="give its entry a namespace",
            )
        mark = Signature(statuses=frozenset({503}))
        with noted(self._log, "namespace sealed", mark, undo=self._namespace.unseal) as fault:
            self._namespace.seal()
            yield fault

    # A cluster

    @contextmanager
    def stepped_down(self, leader: Node) -> Iterator[Fault]:
        """Let a leader step down and stay a standby, for good."""
        signature = Signature(unanswered=True, late=0.3, statuses=frozenset({307, 500, 503}))
        # Note the fault first: the leader refuses requests before it answers this one.
        with noted(self._log, "leader stepped down", signature) as fault:
            with closing(self._stack.operator_at(leader)) as operator:
                cluster.step_down(operator)
            yield fault

    def snapshot(self) -> bytes:
        return bytes(self._stack.operator.client.sys.take_raft_snapshot().content)

    @contextmanager
    def restored(self, snapshot: bytes) -> Iterator[Fault]:
        """Restore a snapshot of the same Vault; everything made since then is gone.

        The block begins when Vault serves again. Before that it reports good health for some
        seconds, and answers nothing else.
        """
        self._must_be_ours(Capability.RESTORE, "restored: others may have written meanwhile")
        # Tokens from after the snapshot are answered 403 from now on.
        signature = Signature(statuses=frozenset({403}), lingers=True)
        with noted(self._log, "an older snapshot restored", signature) as fault:
            self._stack.operator.client.sys.force_restore_raft_snapshot(snapshot)
            wait_until(
                lambda: serves(self._stack, self._stack.operator),
                "Vault to serve what the snapshot has",
                timeout=RESTORE,
            )
            yield fault

    # Tokens and policies

    @contextmanager
    def token_revoked(self, accessor: str) -> Iterator[Fault]:
        """Revoke a token for good."""
        signature = Signature(statuses=frozenset({403}), token=accessor, lingers=True)
        with noted(self._log, "token revoked", signature) as fault:
            self._post("auth/token/revoke-accessor", {"accessor": accessor})
            yield fault

    @contextmanager
    def parent_revoked(self, parent: str, *, child: str) -> Iterator[Fault]:
        """Revoke a token's parent, and the token with it, for good. Both are accessors."""
        signature = Signature(statuses=frozenset({403}), token=child, lingers=True)
        with noted(self._log, "parent token revoked", signature) as fault:
            self._post("auth/token/revoke-accessor", {"accessor": parent})
            yield fault

    @contextmanager
    def policy(self, name: str, text: str) -> Iterator[Fault]:
        """Change a policy, which live tokens have at once.

        Of two faults with the same text, the first restores the policy.
        """
        old = self._client().sys.read_policy(name)["data"]["rules"]
        self._client().sys.create_or_update_policy(name, text)

        def restore() -> None:
            if old != text:
                self._client().sys.create_or_update_policy(name, old)

        with noted(
            self._log,
            "policy changed",
            Signature(statuses=frozenset({403})),
            {"policy": name},
            undo=restore,
        ) as fault:
            yield fault

    # AppRole

    @contextmanager
    def role(self, role: str, **parameters: object) -> Iterator[Fault]:
        """Change a role's parameters; earlier tokens do not change."""
        path = f"auth/{self._mount}/role/{role}"
        old = self._get(path)
        before = {name: old[name] for name in parameters if name in old}
        self._post(path, parameters)
        with noted(
            self._log,
            "role changed",
            Signature(),
            {"role": role, **parameters},
            optional=True,
            undo=lambda: self._post(path, before),
        ) as fault:
            yield fault

    @contextmanager
    def role_deleted(self, role: str, *, keeps_its_id: bool = True) -> Iterator[Fault]:
        """Delete the role: logins are refused, renewals answer 500, live tokens go on.

        It comes back without its secret-ids, and with ``keeps_its_id=False`` under a new role-id,
        as if it had been created again.
        """
        path = f"auth/{self._mount}/role/{role}"
        old, role_id = self._get(path), approle.role_id(self._operator, role)
        self._client().delete(path)
        fault = self._log.begin_fault(
            "role deleted",
            Signature(statuses=frozenset({400, 500}), kinds=frozenset({"login", "renew"})),
        )
        try:
            yield fault
        finally:
            self._post(path, {key: value for key, value in old.items() if value not in (None, "")})
            if keeps_its_id:
                self._post(f"{path}/role-id", {"role_id": role_id})
            self._log.end_fault(fault)

    @contextmanager
    def secret_id_destroyed(
        self, role: str, accessor: str, *, optional: bool = False
    ) -> Iterator[Fault]:
        """Destroy a secret-id: the next login answers 400, and live tokens go on.

        ``optional`` means that a client may have a new secret-id before the next login.
        """
        signature = Signature(statuses=frozenset({400}), kinds=frozenset({"login"}), lingers=True)
        detail = {"role": role}
        with noted(self._log, "secret-id destroyed", signature, detail, optional=optional) as fault:
            approle.destroy(self._operator, role, accessor)
            yield fault

    @contextmanager
    def role_locked(self, role: str) -> Iterator[Fault]:
        """Lock the role with bad secret-ids of another client; its logins answer 403."""
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
        with noted(
            self._log,
            "role locked",
            Signature(statuses=frozenset({403}), kinds=frozenset({"login"})),
            {"role": role},
            undo=lambda: approle.unlock(self._operator, role_id),
        ) as fault:
            yield fault

    @contextmanager
    def auth_mount_disabled(self, role: str, secret_id: str) -> Iterator[Fault]:
        """Disable the AppRole mount: its tokens die at once, and logins answer 403.

        Afterwards the mount has this role again, with its role-id and this secret-id. Other roles
        do not come back.
        """
        path = f"auth/{self._mount}/role/{role}"
        old, role_id = self._get(path), approle.role_id(self._operator, role)
        # Note the fault first: the tokens die before this request is answered.
        fault = self._log.begin_fault(
            "auth mount disabled",
            Signature(statuses=frozenset({403}), kinds=frozenset({"login"})),
            {"mount": self._mount},
        )
        self._operator.client.adapter.delete(f"/v1/sys/auth/{self._mount}")
        try:
            yield fault
        finally:
            # Make the mount elsewhere and move it when it is complete. Without its role it would
            # answer 400 to a login, as to a bad secret-id, and a careful client would stop trying.
            made = f"{self._mount}-made-again"
            role_path = f"auth/{made}/role/{role}"
            self._post(f"sys/auth/{made}", {"type": "approle"})
            kept = {key: value for key, value in old.items() if value not in (None, "")}
            self._post(role_path, kept)
            self._post(f"{role_path}/role-id", {"role_id": role_id})
            self._post(f"{role_path}/custom-secret-id", {"secret_id": secret_id})
            self._move(f"auth/{made}", f"auth/{self._mount}")
            self._log.end_fault(fault)

    # Leases

    @contextmanager
    def leases_revoked(self, prefix: str, *, optional: bool = False) -> Iterator[Fault]:
        """Revoke all leases below a path that includes the mount, for good.

        ``optional`` means that a client may learn of this from the database, without asking Vault.
        """
        signature = Signature(statuses=frozenset({400}), kinds=frozenset({"lease"}), lingers=True)
        detail, path = {"prefix": prefix}, f"/v1/sys/leases/revoke-prefix/{prefix}"
        with noted(self._log, "leases revoked", signature, detail, optional=optional) as fault:
            self._client().adapter.put(path, json={"sync": True})
            yield fault

    @contextmanager
    def static_role_rotated(self, path: str) -> Iterator[Fault]:
        """Let Vault rotate a static role, so that the database refuses the old password.

        ``path`` is ``database/static-creds/app``, for example.
        """
        detail = {"path": path}
        with noted(self._log, "static role rotated", Signature(), detail, optional=True) as fault:
            self._post(path.replace("/static-creds/", "/rotate-role/"), {})
            yield fault

    @contextmanager
    def lease_renewals_fail(self, path: str) -> Iterator[Fault]:
        """Make the database refuse to extend a user: each renewal answers 400.

        Vault says "failed to renew entry", as for any failing engine. New users can be made.
        ``path`` is ``database/creds/app``, for example.
        """
        role = path.replace("/creds/", "/roles/")
        self._post(role, {"renew_statements": ["SELECT no_such_function()"]})
        with noted(
            self._log,
            "lease renewals fail",
            Signature(statuses=frozenset({400, 500}), kinds=frozenset({"lease"})),
            {"path": path},
            undo=lambda: self._post(role, {"renew_statements": []}),
        ) as fault:
            yield fault

    # Sick behind a green health check

    @contextmanager
    def rate_limited(
        self, path: str, *, rate: float, interval: float, headers: bool = True
    ) -> Iterator[Fault]:
        """Answer 429 to more than `rate` requests within `interval` seconds.

        Args:
            path: A mount (``ecommerce/``) or a path below it.
            headers: Whether the answers carry ``Retry-After``.
        """
        self._post("sys/quotas/config", {"enable_rate_limit_response_headers": headers})
        quota = "sys/quotas/rate-limit/harness"
        self._post(quota, {"path": path, "rate": rate, "interval": f"{interval:g}s"})
        with noted(
            self._log,
            "rate limited",
            Signature(statuses=frozenset({429})),
            {"path": path, "rate": rate, "interval": interval},
            undo=lambda: self._client().delete(quota),
        ) as fault:
            yield fault

    @contextmanager
    def audit_unwritable(self) -> Iterator[Fault]:
        """Make the audit log impossible to open: everything but sys/health answers 500."""
        fault: Fault | None = None
        try:
            with self._audit_aside() as path:
                path.mkdir()
                try:
                    self._stack.node.reload()
                    self._await_lookup(works=False)
                    fault = self._log.begin_fault(
                        "audit log unwritable", Signature(statuses=frozenset({500}))
                    )
                    yield fault
                finally:
                    path.rmdir()
        finally:
            self._await_lookup(works=True)
            if fault is not None:
                self._log.end_fault(fault)

    @contextmanager
    def audit_blocked(self) -> Iterator[Fault]:
        """Make the audit log a full pipe: everything but sys/health hangs."""
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
                    fault = self._log.begin_fault(
                        "audit log blocked", Signature(unanswered=True, late=1.0)
                    )
                    yield fault
                finally:
                    path.unlink()
        finally:
            # Drain the pipe last: a released request writes to the file that is open at that
            # moment.
            self._await_lookup(works=True, drain=pipe)
            if pipe is not None:
                os.close(pipe)
            if fault is not None:
                self._log.end_fault(fault)

    @contextmanager
    def _audit_aside(self) -> Iterator[Path]:
        path = self._audit_path()
        aside = path.with_name(path.name + ".before")
        path.rename(aside)
        try:
            yield path
        finally:
            aside.rename(path)
            self._stack.node.reload()

    def _client(self) -> hvac.Client:
        return self._operator.client

    def _move(self, old: str, new: str) -> None:
        url = "/v1/sys/remount"
        asked = self._operator.client.adapter.post(url, json={"from": old, "to": new})
        status = f"sys/remount/status/{asked['data']['migration_id']}"
        told: list[object] = []

        def moved() -> bool:
            told[:] = [self._get(status)["migration_info"]]
            return isinstance(told[0], Mapping) and told[0].get("status") == "success"

        wait_until(moved, f"{old} to be moved to {new}", timeout=MOVE, evidence=lambda: str(told))

    def _get(self, path: str) -> Mapping[str, object]:
        answer = self._operator.client.adapter.get(f"/v1/{path}")
        found: Mapping[str, object] = answer["data"]
        return found

    def _post(self, path: str, data: Mapping[str, object]) -> None:
        self._operator.client.adapter.post(f"/v1/{path}", json=dict(data))

    def _must_be_ours(self, needed: Capability, why: str) -> None:
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
        """Wait until a request is answered and in the audit log, or refused with 500.

        Args:
            drain: A pipe to empty meanwhile, so that hanging requests can go on.
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
            # Until Vault has reloaded, it answers and writes to the old file.
            return log is not None and log.stat().st_size > before

        wait_until(
            as_wanted,
            "Vault to answer again" if works else "Vault to refuse everything with 500",
            timeout=20,
            evidence=lambda: self._stack.node.logs(tail=5),
        )

    def _await_silence(self) -> None:
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
    """Ignore a refusal by Vault."""
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
