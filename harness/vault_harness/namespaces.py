"""Namespaces by name: which names there can be, and which paths know none.

A namespace is a Vault within a Vault. OpenBao has them since 2.3, HashiCorp Vault in its Enterprise
edition. Here a name has no slash at its ends: ``team-a``, ``team-a/shop``; the root namespace is
the empty one.
"""

from __future__ import annotations

import re

HEADER = "X-Vault-Namespace"
"""What a request names its namespace by."""

RESERVED = frozenset({"root", "sys", "audit", "auth", "cubbyhole", "identity"})
"""https://developer.hashicorp.com/vault/docs/enterprise/namespaces#namespace-naming-restrictions"""

ROOT_LEVEL = (
    "sys/audit",
    "sys/audit-hash",
    "sys/config",
    "sys/generate-root",
    "sys/generate-root-token",
    "sys/ha-status",
    "sys/health",
    "sys/host-info",
    "sys/init",
    "sys/key-status",
    "sys/leader",
    "sys/metrics",
    "sys/quotas",
    "sys/rekey",
    "sys/rotate",
    "sys/seal",
    "sys/seal-status",
    "sys/step-down",
    "sys/storage",
    "sys/unseal",
)
"""What is the whole server's, each with what lies below it: no request for it names a namespace.

With the header OpenBao 2.7.2 answers 400 to most of them ("operation unavailable in namespaces"),
and to the others as the root namespace does.
"""

# Others mean something else in a URL, a header or a policy's path, or a server refuses them.
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._~-]")


def normal(name: str) -> str:
    """A namespace's name without slashes at its ends; empty for the root namespace.

    That one may be called ``root``, as servers call it: a job may have it set for other tools.

    Raises:
        ValueError: There can be no namespace of that name; the text says why.
    """
    bare = name.strip("/")
    if bare == "root":
        return ""
    for part in bare.split("/") if bare else ():
        if not part or part in {".", ".."}:
            raise ValueError(
                f"{name!r} is no namespace: it has an empty part, or one of . and .. between its "
                "slashes"
            )
        wrong = _NOT_IN_A_NAME.search(part)
        if wrong is not None:
            raise ValueError(
                f"{name!r} is no namespace: it may hold ASCII letters, digits and - _ . ~, not "
                f"{wrong[0]!r}"
            )
        if part == "root":
            raise ValueError(
                f"{name!r} is no namespace: root is what Vault calls the one above all others, "
                "and it lies in none"
            )
        if part in RESERVED:
            raise ValueError(f"{name!r} is no namespace: {part}/ is a path of Vault's own in each")
    return bare


def below(above: str, name: str) -> str:
    """The name of a namespace within another."""
    return f"{above}/{name}" if above and name else above or name


def joined(above: str, name: str) -> str:
    """The namespace ``name``, wanted by somebody who works in ``above``; both are `normal`.

    One that ends with the other's parts already is that very one: what a task prints for clients
    may be in the environment of the next task.
    """
    if not above or not name:
        return above or name
    return above if f"/{above}".endswith(f"/{name}") else below(above, name)


def above(name: str, last: str) -> str:
    """What is left of a namespace's name once ``last``, with which it ends, is taken off."""
    return name.removesuffix(last).rstrip("/")


def levels(name: str) -> list[str]:
    """The namespaces on the way to one, the outermost first and itself last."""
    parts = name.split("/") if name else []
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def is_root_level(path: str) -> bool:
    """Whether a path, as it follows ``/v1/``, is the whole server's."""
    bare = path.partition("?")[0].strip("/")
    return any(bare == known or bare.startswith(f"{known}/") for known in ROOT_LEVEL)
