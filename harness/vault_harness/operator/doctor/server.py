"""Check each node over the network, and the way of clients.

Then check that Vault is open and that a valid token exists, which all later checks need.
"""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from vault_harness.addresses import leads_to_one_of, without_password
from vault_harness.certificates import NEAR, OPERATOR, shown_beside, shown_by
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    NamespaceError,
    OperatorError,
    VaultIsSealed,
    named,
)
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin, alive, knew_no_leader
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.namespace import check_possible, exists, moved
from vault_harness.local.vault.tokens import admin_with_token
from vault_harness.namespaces import above
from vault_harness.operator.doctor.check import Examination, Patient

# The server dates tokens and leases. With a larger difference, times in logs mislead.
MOST_CLOCK_SECONDS = 5.0

_TASKS_OWN = f"client certificate {OPERATOR}"

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET_VALID, _HAS_EXPIRED = 9, 10

_ELECTION_SECONDS = 10.0
"""For an election."""


def check_open(patient: Patient, found: Examination) -> bool:
    assert found.seal is not None
    address = str(found.seal["address"])
    where = f"{address}/v1/sys/seal-status"
    if not found.seal["initialised"]:
        found.bad("uninitialised", where)
        return False
    found.good("initialised", where, "it is initialised")
    keyring = _check_keyring(patient, found)
    if found.seal["sealed"] and patient.keys_never_kept:
        found.unknown("tokens and secrets", where, "it is sealed")  # the keys are reported already
        return False
    if found.seal["sealed"]:
        found.bad("sealed" if keyring else "sealed-without-keys", where)
        return False
    found.good("sealed", where, "it is unsealed")
    for closed in found.closed:  # clients go to an open node
        found.bad("node-sealed", f"{closed}/v1/sys/seal-status", address=closed)
    _check_leader(patient, found)
    found.namespace = _check_namespace(patient, found, address, keyring)
    return found.namespace and _check_token(patient, found, address, keyring)


def _check_leader(patient: Patient, found: Examination) -> None:
    """Check that a node leads. Without one, OpenBao's standbys still answer reads."""
    if len(patient.addresses) < 2:
        return
    with cluster.operators(patient.addresses, ca_cert=patient.ca_cert) as nodes:
        try:
            leader = cluster.wait_for_active(nodes, timeout=_ELECTION_SECONDS)
        except DeadlineExceeded as error:
            found.bad(
                "no-leader", ", ".join(patient.addresses), cause=_why(patient, error.looked_at)
            )
        else:
            found.good("leader", f"{leader.address}/v1/sys/health", "this node leads")


def _check_namespace(
    patient: Patient, found: Examination, address: str, keyring: Keyring | None
) -> bool:
    name = patient.namespace
    if not name:
        return True
    found.root = keyring is None or bool(keyring.root_token)
    where = f"{address}, namespace {name}"
    with contextlib.closing(
        VaultAdmin(address, None, patient.ca_cert, patient.timeout, namespace=name)
    ) as op:
        try:
            check_possible(op)
        except NamespaceError as error:
            found.bad("namespaces-none", where, cause=error.cause)
            return False
        try:
            if exists(op):
                found.good("namespace", where, "it is there, and open")
                return True
            with contextlib.closing(op.within(above(name, patient.blueprint.namespace))) as parent:
                seeded = bool(patient.blueprint.namespace) and exists(parent)
            found.bad(
                "namespace-missing" if seeded else "namespace-elsewhere", where, namespace=name
            )
        except NamespaceError as error:
            found.bad("namespace-sealed", where, namespace=name, remedy=error.remedy)
    return False


def _check_keyring(patient: Patient, found: Examination) -> Keyring | None:
    path = patient.keyring_path
    assert found.seal is not None
    if (keyring := load_keyring(patient, found)) is None:
        return None
    theirs = (found.seal["shares"], found.seal["threshold"])
    if keyring.kind == "shamir" and theirs != (keyring.shares, keyring.threshold):
        found.bad(
            "keyring-unlike",
            str(path),
            shares=keyring.shares,
            threshold=keyring.threshold,
            their_shares=theirs[0],
            their_threshold=theirs[1],
        )
        return None
    found.good(
        "keyring",
        str(path),
        f"{keyring.shares} {'unseal' if keyring.kind == 'shamir' else 'recovery'} keys are here",
    )
    return keyring


def load_keyring(patient: Patient, found: Examination) -> Keyring | None:
    try:
        return Keyring.load(patient.keyring_path)
    except HarnessError as error:
        if patient.engine != "external":  # its keys are elsewhere
            missing = isinstance(error, KeyringMissing)
            kind = "keyring-missing" if missing else "keyring-broken"
            if missing and patient.keys_never_kept:
                kind = "keyring-never-kept"
            found.bad(
                kind, str(patient.keyring_path), cause=error.cause, remedy=patient.keys_never_kept
            )
        return None


