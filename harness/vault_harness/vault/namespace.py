"""A namespace: a Vault within a Vault, which OpenBao can give a seal of its own.

https://openbao.org/docs/concepts/namespaces/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from vault_harness.errors import OperatorError
from vault_harness.vault.operator import Operator

_SEAL = 'seal "shamir" {\n  shares = 1\n  threshold = 1\n}'


@dataclass(frozen=True)
class Namespace:
    """One with a seal of its own, which its only key opens.

    Attributes:
        path: Its name, without slashes at the ends.
        root: Somebody above it, who may seal it.
        operator: The same person within it.
        key: What opens it.
    """

    path: str
    root: Operator
    operator: Operator
    key: str = field(repr=False)

    @classmethod
    def create(cls, root: Operator, path: str) -> Self:
        """Make it, and open it: OpenBao leaves it sealed.

        Args:
            root: May make namespaces.
            path: Its name.

        Raises:
            OperatorError: This server has no namespaces, or none that can be sealed (OpenBao has
                them from 2.6 on), or there is one of that name.
        """
        data = root.request("POST", f"sys/namespaces/{path}", seal=_SEAL).get("data") or {}
        keys = data.get("key_shares") or []
        if not keys:
            raise OperatorError(
                f"the namespace {path} has no seal of its own",
                looked_at=f"{root.address}/v1/sys/namespaces/{path}",
                remedy="use OpenBao 2.6 or newer, and a name that is not taken yet",
            )
        operator = Operator(root.address, root.client.token, root.ca_cert, namespace=path)
        made = cls(path, root, operator, str(keys[0]))
        made.unseal()
        return made

    def seal(self) -> None:
        """Everything in it answers 503 from now on, while the server's health is green."""
        self.root.request("POST", f"sys/namespaces/{self.path}/seal")

    def unseal(self) -> None:
        """Open it again."""
        self.root.request("POST", f"sys/namespaces/{self.path}/unseal", key=self.key)

    def __repr__(self) -> str:
        return f"<Namespace {self.path} at {self.root.address}>"
