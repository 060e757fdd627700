"""Compare mounts, policies, audit devices, secrets and AppRoles with the blueprint.

Credentials are checked without a login if possible. Five failed logins lock a role for everybody
for 15 minutes. To look a secret-id up, with an operator's token, is no login. Without such a token,
each role logs in once, and after a failure not again with the same secret-id for 15 minutes.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hvac.exceptions

from vault_harness import files
from vault_harness.errors import HarnessError, OperatorError, named
from vault_harness.local import dialect
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kept import Kept, policy_text
from vault_harness.local.vault.kv import Kv, free_mount, moved_mount
from vault_harness.operator.doctor.check import Examination, Patient

_DIFFERENCE_LINES, _DIFFERENCE_COLUMNS = 6, 100  # readable in a list
_VERSIONS_BACK = 10  # KV's default for max_versions

# Vault's default lockout_counter_reset,
# https://developer.hashicorp.com/vault/docs/concepts/user-lockout
LOCKOUT_SECONDS = 15 * 60.0
_TRIES = "doctor-logins.json"


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


def check_roles(patient: Patient, found: Examination, op: VaultAdmin) -> None:
    try:
        locked = {role.role_id for role in approle.locked(op)}
    except HarnessError as error:
        found.unknown("locked roles", "sys/locked-users", error.cause)
        locked = set()
    for role, wanted in patient.blueprint.approles.items():
        where = f"auth/approle/role/{role}"
        try:
            present: dict[str, Any] = op.request("GET", where).get("data") or {}
            role_id = approle.role_id(op, role) if present else ""
        except HarnessError as error:
            found.unknown(f"role {role}", where, error.cause)
            continue
        if not present:
            found.bad("role-missing", where, role=role)
            continue
        lacking = sorted(set(wanted.policies) - set(present.get("token_policies") or ()))
        if lacking:
            found.bad("role-unlike", where, role=role, policies=", ".join(lacking))
        else:
            found.good(f"role {role}", where, "it is there, with its policies")
        if role_id in locked:
            found.bad("role-locked", "sys/locked-users", role=role)
        _check_credentials(patient, found, op, role, role_id)
    _check_environment(patient, found, op)


def _check_credentials(
    patient: Patient, found: Examination, op: VaultAdmin, role: str, role_id: str
) -> None:
    role_file, secret_file = approle.credential_files(role, patient.ids_dir)
    given = _read(role_file)
    if given is None:
        found.bad("role-id-missing", str(role_file), role=role)
    elif given != role_id:
        found.bad("role-id-wrong", str(role_file), role=role)
    else:
        found.good(f"role-id {role}", str(role_file), "it is the role's")
    secret_id = _read(secret_file)
    if secret_id is None:
        found.bad("secret-id-missing", str(secret_file), role=role)
        return
    try:
        known = approle.lookup(op, role, secret_id)
    except HarnessError as error:
        found.unknown(f"secret-id {role}", str(secret_file), error.cause)
        return
    if known is None:
        found.bad("secret-id-bad", str(secret_file), role=role)
    else:
        found.good(f"secret-id {role}", str(secret_file), "it is valid")


def _check_environment(patient: Patient, found: Examination, op: VaultAdmin) -> None:
    role_id = _given(patient, "VAULT_ROLE_ID")
    secret_id = _given(patient, "VAULT_SECRET_ID")
    if role_id is None and secret_id is None:
        return
    roles = {}
    for role in patient.blueprint.approles:
        try:
            roles[approle.role_id(op, role)] = role
        except HarnessError:
            continue
    owner = roles.get(role_id or "")
    where = "VAULT_ROLE_ID, VAULT_SECRET_ID in the environment"
    if owner is None:
        found.bad("ids-of-nobody", where)
    elif not secret_id or approle.lookup(op, owner, secret_id) is None:
        service = next((s for s, r in patient.blueprint.services.items() if r == owner), owner)
        found.bad("ids-bad", where, role=owner, service=service)
    else:
        found.good("environment credentials", where, f"they are valid for {owner}")


def check_roles_by_login(patient: Patient, found: Examination, address: str) -> None:
    tries = _Tries(patient)
    for role in patient.blueprint.approles:
        role_file, secret_file = approle.credential_files(role, patient.ids_dir)
        role_id, secret_id = _read(role_file), _read(secret_file)
        if role_id is None or secret_id is None:
            where = f"{role_file}, {secret_file}"
            found.bad("ids-missing", where, role=role)
            continue
        if tries.failed_lately(role_id, secret_id):
            why = "its last login was refused less than 15 minutes ago, another might lock the role"
            found.unknown(f"secret-id {role}", str(secret_file), why)
            continue
        op = VaultAdmin(
            address, None, patient.ca_cert, patient.timeout, namespace=patient.namespace
        )
        with contextlib.closing(op):
            if not _try_login(op, found, role, role_id, secret_id):
                tries.note_failure(role_id, secret_id)


def _try_login(op: VaultAdmin, found: Examination, role: str, role_id: str, secret_id: str) -> bool:
    name, where = f"secret-id {role}", f"one login as {role} at {op.address}"
    try:
        with op.asking(f"log in as {role}") as client:
            try:
                answer = client.auth.approle.login(role_id, secret_id, use_token=False)
            except hvac.exceptions.InvalidRequest:
                found.bad("login-refused", where, role=role)
                return False
            except hvac.exceptions.Forbidden:
                found.bad("login-denied", where, role=role)
                return False
        token = answer["auth"]["client_token"]
        found.good(name, where, "it logs in")
        with contextlib.suppress(HarnessError):  # may be forbidden; the token expires anyway
            op.with_token(token).request("POST", "auth/token/revoke-self")
    except HarnessError as error:
        found.unknown(name, where, error.cause)
    return True


class _Tries:
    """Logins that failed recently, by a hash of their credentials, for the next run."""

    def __init__(self, patient: Patient) -> None:
        self._path = patient.data_dir / _TRIES
        self._now = patient.now().timestamp()
        try:
            content = json.loads(self._path.read_text())
            self._failed = {str(key): float(at) for key, at in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._failed = {}

    def failed_lately(self, role_id: str, secret_id: str) -> bool:
        at = self._failed.get(_fingerprint(role_id, secret_id))
        return at is not None and 0 <= self._now - at < LOCKOUT_SECONDS

    def note_failure(self, role_id: str, secret_id: str) -> None:
        recent = {k: at for k, at in self._failed.items() if self._now - at < LOCKOUT_SECONDS}
        self._failed = {**recent, _fingerprint(role_id, secret_id): self._now}
        files.write_private(self._path, json.dumps(self._failed) + "\n")


def _fingerprint(role_id: str, secret_id: str) -> str:
    return hashlib.sha256(f"{role_id}\0{secret_id}".encode()).hexdigest()


def _given(patient: Patient, name: str) -> str | None:
    file = patient.environ.get(f"{name}_FILE")
    return (_read(Path(file)) or "") if file else patient.environ.get(name)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return None
