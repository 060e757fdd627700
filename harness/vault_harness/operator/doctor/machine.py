"""Check this machine: container engine, processes, and files with their modes."""

from __future__ import annotations

import stat
from datetime import datetime
from pathlib import Path

from vault_harness import files
from vault_harness.certificates import CLIENTS_NAME, NEAR, end_of
from vault_harness.errors import named
from vault_harness.operator.doctor.check import DockerView, Examination, Patient
from vault_harness.operator.doctor.server import load_keyring
from vault_harness.settings import Settings


def look_at_docker(settings: Settings, *, timeout: float = 5.0) -> DockerView:
    # Slow to import, and rarely needed.
    from vault_harness.local.engine.docker.state import DockerStatus, inspect_docker

    state = inspect_docker(settings, timeout=timeout, ask_registry=False)
    engine = state.status is not DockerStatus.NO_ENGINE
    images = (state.vault, state.toxiproxy)
    outdated = tuple(image.name for image in images if image is not None and image.outdated)
    return DockerView(engine, state.missing, state.line, outdated)


_GIVEN = ("operator-token*", "*-role-id", "*-secret-id")

# Present and earlier keys beside the keyring, tokens, ids.
_PRIVATE_FILES = (
    *("init.json*", *_GIVEN),
    *("namespaces/*/*-role-id", "namespaces/*/*-secret-id"),
    *("*-certificate.pem", "tls/*.pem", "authority/*.pem", "authority/*/*.pem"),
    *("holder/init.json*", "seal/*"),
)
_PUBLIC_FILES = frozenset({"ca.pem", "certificate.pem", CLIENTS_NAME})


def check_docker(patient: Patient, found: Examination) -> None:
    if patient.engine != "docker" or patient.docker is None:
        return
    docker = patient.docker()
    if not docker.engine:
        found.bad("engine-away", "HARNESS_ENGINE=docker", line=docker.line)
    elif docker.missing_images:
        found.bad("image-missing", ", ".join(docker.missing_images), line=docker.line)
    elif docker.outdated_images:
        images = ", ".join(docker.outdated_images)
        if lost := patient.lost_by_ending():  # a new image means a restart
            keys = named("restore.keys")
            found.bad(
                "image-outdated-without-keys", images, line=docker.line, cause=lost, keys=keys
            )
        else:
            found.bad("image-outdated", images, line=docker.line)
    else:
        found.good("docker", "the container engine", docker.line or "it answers, images are there")


def check_running(patient: Patient, found: Examination) -> bool:
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
            load_keyring(patient, found)  # without its keys a restarted Vault stays sealed
        verb = "does" if len(stopped) == 1 else "do"
        found.bad("not-running", servers, servers=" and ".join(stopped), verb=verb)
        return "vault" not in stopped
    if patient.services:
        found.good("running", servers, "all servers run")
    return True


def _gave_something(data_dir: Path) -> bool:
    return any(file for pattern in _GIVEN for file in data_dir.glob(pattern))


def check_seal_settled(patient: Patient, found: Examination) -> None:
    """Report an interrupted seal migration, which makes results about keys uncertain."""
    if patient.seal_migration is not None:
        source, target = patient.seal_migration
        found.bad("seal-half-migrated", str(patient.data_dir), source=source, target=target)


def check_restored(patient: Patient, found: Examination) -> None:
    """Report an interrupted restore, which makes results about keys uncertain."""
    unfinished = patient.unfinished_restore
    if unfinished is None:
        return
    runs = all(service.running for service in patient.services)
    found.bad(
        "restore-not-compared" if unfinished.keys_here else "restore-half-done",
        str(unfinished.note),
        of=f" of {unfinished.source}" if unfinished.source else "",
        start="" if runs else f"{named('up')}, and ignore what it says about keys; then ",
        remedy=unfinished.remedy,
        otherwise=unfinished.otherwise,
    )


def leave_to_restore(patient: Patient, found: Examination) -> bool:
    """Skip keys and secrets during a restore, which may replace their Vault at any moment."""
    if patient.half_restored:
        why = "they may belong to another Vault until the restore is finished"
        found.unknown("keys, tokens and secrets", str(patient.data_dir), why)
    return patient.half_restored


def check_files(patient: Patient, found: Examination) -> None:
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


def check_access(data_dir: Path, found: Examination) -> bool:
    """Check that the owner may use the data directory and everything directly in it.

    Return whether all can be read, as other checks need.
    """
    if not data_dir.is_dir():
        return True
    readable = True
    for path in (data_dir, *_inside(data_dir)):
        if what := files.closed_to_owner(path):
            readable = readable and what == "write to it"
            mode, wanted = f"{_mode(path):04o}", "700" if path.is_dir() else "600"
            words = {"name": path.name, "what": what, "mode": mode, "wanted": wanted}
            found.bad("closed-to-owner", str(path), path=path, **words)
    return readable


def _inside(data_dir: Path) -> list[Path]:
    try:
        return sorted(path for path in data_dir.iterdir() if path.exists())
    except PermissionError:
        return []  # `check_access` reports it


def check_client_certificates(patient: Patient, found: Examination) -> None:
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
    """Return the mode; 0 for a link without a target, for example on a disk that is away."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return 0


def check_nodes(patient: Patient, found: Examination) -> None:
    if len(patient.addresses) < 2:
        return
    where, cut = f"the nodes of {patient.data_dir}", patient.cut_nodes()
    for node in cut:
        found.bad("node-cut", where, node=node)
    if not cut:
        found.good("nodes", where, "none is cut off from the others")
