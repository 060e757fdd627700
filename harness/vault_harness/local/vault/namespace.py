"""Check whether a namespace exists, and make one with a seal of its own.

https://openbao.org/docs/concepts/namespaces/
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Self

from vault_harness import namespaces
from vault_harness.errors import NamespaceError, OperatorError, named
from vault_harness.local import dialect
from vault_harness.local.vault.admin import VaultAdmin

_SEAL = 'seal "shamir" {\n  shares = 1\n  threshold = 1\n}'


def check_possible(op: VaultAdmin) -> None:
    status = op.seal_status()
    if not dialect.has_namespaces(status.product, status.version):
        raise no_namespaces(op, f"{dialect.of_product(status.product).title} {status.version}")


def no_namespaces(op: VaultAdmin, server: str) -> NamespaceError:
    wanted = f", and {op.namespace} is requested" if op.namespace else ""
    return NamespaceError(
        f"{server} has no namespaces{wanted}",
        looked_at=f"{op.address}: OpenBao has them since 2.3, HashiCorp Vault in its Enterprise "
        "edition (a version with +ent)",
        remedy="unset VAULT_NAMESPACE, and leave `namespace` out of the blueprint; or use a server "
        "that has them",
    )


def exists(op: VaultAdmin) -> bool:
    """Return whether the operator's namespace exists. Needs no token."""
    return not first_missing(op)


def first_missing(op: VaultAdmin) -> str:
    """Return the outermost missing namespace on the way to the operator's."""
    if _there(op):
        return ""
    # The server reports everything inside a sealed namespace as missing.
    for each in namespaces.levels(op.namespace)[:-1]:
        with contextlib.closing(op.within(each)) as above:
            if not _there(above):
                return each
    return op.namespace


def _there(op: VaultAdmin) -> bool:
    try:
        op.request("GET", "sys/internal/ui/mounts")
    except NamespaceError as error:
        if "there is no namespace" in error.cause:
            return False
        raise
    return True


def check(op: VaultAdmin) -> None:
    if not op.namespace:
        return
    check_possible(op)
    if missing := first_missing(op):
        above, _, name = missing.rpartition("/")
        make = named("vault", "--", "namespace", "create", f"-namespace={above or 'root'}", name)
        raise NamespaceError(
            f"there is no namespace {missing}",
            looked_at=op.address,
            remedy=f"correct VAULT_NAMESPACE; {named('seed')} makes one that a blueprint names, "
            f"and this makes any other: {make}",
        )


def moved(op: VaultAdmin, namespace: str, *, there: bool = True) -> VaultAdmin:
    """Return an operator in a namespace and close the given one."""
    if not namespace:
        return op
    with contextlib.closing(op), contextlib.ExitStack() as undo:
        inside = op.within(namespace)
        undo.callback(inside.close)
        if there:
            check(inside)
        undo.pop_all()
    return inside


@dataclass(frozen=True)
class Namespace:
    """A namespace with its own seal, which a single key opens."""

    path: str
    root: VaultAdmin
    operator: VaultAdmin
    key: str = field(repr=False)

    @classmethod
    def create(cls, root: VaultAdmin, path: str) -> Self:
        """Make a namespace and unseal it, since OpenBao leaves a new one sealed.

        Raises:
            OperatorError: The name is taken, or this server is older than OpenBao 2.6.
        """
        data = root.request("POST", f"sys/namespaces/{path}", seal=_SEAL).get("data") or {}
        keys = data.get("key_shares") or []
        if not keys:
            raise OperatorError(
                f"the namespace {path} has no seal of its own",
                looked_at=f"{root.address}/v1/sys/namespaces/{path}",
                remedy="use OpenBao 2.6 or newer, and a name that is not taken yet",
            )
        operator = VaultAdmin(root.address, root.client.token, root.ca_cert, namespace=path)
        made = cls(path, root, operator, str(keys[0]))
        made.unseal()
        return made

    def seal(self) -> None:
        """Seal it: requests in it get 503, while the server's health stays green."""
        self.root.request("POST", f"sys/namespaces/{self.path}/seal")

    def unseal(self) -> None:
        self.root.request("POST", f"sys/namespaces/{self.path}/unseal", key=self.key)

    def __repr__(self) -> str:
        return f"<Namespace {self.path} at {self.root.address}>"
