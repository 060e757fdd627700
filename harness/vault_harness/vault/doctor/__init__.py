"""Finding out why it does not work: everything between a service and its secrets, in order."""

from __future__ import annotations

import contextlib

from vault_harness.boundary import without_frames
from vault_harness.errors import HarnessError
from vault_harness.vault.doctor._content import (
    check_audit,
    check_mounts,
    check_policies,
    check_secrets,
)
from vault_harness.vault.doctor._docker import look_at_docker
from vault_harness.vault.doctor._finding import (
    DockerView,
    Examination,
    Finding,
    Patient,
    ServiceView,
    State,
)
from vault_harness.vault.doctor._kinds import KINDS, Kind
from vault_harness.vault.doctor._machine import (
    check_client_certificates,
    check_docker,
    check_files,
    check_nodes,
    check_restored,
    check_running,
    check_seal_settled,
    leave_to_restore,
)
from vault_harness.vault.doctor._network import check_answers, check_environment_address, check_way
from vault_harness.vault.doctor._roles import check_roles, check_roles_by_login
from vault_harness.vault.doctor._server import check_open, note_refusal
from vault_harness.vault.operator import Operator

__all__ = [
    "examine",
    "admit",
    "Finding",
    "State",
    "KINDS",
    "Kind",
    "Patient",
    "ServiceView",
    "DockerView",
    "look_at_docker",
]


@without_frames
def examine(patient: Patient) -> list[Finding]:
    """Look at everything that can be looked at; changes nothing in Vault, raises for no finding.

    Each check needs those before it: where one is bad, later ones that build on it are left out.
    """
    found = Examination()
    check_docker(patient, found)
    check_seal_settled(patient, found)
    check_restored(patient, found)
    check_files(patient, found)
    check_client_certificates(patient, found)
    if not check_running(patient, found) or not check_answers(patient, found):
        return found.findings
    check_nodes(patient, found)
    check_way(patient, found)
    check_environment_address(patient, found)
    if leave_to_restore(patient, found):
        return found.findings
    if not check_open(patient, found):
        opened = found.seal is not None and found.seal["initialised"] and not found.seal["sealed"]
        empty = bool(patient.keys_never_kept)  # nobody has put anything there to log in with
        if opened and found.namespace and not found.refuses and not empty:
            assert found.seal is not None
            check_roles_by_login(patient, found, str(found.seal["address"]))
        return found.findings
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
            note_refusal(found, error.looked_at, error)
    return found.findings


@without_frames
def admit(patient: Patient) -> tuple[Operator | None, list[Finding]]:
    """Somebody with a good token at an open Vault; without one, what is in the way.

    Returns:
        The operator, to be closed by the caller, or None; and what is wrong on the way to it.
    """
    found = Examination()
    check_client_certificates(patient, found)
    if check_running(patient, found) and check_answers(patient, found):
        check_open(patient, found)
    return found.operator, [finding for finding in found.findings if finding.bad]
