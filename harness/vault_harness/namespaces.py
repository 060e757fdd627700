"""Names of namespaces, and the paths that have none.

OpenBao has namespaces since 2.3, HashiCorp Vault in its Enterprise edition. A name has no slash at
its ends here: ``team-a/shop``. The root namespace is "".
"""

from __future__ import annotations

import re

HEADER = "X-Vault-Namespace"

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
"""Paths of the whole server, and those below. A request for them names no namespace.

With the header OpenBao 2.7.2 answers most with 400 ("operation unavailable in namespaces"), the
others like the root namespace.
"""

# Others mean something else in a URL, a header or a policy's path, or servers refuse them.
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._~-]")


def normal(name: str) -> str:
    """Return a namespace's name without slashes at its ends; "" for the root namespace.

    Servers call the root ``root``, and a job may have set that for other tools. Raise `ValueError`
    with the reason if the name is impossible.
    """
    bare = name.strip("/")
    if bare == "root":
        return ""
    for part in bare.split("/") if bare else ():
        if not part or part in {".", ".."}:
            raise ValueError(
                f"{name!r} is not a namespace: it has an empty part, or . or .. between its slashes"
            )
        wrong = _NOT_IN_A_NAME.search(part)
        if wrong is not None:
            raise ValueError(
                f"{name!r} is not a namespace: it may hold ASCII letters, digits and - _ . ~, not "
                f"{wrong[0]!r}"
            )
        if part == "root":
            raise ValueError(
                f"{name!r} is not a namespace: root is Vault's name for the one above all others, "
                "which has no parent"
            )
        if part in RESERVED:
            raise ValueError(f"{name!r} is not a namespace: {part}/ is one of Vault's own paths")
    return bare


def below(above: str, name: str) -> str:
    return f"{above}/{name}" if above and name else above or name


def joined(above: str, name: str) -> str:
    """Return the namespace ``name`` as seen from ``above``.

    If ``above`` ends with ``name``, it already is that namespace: the output of one task may be in
    the environment of the next.
    """
    if not above or not name:
        return above or name
    return above if f"/{above}".endswith(f"/{name}") else below(above, name)


def above(name: str, last: str) -> str:
    return name.removesuffix(last).rstrip("/")


def levels(name: str) -> list[str]:
    """Return the namespaces on the way to one, itself last."""
    parts = name.split("/") if name else []
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def is_root_level(path: str) -> bool:
    bare = path.partition("?")[0].strip("/")
    return any(bare == known or bare.startswith(f"{known}/") for known in ROOT_LEVEL)
