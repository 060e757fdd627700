"""Check AppRoles and the credentials of services, if possible without a login.

Five failed logins lock a role for everybody for 15 minutes. To look a secret-id up, with an
operator's token, is no login. Without such a token, each role logs in once, and after a failure not
again with the same secret-id for 15 minutes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import hvac.exceptions

from vault_harness import files
from vault_harness.errors import HarnessError
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.operator.doctor.check import Examination, Patient

# Vault's default lockout_counter_reset,
# https://developer.hashicorp.com/vault/docs/concepts/user-lockout
LOCKOUT_SECONDS = 15 * 60.0
_TRIES = "doctor-logins.json"


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