def _check_token(
    patient: Patient, found: Examination, address: str, keyring: Keyring | None
) -> bool:
    own = patient.environ.get("VAULT_TOKEN") or patient.environ.get("BAO_TOKEN")
    external = (
        VaultAdmin(address, own, patient.ca_cert, patient.timeout, namespace=patient.namespace)
        if own
        else None
    )
    good = _check_environment_token(found, external) if external is not None else False
    where = f"{patient.keyring_path.name}, operator-token in {patient.data_dir}"
    try:
        acting = admin_with_token(address, keyring, patient.data_dir, ca_cert=patient.ca_cert)
        found.operator = moved(acting, patient.namespace, there=False)
    except HarnessError as error:
        if good:
            found.operator = external
            return True
        if not isinstance(error, KeyringMissing):  # Vault did not answer, so tokens are unknown
            note_refusal(patient, found, where, error)
        elif patient.keys_never_kept:  # nor a token
            found.unknown("token", where, error.cause)
        elif patient.engine != "external":
            kind = "no-token" if _keys_make_root(patient, address) else "no-token-for-root"
            found.bad(kind, where, cause=error.cause)
        return False
    found.root = "root" in (alive(found.operator) or {}).get("policies", ())
    found.good("token", where, "the tasks have a valid token")
    return True


def _why(patient: Patient, otherwise: str) -> str:
    with contextlib.suppress(HarnessError, OSError):
        return patient.why_none_leads() or otherwise
    return otherwise


def note_refusal(patient: Patient, found: Examination, where: str, error: HarnessError) -> None:
    """Report that an open Vault refuses a request, which no token and no key repairs."""
    found.refuses = True
    if isinstance(error, VaultIsSealed):
        found.bad("sealed", where)
    elif isinstance(error, OperatorError) and knew_no_leader(error):
        if not any(each.kind == "no-leader" for each in found.results):
            found.bad("no-leader", where, cause=_why(patient, error.cause))
    elif isinstance(error, OperatorError) and "denied" not in error.cause:
        found.bad("refuses", where, cause=error.cause)
    else:
        found.unknown("content", where, error.cause)


def _keys_make_root(patient: Patient, address: str) -> bool:
    """Return whether this server makes a root token from unseal keys alone; begin no attempt."""
    with contextlib.closing(VaultAdmin(address, None, patient.ca_cert, patient.timeout)) as op:
        try:
            op.request("GET", "sys/generate-root/attempt")
        except HarnessError:
            return False
    return True


def _check_environment_token(found: Examination, op: VaultAdmin) -> bool:
    where = "VAULT_TOKEN in the environment, looked up at Vault"
    try:
        with op.asking("look up the token") as client:
            data = client.auth.token.lookup_self()["data"]
    except HarnessError as error:
        if "denied" not in error.cause and "bad token" not in error.cause:
            found.unknown("environment token", where, error.cause)
            return False
        found.bad("environment-token", where)
        return False
    ttl = int(data.get("ttl") or 0)
    left = f"{ttl} s left" if ttl else "without an end"
    found.good("environment token", where, f"it is valid, {left}")
    return True


def check_way(patient: Patient, found: Examination) -> None:
    stopped = {service.name for service in patient.services if not service.running}
    if not patient.toxiproxy or "toxiproxy" in stopped:
        return
    where = f"{patient.toxiproxy}/version"
    try:
        with _session() as session:
            session.get(where, timeout=patient.timeout).raise_for_status()
    except requests.RequestException:
        found.bad("toxiproxy-silent", where)
        return
    obstacles = patient.obstacles()
    for what in obstacles:
        found.bad("obstacle", patient.toxiproxy, what=what)
    if not obstacles:
        found.good("way", patient.toxiproxy, "clients reach Vault, nothing disturbs them")


def check_environment_address(patient: Patient, found: Examination) -> None:
    """Check that clients in this shell go to this stack, as tasks do anyway."""
    wanted = patient.environ.get("VAULT_ADDR")
    if not wanted or patient.engine == "external":  # it is an external engine's own
        return
    ways = [way for way in (patient.proxied, *patient.addresses) if way]
    if leads_to_one_of(wanted, ways):
        found.good("environment address", "VAULT_ADDR", "clients in this shell go to this stack")
    else:
        shown = without_password(wanted)
        found.bad("address-of-environment", "VAULT_ADDR", wanted=shown, address=ways[0])


def check_answers(patient: Patient, found: Examination) -> bool:
    answers = [_ask(patient, found, address) for address in patient.addresses]
    return any(answers)


