"""Find out why a service cannot read its secrets."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vault_harness.errors import HarnessError, without_frames
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.operator.doctor.check import (
    CheckResult,
    Deployment,
    DockerView,
    Examination,
    Patient,
    ServiceView,
    State,
)
from vault_harness.operator.doctor.content import (
    check_audit,
    check_mounts,
    check_policies,
    check_roles,
    check_roles_by_login,
    check_secrets,
)
from vault_harness.operator.doctor.kinds import KINDS, Kind
from vault_harness.operator.doctor.machine import (
    check_access,
    check_client_certificates,
    check_docker,
    check_files,
    check_nodes,
    check_restored,
    check_running,
    check_seal_settled,
    leave_to_restore,
    look_at_docker,
)
from vault_harness.operator.doctor.server import (
    check_answers,
    check_environment_address,
    check_open,
    check_way,
    note_refusal,
)

__all__ = [
    "examine",
    "examine_access",
    "admit",
    "CheckResult",
    "State",
    "KINDS",
    "Kind",
    "Patient",
    "Deployment",
    "ServiceView",
    "DockerView",
    "look_at_docker",
]


def examine_access(data_dir: Path) -> list[CheckResult]:
    found = Examination()
    return [] if check_access(data_dir, found) else found.results


@without_frames
def examine(patient: Patient) -> list[CheckResult]:
    """Check everything, and change nothing in Vault.

    A check is left out if one that it needs is bad.
    """
    found = Examination()
    check_docker(patient, found)
    check_seal_settled(patient, found)
    check_restored(patient, found)
    check_access(patient.data_dir, found)
    check_files(patient, found)
    check_client_certificates(patient, found)
    if not check_running(patient, found) or not check_answers(patient, found):
        return found.results
    check_nodes(patient, found)
    check_way(patient, found)
    check_environment_address(patient, found)
    if leave_to_restore(patient, found):
        return found.results
    if not check_open(patient, found):
        opened = found.seal is not None and found.seal["initialised"] and not found.seal["sealed"]
        empty = bool(patient.keys_never_kept)  # no roles yet
        if opened and found.namespace and not found.refuses and not empty:
            assert found.seal is not None
            check_roles_by_login(patient, found, str(found.seal["address"]))
        return found.results
    op = found.operator
    assert op is not None
    with contextlib.closing(op):
        try:
            mounts = check_mounts(patient, found, op)
            check_audit(patient, found, op)
            check_policies(patient, found, op)
            check_roles(patient, found, op)
            check_secrets(patient, found, op, mounts)
        except HarnessError as error:
            note_refusal(patient, found, error.looked_at, error)
    return found.results


@without_frames
def admit(patient: Patient) -> tuple[VaultAdmin | None, list[CheckResult]]:
    """Return an operator with a valid token, for the caller to close, and the bad results."""
    found = Examination()
    check_client_certificates(patient, found)
    if check_running(patient, found) and check_answers(patient, found):
        check_open(patient, found)
    return found.operator, [result for result in found.results if result.bad]
