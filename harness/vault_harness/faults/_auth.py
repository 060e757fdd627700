"""Faults of the ways in: an auth mount that is gone, a token that dies with its parent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from vault_harness.faults._fault import Fault, Journal, Signature
from vault_harness.stack import Stack
from vault_harness.vault import approle
from vault_harness.vault.namespace import Namespace
from vault_harness.waiting import wait_until

MOVE = 10.0
"""Seconds that Vault has to move a mount."""


class AuthFaults:
    """What an operator, or another program, does to the ways in.

    Args:
        stack: The Vault, with its keyring and an operator's token.
        journal: Where faults are noted.
        mount: Mount point of the AppRole method.
        namespace: Where the client works, if that is not the root.
    """

    def __init__(
        self,
        stack: Stack,
        journal: Journal,
        *,
        mount: str = "approle",
        namespace: Namespace | None = None,
    ) -> None:
        self._stack = stack
        self._namespace = namespace
        self._operator = stack.operator if namespace is None else namespace.operator
        self._journal = journal
        self._mount = mount

    @contextmanager
    def parent_revoked(self, parent: str, *, child: str) -> Iterator[Fault]:
        """A token's parent is revoked, and the token dies with it. That cannot be undone.

        Args:
            parent: Accessor of the parent.
            child: Accessor of the token that a client uses.
        """
        signature = Signature(statuses=frozenset({403}), token=child, lingers=True)
        fault = self._journal.begin_fault("parent token revoked", signature)
        self._post("auth/token/revoke-accessor", {"accessor": parent})
        try:
            yield fault
        finally:
            self._journal.end_fault(fault)

    @contextmanager
    def auth_mount_disabled(self, role: str, secret_id: str) -> Iterator[Fault]:
        """The AppRole mount is disabled: its tokens die at once, and logins answer 403.

        It comes back with this role, its role-id and this secret-id, as from an operator's own
        configuration. Other roles of the mount do not come back.

        Args:
            role: The AppRole.
            secret_id: Which secret-id is good again afterwards.
        """
        path = f"auth/{self._mount}/role/{role}"
        old, role_id = self._get(path), approle.role_id(self._operator, role)
        # Noted first: its tokens die before the answer to this comes.
        fault = self._journal.begin_fault(
            "auth mount disabled",
            Signature(statuses=frozenset({403}), kinds=frozenset({"login"})),
            {"mount": self._mount},
        )
        self._operator.client.adapter.delete(f"/v1/sys/auth/{self._mount}")
        try:
            yield fault
        finally:
            # Made elsewhere, and moved once it is whole: a mount that has no role yet answers 400
            # to a login, as to a bad secret-id, after which a careful client stops.
            made = f"{self._mount}-made-anew"
            role_path = f"auth/{made}/role/{role}"
            self._post(f"sys/auth/{made}", {"type": "approle"})
            kept = {key: value for key, value in old.items() if value not in (None, "")}
            self._post(role_path, kept)
            self._post(f"{role_path}/role-id", {"role_id": role_id})
            self._post(f"{role_path}/custom-secret-id", {"secret_id": secret_id})
            self._move(f"auth/{made}", f"auth/{self._mount}")
            self._journal.end_fault(fault)

    def _move(self, old: str, new: str) -> None:
        """Move a mount, and wait until Vault has done so.

        Raises:
            DeadlineExceeded: It has not within `MOVE` seconds.
        """
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