def _ask(patient: Patient, found: Examination, address: str) -> bool:
    where = f"{address}/v1/sys/seal-status"
    verify = str(patient.ca_cert) if patient.ca_cert is not None else True
    own = shown_beside(patient.ca_cert)
    try:
        with _session() as session:
            answer = session.get(
                where,
                timeout=patient.timeout,
                verify=verify,
                cert=str(own) if own is not None else None,
                allow_redirects=False,
            )
            status = answer.json()
            sealed, initialised = bool(status["sealed"]), bool(status["initialized"])
    except requests.Timeout:
        _note_frozen(patient, found, where)
        return False
    except requests.ConnectionError as error:
        if any(each.bad and each.name == _TASKS_OWN for each in found.results):
            found.unknown("answers", where, "it refuses the tasks, which have no good certificate")
        elif not isinstance(error, requests.exceptions.SSLError):
            found.bad("refused-elsewhere" if patient.engine == "external" else "refused", where)
        elif not _is_out_of_time(patient, found, address):
            found.bad("certificate", where)
        return False
    except (requests.JSONDecodeError, KeyError, TypeError):
        found.bad("not-vault", where, answer=f"HTTP {answer.status_code}")
        return False
    except requests.RequestException as error:  # cut short, or not HTTP
        found.bad("not-vault", where, answer=f"no answer to read: {type(error).__name__}")
        return False
    found.good("answers", where, f"it answers, version {status.get('version', 'unknown')}")
    if address.startswith("https://"):
        _check_certificate(patient, found, address)
    _check_clock(patient, found, address, answer.headers.get("Date"))
    if sealed or not initialised:
        found.closed.append(address)
    if found.seal is None or sealed < bool(found.seal["sealed"]):
        found.seal = {
            "sealed": sealed,
            "initialised": initialised,
            "address": address,
            "shares": int(status.get("n") or 0),
            "threshold": int(status.get("t") or 0),
        }
    return True


def _note_frozen(patient: Patient, found: Examination, where: str) -> None:
    """Report a frozen node. A paused one may have its keys only in memory, so it must not stop."""
    seconds = f"{patient.timeout:g}"
    if patient.engine == "external":
        found.bad("frozen-elsewhere", where, seconds=seconds)
    elif lost := patient.lost_by_ending():
        words = {"up": named("up"), "keys": named("restore.keys")}
        found.bad("frozen-without-keys", where, seconds=seconds, cause=lost, **words)
    else:
        found.bad("frozen", where, seconds=seconds)


def _is_out_of_time(patient: Patient, found: Examination, address: str) -> bool:
    try:
        shown_by(address, ca_cert=patient.ca_cert, timeout=patient.timeout)
    except ssl.SSLCertVerificationError as error:
        if error.verify_code == _HAS_EXPIRED:
            _note_end(patient, found, address, "has ended")
            return True
        if error.verify_code == _NOT_YET_VALID:
            elsewhere = "-elsewhere" if patient.engine == "external" else ""
            found.bad(f"certificate-early{elsewhere}", address)
            return True
    except OSError:
        pass  # the certificate was not trusted a moment ago
    return False


def _check_certificate(patient: Patient, found: Examination, address: str) -> None:
    try:
        shown = shown_by(address, ca_cert=patient.ca_cert, timeout=patient.timeout)
    except OSError as error:
        found.unknown("certificate", address, f"the TLS handshake failed: {type(error).__name__}")
        return
    day = f"{shown.ends:%Y-%m-%d}"
    if shown.ends - patient.now() < NEAR:
        _note_end(patient, found, address, f"ends on {day}")
    else:
        found.good("certificate", address, f"its certificate is good until {day}")


def _note_end(patient: Patient, found: Examination, address: str, ends: str) -> None:
    elsewhere = "-elsewhere" if patient.engine == "external" else ""
    found.bad(f"certificate-ends{elsewhere}", address, ends=ends)


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # the tasks use no proxy and no netrc
    return session


def _check_clock(patient: Patient, found: Examination, address: str, date: str | None) -> None:
    if date is None:
        return
    with contextlib.suppress(ValueError):
        theirs: datetime = parsedate_to_datetime(date).astimezone(UTC)
        off = (patient.now() - theirs).total_seconds()
        # Whole seconds, so on average it is half a second old.
        if abs(off - 0.5) > MOST_CLOCK_SECONDS + 0.5:
            way = "ahead of" if off > 0 else "behind"
            found.bad("clock", f"Date of {address}", seconds=f"{abs(off):.0f}", way=way)
        else:
            found.good("clock", f"Date of {address}", "the clocks agree")
