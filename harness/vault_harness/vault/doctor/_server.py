"""Is there a Vault, does it answer, is it open: what every other check needs."""

from __future__ import annotations

import contextlib
import stat
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from vault_harness.commands import named
from vault_harness.errors import HarnessError
from vault_harness.vault.doctor._finding import Examination, Patient
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.operator import Operator
from vault_harness.vault.root import standing_operator

# Tokens and leases are dated by the server: more than this, and times in logs and reports mislead.
MOST_CLOCK_SECONDS = 5.0


def check_docker(patient: Patient, found: Examination) -> None:
    """An engine that answers, and its images; asked only where containers are wanted."""
    if patient.engine != "docker" or patient.docker is None:
        return
    docker = patient.docker()
    if not docker.engine:
        found.bad(
            "docker",
            "HARNESS_ENGINE=docker",
            f"no container engine answers: {docker.line}",
            f"start Docker, or run servers as processes: HARNESS_ENGINE=process {named('up')}",
        )
    elif docker.missing_images:
        found.bad(
            "images",
            ", ".join(docker.missing_images),
            f"the container engine answers, images are not there: {docker.line}",
            named("images"),
        )
    else:
        found.good("docker", "the container engine", docker.line or "it answers, images are there")


def check_running(patient: Patient, found: Examination) -> bool:
    """Processes or containers of the local stack."""
    if not patient.addresses:
        where = f"{patient.data_dir / 'stack.json'}"
        found.bad("running", where, "nothing was ever started here", named("up"))
        return False
    stopped = [service.name for service in patient.services if not service.running]
    if stopped:
        verb = "does not run" if len(stopped) == 1 else "do not run"
        what = f"{' and '.join(stopped)} {verb}"
        found.bad("running", f"processes of {patient.data_dir}", what, named("up"))
        return "vault" not in stopped
    if patient.services:
        found.good("running", f"processes of {patient.data_dir}", "all servers run")
    return True


def check_answers(patient: Patient, found: Examination) -> bool:
    """Whether each node answers over the network, and what its clock says."""
    answers = [_ask(patient, found, address) for address in patient.addresses]
    return any(answers)


def _ask(patient: Patient, found: Examination, address: str) -> bool:
    where = f"{address}/v1/sys/seal-status"
    verify = str(patient.ca_cert) if patient.ca_cert is not None else True
    session = requests.Session()
    session.trust_env = False  # a proxy or a netrc has no say in what the tasks would do
    try:
        with session:
            answer = session.get(
                where, timeout=patient.timeout, verify=verify, allow_redirects=False
            )
            status = answer.json()
            sealed, initialised = bool(status["sealed"]), bool(status["initialized"])
    except requests.Timeout:
        wrong = f"it takes connections and does not answer within {patient.timeout:g} s"
        found.bad("answers", where, f"{wrong}: frozen, or overloaded", named("restart"))
        return False
    except requests.exceptions.SSLError:
        wrong = "its certificate is not trusted"
        found.bad("answers", where, wrong, "export VAULT_CACERT=FILE with its CA certificate")
        return False
    except requests.ConnectionError:
        found.bad("answers", where, "the connection is refused: nobody listens there", named("up"))
        return False
    except (ValueError, KeyError, TypeError):
        wrong = f"what answers there is no Vault (HTTP {answer.status_code})"
        found.bad("answers", where, wrong, "correct VAULT_ADDR")
        return False
    found.good("answers", where, f"it answers, version {status.get('version', 'unknown')}")
    _check_clock(patient, found, address, answer.headers.get("Date"))
    if found.seal is None or sealed < bool(found.seal["sealed"]):
        found.seal = {"sealed": sealed, "initialised": initialised, "address": address}
    return True


def _check_clock(patient: Patient, found: Examination, address: str, date: str | None) -> None:
    if date is None:
        return
    with contextlib.suppress(ValueError):
        theirs: datetime = parsedate_to_datetime(date).astimezone(UTC)
        off = (patient.now() - theirs).total_seconds()
        # The header has whole seconds: half a second is its middle.
        if abs(off - 0.5) > MOST_CLOCK_SECONDS + 0.5:
            way = "ahead of" if off > 0 else "behind"
            wrong = f"this machine's clock is {abs(off):.0f} s {way} Vault's"
            found.bad("clock", f"Date of {address}", wrong, "timedatectl set-ntp true")
        else:
            found.good("clock", f"Date of {address}", "the clocks agree")


def check_open(patient: Patient, found: Examination) -> bool:
    """Initialised, keyring here, unsealed; then somebody with a good token."""
    assert found.seal is not None
    address = str(found.seal["address"])
    where = f"{address}/v1/sys/seal-status"
    if not found.seal["initialised"]:
        found.bad("initialised", where, "this Vault has never been initialised", named("up"))
        return False
    found.good("initialised", where, "it is initialised")
    keyring = _check_keyring(patient, found)
    if found.seal["sealed"]:
        remedy = named("unseal") if keyring else f"{named('restore.keys')}, then {named('unseal')}"
        found.bad("sealed", where, "it is sealed, every request gets 503", remedy)
        return False
    found.good("sealed", where, "it is unsealed")
    return _check_token(patient, found, address, keyring)


def _check_keyring(patient: Patient, found: Examination) -> Keyring | None:
    path = patient.keyring_path
    try:
        keyring = Keyring.load(path)
    except HarnessError as error:
        if patient.engine == "external":
            return None  # somebody else's Vault, somebody else's keys
        wrong = f"{error.cause}: after the next restart nobody can open this Vault"
        found.bad("keyring", str(path), wrong, named("restore.keys"))
        return None
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        found.bad("keyring", str(path), "others can read the unseal keys", f"chmod 600 {path}")
    else:
        found.good("keyring", str(path), f"{len(keyring.keys)} unseal keys are here")
    return keyring


def _check_token(
    patient: Patient, found: Examination, address: str, keyring: Keyring | None
) -> bool:
    """The token that tasks act with, and the one in the environment, if there is one."""
    own = patient.environ.get("VAULT_TOKEN") or patient.environ.get("BAO_TOKEN")
    external = Operator(address, own, patient.ca_cert, patient.timeout) if own else None
    alive = _check_environment_token(found, external) if external is not None else False
    where = f"{patient.keyring_path.name}, operator-token in {patient.data_dir}"
    try:
        found.operator = standing_operator(
            address, keyring, patient.data_dir, ca_cert=patient.ca_cert
        )
    except HarnessError as error:
        if alive:
            found.operator = external
            return True
        if patient.engine != "external":
            found.bad("token", where, error.cause, named("root.generate"))
        return False
    found.good("token", where, "the tasks have a good token")
    return True


def _check_environment_token(found: Examination, op: Operator) -> bool:
    where = "VAULT_TOKEN in the environment, looked up at Vault"
    try:
        with op.asking("look up the token") as client:
            data = client.auth.token.lookup_self()["data"]
    except HarnessError as error:
        if "denied" not in error.cause and "bad token" not in error.cause:
            found.unknown("environment token", where, error.cause)
            return False
        wrong = "Vault does not know this token: it expired, or was revoked"
        found.bad("environment token", where, wrong, "unset VAULT_TOKEN, then log in anew")
        return False
    ttl = int(data.get("ttl") or 0)
    left = f"{ttl} s left" if ttl else "without an end"
    found.good("environment token", where, f"it is good, {left}")
    return True
