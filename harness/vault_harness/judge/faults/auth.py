"""Break logins: disable the auth mount, or revoke a token's parent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.namespace import Namespace
from vault_harness.recorder.fault import Fault, FaultLog, Signature, noted
from vault_harness.waiting import wait_until

MOVE = 10.0
"""Seconds that Vault may take to move a mount."""


class AuthFaults:
    """Break logins. ``namespace`` is the client's, None for the root."""

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

    @contextmanager
    def parent_revoked(self, parent: str, *, child: str) -> Iterator[Fault]:
        """Revoke a token's parent, and the token with it, for good. Both are accessors."""
        signature = Signature(statuses=frozenset({403}), token=child, lingers=True)
        with noted(self._log, "parent token revoked", signature) as fault:
            self._post("auth/token/revoke-accessor", {"accessor": parent})
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
