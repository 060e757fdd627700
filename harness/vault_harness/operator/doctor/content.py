"""Compare mounts, policies, audit devices and secrets with the blueprint."""

from __future__ import annotations

import difflib
from dataclasses import asdict

from vault_harness.errors import HarnessError, OperatorError, named
from vault_harness.local import dialect
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kept import Kept, policy_text
from vault_harness.local.vault.kv import Kv, free_mount, moved_mount
from vault_harness.operator.doctor.check import Examination, Patient

_DIFFERENCE_LINES, _DIFFERENCE_COLUMNS = 6, 100  # readable in a list
_VERSIONS_BACK = 10  # KV's default for max_versions


def check_mounts(patient: Patient, found: Examination, op: VaultAdmin) -> set[str]:
    """Return the good ones."""
    present = op.request("GET", "sys/mounts").get("data", {})
    good = set()
    for mount in patient.blueprint.mounts:
        engine = present.get(f"{mount}/") or {}
        type_ = str(engine.get("type") or "")
        version = str((engine.get("options") or {}).get("version", "1"))
        where = f"sys/mounts: {mount}/"
        if not type_:
            kind, state = "mount-missing", "is not there"
        elif type_ != "kv":
            kind, state = "mount-other", f"is {type_}"
        elif version != "2":
            kind, state = "mount-unversioned", "is kv version 1"
        else:
            kind, state = "", "has no secret"
        try:
            moved = moved_mount(op, patient.blueprint, mount)
        except OperatorError as error:
            if "denied" not in error.cause:
                raise
            found.bad("mount-unseen", where, mount=mount, state=state)
            continue
        if moved is not None:
            back = " && ".join(moved.commands_back())
            found.bad("mount-moved", where, **asdict(moved), state=state, back=back)
        elif kind:
            aside = free_mount(f"{mount}-{type_}", {name.rstrip("/") for name in present})
            found.bad(kind, where, mount=mount, type=type_, aside=aside)
        else:
            found.good("mount", where, "it is there, KV version 2")
            good.add(mount)
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


def check_audit(patient: Patient, found: Examination, op: VaultAdmin) -> None:
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


def check_policies(patient: Patient, found: Examination, op: VaultAdmin) -> None:
    kept = Kept(patient.ids_dir)
    keys = op.request("LIST", "sys/policies/acl").get("data", {}).get("keys", [])
    for name, policy in patient.blueprint.policies.items():
        where = f"sys/policies/acl/{name}"
        if name not in keys:
            found.bad("policy-missing", where, policy=name)
            continue
        text, adopted = policy_text(op, name), kept.adopted(name)
        if text.strip() == policy.rules.strip():
            found.good(f"policy {name}", where, "it is the blueprint's")
        elif adopted and text.strip() == adopted.strip():
            found.good(f"policy {name}", where, f"it is as {kept.adopted_path(name)} has it")
        else:
            details = _difference(adopted or policy.rules, text, name)
            replaced = kept.replaced_path
            found.bad("policy-unlike", where, details, policy=name, replaced=replaced)


def _difference(wanted: str, present: str, name: str) -> list[str]:
    """Return the first lines that Vault's policy adds (+) and lacks (-)."""
    differ = [
        line[:_DIFFERENCE_COLUMNS].rstrip()
        for line in difflib.unified_diff(wanted.splitlines(), present.splitlines(), n=0)
        if not line.startswith(("---", "+++", "@@")) and line[1:].strip()
    ]
    lines = sorted(differ, key=lambda line: line[0] == "-")
    if len(lines) <= _DIFFERENCE_LINES:
        return lines
    more = f"... and {len(lines) - _DIFFERENCE_LINES} lines more"
    return [*lines[:_DIFFERENCE_LINES], f"{more}: {named('vault', '--', 'policy', 'read', name)}"]


def check_secrets(patient: Patient, found: Examination, op: VaultAdmin, mounts: set[str]) -> None:
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
    for version in range(before - 1, max(before - 1 - _VERSIONS_BACK, 0), -1):
        if kv.read(path, version=version).state == "present":
            return version
    return None
