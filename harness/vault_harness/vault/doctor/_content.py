"""Mounts, policies, audit devices and secrets, against the blueprint."""

from __future__ import annotations

from vault_harness import dialect
from vault_harness.errors import HarnessError
from vault_harness.vault.doctor._finding import Examination, Patient
from vault_harness.vault.kv import Kv
from vault_harness.vault.operator import Operator

_VERSIONS_BACK = 10  # what KV keeps where nobody says otherwise


def check_mounts(patient: Patient, found: Examination, op: Operator) -> set[str]:
    """KV mounts of the blueprint, and the one that the environment names. Returns the good ones."""
    present = op.request("GET", "sys/mounts").get("data", {})
    good = set()
    for mount in patient.blueprint.mounts:
        engine = present.get(f"{mount}/")
        where = f"sys/mounts: {mount}/"
        if engine is None:
            found.bad("mount-missing", where, mount=mount)
            continue
        type_ = str(engine.get("type"))
        version = str((engine.get("options") or {}).get("version", "1"))
        if type_ == "kv" and version == "2":
            found.good("mount", where, "it is there, KV version 2")
            good.add(mount)
        elif type_ == "kv":
            found.bad("mount-unversioned", where, mount=mount)
        else:
            found.bad("mount-other", where, mount=mount, type=type_)
    wanted = patient.environ.get("VAULT_MOUNT_POINT", "").strip("/")
    if wanted and f"{wanted}/" not in present:
        kv = ", ".join(sorted(m.rstrip("/") for m, e in present.items() if e.get("type") == "kv"))
        found.bad(
            "mount-of-environment",
            "VAULT_MOUNT_POINT",
            wanted=wanted,
            present=kv or "no KV mount",
            mount=patient.blueprint.mount,
        )
    return good


def check_audit(patient: Patient, found: Examination, op: Operator) -> None:
    """At least one audit device, and its log where it can be seen from here."""
    try:
        devices = op.request("GET", "sys/audit").get("data", {})
    except HarnessError as error:
        found.unknown("audit", "sys/audit", error.cause)
        return
    if not devices:
        ways = dialect.of_seal_status(op.request("GET", "sys/seal-status"))
        kind = "audit-off-by-configuration" if ways.audit_in_configuration else "audit-off"
        found.bad(kind, "sys/audit")
    elif patient.audit_log is not None and not patient.audit_log.exists():
        found.bad("audit-log-gone", str(patient.audit_log))
    else:
        found.good("audit", "sys/audit", f"written by {', '.join(sorted(devices))}")


def check_policies(patient: Patient, found: Examination, op: Operator) -> None:
    """Policies of the blueprint: there, and as the blueprint has them."""
    keys = op.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    for name, policy in patient.blueprint.policies.items():
        where = f"sys/policies/acl/{name}"
        if name not in keys:
            found.bad("policy-missing", where, policy=name)
            continue
        text = str(op.request("GET", where).get("data", {}).get("policy", ""))
        if text.strip() != policy.rules.strip():
            found.bad("policy-unlike", where, policy=name)
        else:
            found.good(f"policy {name}", where, "it is the blueprint's")


def check_secrets(patient: Patient, found: Examination, op: Operator, mounts: set[str]) -> None:
    """Every secret of the blueprint: there, readable, with its keys."""
    for mount, path, values in patient.blueprint.paths():
        if mount not in mounts:
            continue
        where = f"{mount}/{path}"
        try:
            _check_secret(found, where, Kv(op, mount), path, set(values))
        except HarnessError as error:
            found.unknown(f"secret {where}", where, error.cause)


def _check_secret(found: Examination, where: str, kv: Kv, path: str, wanted: set[str]) -> None:
    secret = kv.read(path)
    version = secret.version
    if secret.state == "missing":
        found.bad("secret-missing", where, path=where)
    elif secret.state == "deleted":
        found.bad("secret-deleted", where, path=where, version=version)
    elif secret.state == "destroyed":
        earlier = _last_present(kv, path, version)
        kind = "secret-destroyed" if earlier is None else "secret-destroyed-after-another"
        found.bad(kind, where, path=where, version=version, earlier=earlier)
    elif lacking := sorted(wanted - set(secret.data)):
        found.bad("secret-incomplete", where, path=where, keys=", ".join(lacking))
    else:
        found.good(f"secret {where}", where, f"version {version} is there")


def _last_present(kv: Kv, path: str, before: int) -> int | None:
    """The newest version that can be read, among the few before one."""
    for version in range(before - 1, max(before - 1 - _VERSIONS_BACK, 0), -1):
        if kv.read(path, version=version).state == "present":
            return version
    return None
