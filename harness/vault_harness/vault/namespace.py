"""A namespace: a Vault within a Vault; whether it is there, and one with a seal of its own.

https://openbao.org/docs/concepts/namespaces/
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Self

from vault_harness import dialect, namespaces
from vault_harness.commands import named
from vault_harness.errors import NamespaceError, OperatorError
from vault_harness.vault.operator import Operator

_SEAL = 'seal "shamir" {\n  shares = 1\n  threshold = 1\n}'


def check_possible(op: Operator) -> None:
    """See that a server has namespaces at all. Needs no token.

    Raises:
        NamespaceError: It has none.
    """
    status = op.seal_status()
    if not dialect.has_namespaces(status.product, status.version):
        raise no_namespaces(op, f"{dialect.of_product(status.product).title} {status.version}")


def no_namespaces(op: Operator, server: str) -> NamespaceError:
    """The error for a namespace that is asked of a server without any.

    Args:
        op: Where it acts.
        server: Product and version.
    """
    wanted = f", and {op.namespace} is asked for" if op.namespace else ""
    return NamespaceError(
        f"{server} has no namespaces{wanted}",
        looked_at=f"{op.address}: OpenBao has them since 2.3, HashiCorp Vault in its Enterprise "
        "edition (a version with +ent)",
        remedy="unset VAULT_NAMESPACE, and leave `namespace` out of the blueprint; or use a server "
        "that has them",
    )


def exists(op: Operator) -> bool:
    """Whether the namespace that an operator acts in is there. Needs no token.

    Raises:
        NamespaceError: It is sealed, or one above it.
        OperatorError: The server does not answer, or is sealed.
    """
    return not first_missing(op)


def first_missing(op: Operator) -> str:
    """The outermost namespace on the way to an operator's that is not there; empty if all are.

    Raises:
        HarnessError: As `exists` says.
    """
    if _there(op):
        return ""
    # What is in a sealed one is said not to be there.
    for each in namespaces.levels(op.namespace)[:-1]:
        with contextlib.closing(op.within(each)) as above:
            if not _there(above):
                return each
    return op.namespace


def _there(op: Operator) -> bool:
    try:
        op.request("GET", "sys/internal/ui/mounts")
    except NamespaceError as error:
        if "there is no namespace" in error.cause:
            return False
        raise
    return True


def check(op: Operator) -> None:
    """See that an operator can act in its namespace; the root namespace is always there.

    Raises:
        NamespaceError: The server has no namespaces, or not this one, or it is sealed.
    """
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
            f"and this any other: {make}",
        )


def moved(op: Operator, namespace: str, *, there: bool = True) -> Operator:
    """An operator in a namespace; the one in the root namespace is closed, but for the empty name.

    Args:
        op: In the root namespace.
        namespace: Where to.
        there: See that it is there, and open.

    Raises:
        NamespaceError: As `check` says.
    """
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
