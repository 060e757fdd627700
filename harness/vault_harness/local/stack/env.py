"""The environment variables with which a service finds Vault and logs in."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from vault_harness.errors import SettingsError, StackError, named
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.provider import tls_files
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault import approle

_CONTRADICT = (
    *("VAULT_CACERT", "VAULT_CLIENT_CERT", "VAULT_CLIENT_KEY", "VAULT_NAMESPACE"),
    *("VAULT_ROLE_ID", "VAULT_SECRET_ID", "VAULT_ROLE_ID_FILE", "VAULT_SECRET_ID_FILE"),
    *("VAULT_WRAPPED_SECRET_ID_FILE", "VAULT_TOKEN_FILE", "VAULT_JWT_FILE", "VAULT_JWT_ROLE"),
    "VAULT_AUTH_MOUNT",
)
"""Variables of the client that would override, or conflict with, ours."""


def service_environment(
    stack: LocalStack,
    service: str,
    *,
    blueprint: Blueprint | None = None,
    direct: bool = False,
    reveal: bool = False,
) -> dict[str, str]:
    """Return the variables of `resilient_vault_client` for a service or an AppRole.

    Args:
        blueprint: By default the last applied one.
        direct: Not through Toxiproxy.
        reveal: The ids themselves instead of their files.
    """
    blueprint = blueprint or stack.blueprint()
    role = blueprint.services.get(service, service)
    if role not in blueprint.approles:
        known = ", ".join([*blueprint.services] or [*blueprint.approles])
        raise SettingsError(
            f"there is no service {service}",
            looked_at=f"[services] in {blueprint.source}",
            remedy=f"name one of {known}",
        )
    endpoints = stack.endpoints()
    namespace = stack.namespace(blueprint)
    ids = stack.ids_directory(namespace)
    role_file, secret_file = approle.credential_files(role, ids)
    missing = [path.name for path in (role_file, secret_file) if not path.exists()]
    if missing:
        raise StackError(
            f"{' and '.join(missing)} of {service} is missing: the stack is not seeded",
            looked_at=str(ids),
            remedy=named("seed"),
        )
    variables = {
        "USE_VAULT": "true",
        "VAULT_ADDR": endpoints.vault if direct else endpoints.proxy,
        "VAULT_MOUNT_POINT": blueprint.mount,
    }
    if namespace:
        variables["VAULT_NAMESPACE"] = namespace
    if endpoints.ca_cert is not None:
        variables["VAULT_CACERT"] = str(endpoints.ca_cert)
    if (own := client_certificate(stack, service)) is not None:
        variables["VAULT_CLIENT_CERT"] = variables["VAULT_CLIENT_KEY"] = str(own)
    if reveal:
        variables["VAULT_ROLE_ID"] = approle.read_id(role_file)
        variables["VAULT_SECRET_ID"] = approle.read_id(secret_file)
    else:
        variables["VAULT_ROLE_ID_FILE"] = str(role_file)
        variables["VAULT_SECRET_ID_FILE"] = str(secret_file)
    return variables


def client_certificate(stack: LocalStack, service: str) -> Path | None:
    files = tls_files(stack.data_dir)
    if files is None or files.clients is None:
        return None
    own = approle.certificate_file(service, stack.data_dir)
    if not own.exists():
        raise StackError(
            f"{own.name} is missing, and this Vault refuses clients without a certificate",
            looked_at=str(stack.data_dir),
            remedy=named("tls.renew"),
        )
    return own


def merged(variables: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    return {n: value for n, value in environ.items() if n not in _CONTRADICT} | dict(variables)


def export_lines(variables: Mapping[str, str], environ: Mapping[str, str] | None = None) -> str:
    """Return ``export`` lines for ``eval``, and unset what would override them in `environ`."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    given = environ or {}
    left = [name for name in _CONTRADICT if given.get(name) and name not in variables]
    return "\n".join([*lines, *([f"unset {' '.join(left)}"] if left else [])])
