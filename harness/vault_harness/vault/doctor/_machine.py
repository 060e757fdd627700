"""What is on this machine: an engine, the stack's processes and files, and who may read them."""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path

from vault_harness.certificates import CLIENTS_NAME, NEAR, end_of
from vault_harness.commands import named
from vault_harness.vault.doctor._finding import Examination, Patient
from vault_harness.vault.doctor._server import load_keyring

_GIVEN = ("operator-token*", "*-role-id", "*-secret-id")

# Keys of any age beside the keyring, tokens, ids.
_PRIVATE_FILES = (
    *("init.json*", *_GIVEN),
    *("namespaces/*/*-role-id", "namespaces/*/*-secret-id"),
    *("*-certificate.pem", "tls/*.pem", "authority/*.pem", "authority/*/*.pem"),
    *("holder/init.json*", "seal/*"),
)
_PUBLIC_FILES = frozenset({"ca.pem", "certificate.pem", CLIENTS_NAME})


def check_docker(patient: Patient, found: Examination) -> None:
    """An engine that answers, and its images; asked only where containers are wanted."""
    if patient.engine != "docker" or patient.docker is None:
        return
    docker = patient.docker()
    if not docker.engine:
        found.bad("engine-away", "HARNESS_ENGINE=docker", line=docker.line)
    elif docker.missing_images:
        found.bad("image-missing", ", ".join(docker.missing_images), line=docker.line)
    elif docker.outdated_images:
        images = ", ".join(docker.outdated_images)
        if lost := patient.lost_by_ending():  # which the exchange of an image does
            keys = named("restore.keys")
            found.bad(
                "image-outdated-without-keys", images, line=docker.line, cause=lost, keys=keys
            )
        else:
            found.bad("image-outdated", images, line=docker.line)
    else:
        found.good("docker", "the container engine", docker.line or "it answers, images are there")


def check_running(patient: Patient, found: Examination) -> bool:
    """Processes or containers of the local stack, and the data that they work on."""
    servers = f"processes of {patient.data_dir}"
    running = [service.name for service in patient.services if service.running]
    if patient.data_gone and "vault" in running:
        found.bad("data-gone", str(patient.data_dir))
    if patient.data_replaced:
        found.bad(
            "data-replaced",
            str(patient.data_dir),
            servers=" and ".join(patient.data_replaced),
            **{task: named(task) for task in ("backup", "down", "up")},
        )
    if not patient.addresses:
        where = f"{patient.data_dir / 'stack.json'}"
        if patient.data_gone and running:
            return False
        if running:
            found.bad("record-lost", where, servers=" and ".join(running))
        else:
            found.bad("never-started", where)
        return False
    stopped = [service.name for service in patient.services if not service.running]
    if stopped:
        if "vault" in stopped and _gave_something(patient.data_dir):
            load_keyring(patient, found)  # first: without its keys it cannot be opened again
        verb = "does" if len(stopped) == 1 else "do"
        found.bad("not-running", servers, servers=" and ".join(stopped), verb=verb)
        return "vault" not in stopped
    if patient.services:
        found.good("running", servers, "all servers run")
    return True


def _gave_something(data_dir: Path) -> bool:
    """Whether there is what only an initialised Vault gives; the others have no keys."""
    return any(file for pattern in _GIVEN for file in data_dir.glob(pattern))


def check_seal_settled(patient: Patient, found: Examination) -> None:
    """Whether its seal is being exchanged: nothing that is said of its keys is sure until then."""
    if patient.seal_migration is not None:
        source, target = patient.seal_migration
        found.bad("seal-half-migrated", str(patient.data_dir), source=source, target=target)


def check_restored(patient: Patient, found: Examination) -> None:
    """Whether a restore was ended half-way: nothing that is said of the keys is sure until then."""
    unfinished = patient.unfinished_restore
    if unfinished is None:
        return
    runs = all(service.running for service in patient.services)
    found.bad(
        "restore-not-compared" if unfinished.keys_here else "restore-half-done",
        str(unfinished.note),
        of=f" of {unfinished.source}" if unfinished.source else "",
        start="" if runs else f"{named('up')}, whatever it says of the keys; then ",
        remedy=unfinished.remedy,
        otherwise=unfinished.otherwise,
    )


def leave_to_restore(patient: Patient, found: Examination) -> bool:
    """Whether what is in Vault may be another's in a moment: no key and no secret is looked at."""
    if patient.half_restored:
        why = "nobody can tell whose they are until its restore is done"
        found.unknown("keys, tokens and secrets", str(patient.data_dir), why)
    return patient.half_restored


def check_files(patient: Patient, found: Examination) -> None:
    """Whether only their owner reads keys, tokens and ids."""
    if not patient.data_dir.is_dir():
        return
    private = [
        (patient.data_dir, "700"),
        *(
            (path, "600")
            for pattern in _PRIVATE_FILES
            for path in sorted(patient.data_dir.glob(pattern))
            if path.name not in _PUBLIC_FILES
        ),
    ]
    open_ones = [(path, wanted) for path, wanted in private if _mode(path) & 0o077]
    for path, wanted in open_ones:
        mode = f"{_mode(path):04o}"
        found.bad("open-to-others", str(path), name=path.name, mode=mode, wanted=wanted, path=path)
    if not open_ones:
        found.good("private", str(patient.data_dir), "nobody else can read keys, tokens and ids")


def check_client_certificates(patient: Patient, found: Examination) -> None:
    """Whether each client of a Vault that asks for certificates has one, for some time yet."""
    first: datetime | None = None
    for client, path in patient.client_certificates.items():
        end = end_of(path)
        if end is None:
            found.bad("client-certificate-missing", str(path), client=client)
        elif end - patient.now() < NEAR:
            ends = f"ends on {end:%Y-%m-%d}" if end > patient.now() else "has ended"
            found.bad("client-certificate-ends", str(path), client=client, ends=ends)
        else:
            first = end if first is None else min(first, end)
    if first is not None:
        where = str(patient.data_dir)
        found.good("client certificates", where, f"good until {first:%Y-%m-%d}")


def _mode(path: Path) -> int:
    """Its mode; none for a link that leads nowhere now, as to a disk that is away."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def check_nodes(patient: Patient, found: Examination) -> None:
    """Whether a node of a cluster was cut off from the others."""
    if len(patient.addresses) < 2:
        return
    where, cut = f"the nodes of {patient.data_dir}", patient.cut_nodes()
    for node in cut:
        found.bad("node-cut", where, node=node)
    if not cut:
        found.good("nodes", where, "none is cut off from the others")
