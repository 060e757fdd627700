"""Check each node over the network, and the way of clients."""

from __future__ import annotations

import contextlib
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from vault_harness.addresses import leads_to_one_of, without_password
from vault_harness.certificates import NEAR, OPERATOR, shown_beside, shown_by
from vault_harness.errors import named
from vault_harness.operator.doctor.check import Examination, Patient

# The server dates tokens and leases. With a larger difference, times in logs mislead.
MOST_CLOCK_SECONDS = 5.0

_TASKS_OWN = f"client certificate {OPERATOR}"

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET_VALID, _HAS_EXPIRED = 9, 10


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
