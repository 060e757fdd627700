"""Is there a Vault, does it answer, is it open: what every other check needs."""

from __future__ import annotations

import contextlib
import ssl
import stat
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import requests

from vault_harness.addresses import host_and_port
from vault_harness.certificates import CLIENTS_NAME, NEAR, OPERATOR, end_of, shown_beside, shown_by
from vault_harness.commands import named
from vault_harness.errors import (
    DeadlineExceeded,
    HarnessError,
    KeyringMissing,
    NamespaceError,
    OperatorError,
    VaultIsSealed,
)
from vault_harness.namespaces import above
from vault_harness.vault import cluster
from vault_harness.vault.doctor._finding import Examination, Patient
from vault_harness.vault.keyring import Keyring
from vault_harness.vault.namespace import check_possible, exists, moved
from vault_harness.vault.operator import Operator, knew_no_leader
from vault_harness.vault.root import alive, standing_operator

# Tokens and leases are dated by the server: more than this, and times in logs and reports mislead.
MOST_CLOCK_SECONDS = 5.0

_ELECTION_SECONDS = 10.0
"""For nodes to choose who leads."""

_TASKS_OWN = f"client certificate {OPERATOR}"

# OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED
_NOT_YET_VALID, _HAS_EXPIRED = 9, 10

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
            _load_keyring(patient, found)  # first: without its keys it cannot be opened again
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
    return stat.S_IMODE(path.stat().st_mode)


def check_nodes(patient: Patient, found: Examination) -> None:
    """Whether a node of a cluster was cut off from the others."""
    if len(patient.addresses) < 2:
        return
    where, cut = f"the nodes of {patient.data_dir}", patient.cut_nodes()
    for node in cut:
        found.bad("node-cut", where, node=node)
    if not cut:
        found.good("nodes", where, "none is cut off from the others")


def check_way(patient: Patient, found: Examination) -> None:
    """What clients pass on their way to Vault: Toxiproxy, which may be left disturbed."""
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
    """Whether clients that are started in this shell go to this stack: tasks do in any case."""
    wanted = patient.environ.get("VAULT_ADDR")
    if not wanted or patient.engine == "external":  # there it says where the tasks go
        return
    ways = [way for way in (patient.proxied, *patient.addresses) if way]
    if _place(wanted) in map(_place, ways):
        found.good("environment address", "VAULT_ADDR", "clients in this shell go to this stack")
    else:
        found.bad("address-of-environment", "VAULT_ADDR", wanted=_shown(wanted), address=ways[0])


def _place(url: str) -> tuple[str, str, int] | None:
    """What of a base URL says where a connection goes; None if it is no URL."""
    try:
        host, port = host_and_port(url)
    except ValueError:
        return None
    return url.partition("://")[0], "127.0.0.1" if host == "localhost" else host, port


def _shown(url: str) -> str:
    """A URL of somebody else for the eyes of all: without a password in it."""
    scheme, mark, rest = url.rpartition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"


def check_answers(patient: Patient, found: Examination) -> bool:
    """Whether each node answers over the network, and what its clock says."""
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
        if any(each.bad and each.name == _TASKS_OWN for each in found.findings):
            found.unknown("answers", where, "it refuses the tasks, which have no good certificate")
        elif not isinstance(error, requests.exceptions.SSLError):
            found.bad("refused-elsewhere" if patient.engine == "external" else "refused", where)
        elif not _is_out_of_time(patient, found, address):
            found.bad("certificate", where)
        return False
    except (requests.JSONDecodeError, KeyError, TypeError):
        found.bad("not-vault", where, answer=f"HTTP {answer.status_code}")
        return False
    except requests.RequestException as error:  # an answer that is cut short, or is no HTTP
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
    """It may be paused, with its keys in its memory and nowhere else: then it must not be ended."""
    seconds = f"{patient.timeout:g}"
    if patient.engine == "external":
        found.bad("frozen-elsewhere", where, seconds=seconds)
    elif lost := patient.lost_by_ending():
        words = {"up": named("up"), "keys": named("restore.keys")}
        found.bad("frozen-without-keys", where, seconds=seconds, cause=lost, **words)
    else:
        found.bad("frozen", where, seconds=seconds)


def _is_out_of_time(patient: Patient, found: Examination, address: str) -> bool:
    """Whether its certificate is trusted, and not now; notes which way."""
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
        pass  # it showed one a moment ago, and that was not trusted
    return False


def _check_certificate(patient: Patient, found: Examination, address: str) -> None:
    """Whether the certificate is good for some time yet."""
    try:
        shown = shown_by(address, ca_cert=patient.ca_cert, timeout=patient.timeout)
    except OSError as error:
        found.unknown("certificate", address, f"no handshake came about: {type(error).__name__}")
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
    session.trust_env = False  # a proxy or a netrc has no say in what the tasks would do
    return session


def _check_clock(patient: Patient, found: Examination, address: str, date: str | None) -> None:
    if date is None:
        return
    with contextlib.suppress(ValueError):
        theirs: datetime = parsedate_to_datetime(date).astimezone(UTC)
        off = (patient.now() - theirs).total_seconds()
        # The header has whole seconds: half a second is its middle.
        if abs(off - 0.5) > MOST_CLOCK_SECONDS + 0.5:
            way = "ahead of" if off > 0 else "behind"
            found.bad("clock", f"Date of {address}", seconds=f"{abs(off):.0f}", way=way)
        else:
            found.good("clock", f"Date of {address}", "the clocks agree")


def check_open(patient: Patient, found: Examination) -> bool:
    """Initialised, keyring here, unsealed; then somebody with a good token."""
    assert found.seal is not None
    address = str(found.seal["address"])
    where = f"{address}/v1/sys/seal-status"
    if not found.seal["initialised"]:
        found.bad("uninitialised", where)
        return False
    found.good("initialised", where, "it is initialised")
    keyring = _check_keyring(patient, found)
    if found.seal["sealed"]:
        found.bad("sealed" if keyring else "sealed-without-keys", where)
        return False
    found.good("sealed", where, "it is unsealed")
    for closed in found.closed:  # of several nodes one is open, and clients are led to it
        found.bad("node-sealed", f"{closed}/v1/sys/seal-status", address=closed)
    _check_leader(patient, found)
    found.namespace = _check_namespace(patient, found, address, keyring)
    return found.namespace and _check_token(patient, found, address, keyring)


def _check_leader(patient: Patient, found: Examination) -> None:
    """Whether one of several nodes leads: OpenBao's standbys answer who only reads without one."""
    if len(patient.addresses) < 2:
        return
    with cluster.operators(patient.addresses, ca_cert=patient.ca_cert) as nodes:
        try:
            leader = cluster.wait_for_active(nodes, timeout=_ELECTION_SECONDS)
        except DeadlineExceeded as error:
            found.bad("no-leader", ", ".join(patient.addresses), cause=error.looked_at)
        else:
            found.good("leader", f"{leader.address}/v1/sys/health", "this node leads")


def _check_namespace(
    patient: Patient, found: Examination, address: str, keyring: Keyring | None
) -> bool:
    """Whether the namespace is there and open, which can be seen without a token."""
    name = patient.namespace
    if not name:
        return True
    found.root = keyring is None or bool(keyring.root_token)
    where = f"{address}, namespace {name}"
    with contextlib.closing(
        Operator(address, None, patient.ca_cert, patient.timeout, namespace=name)
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
    """The keyring, if there is one that can be this Vault's."""
    path = patient.keyring_path
    assert found.seal is not None
    if (keyring := _load_keyring(patient, found)) is None:
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


def _load_keyring(patient: Patient, found: Examination) -> Keyring | None:
    try:
        return Keyring.load(patient.keyring_path)
    except HarnessError as error:
        if patient.engine != "external":  # that is somebody else's Vault, with somebody else's keys
            missing = isinstance(error, KeyringMissing)
            kind = "keyring-missing" if missing else "keyring-broken"
            found.bad(kind, str(patient.keyring_path), cause=error.cause)
        return None


def _check_token(
    patient: Patient, found: Examination, address: str, keyring: Keyring | None
) -> bool:
    """The token that tasks act with, and the one in the environment, if there is one."""
    own = patient.environ.get("VAULT_TOKEN") or patient.environ.get("BAO_TOKEN")
    external = (
        Operator(address, own, patient.ca_cert, patient.timeout, namespace=patient.namespace)
        if own
        else None
    )
    good = _check_environment_token(found, external) if external is not None else False
    where = f"{patient.keyring_path.name}, operator-token in {patient.data_dir}"
    try:
        acting = standing_operator(address, keyring, patient.data_dir, ca_cert=patient.ca_cert)
        found.operator = moved(acting, patient.namespace, there=False)
    except HarnessError as error:
        if good:
            found.operator = external
            return True
        if not isinstance(error, KeyringMissing):  # of its tokens nothing is known
            note_refusal(found, where, error)
        elif patient.engine != "external":
            kind = "no-token" if _keys_make_root(patient, address) else "no-token-for-root"
            found.bad(kind, where, cause=error.cause)
        return False
    found.root = "root" in (alive(found.operator) or {}).get("policies", ())
    found.good("token", where, "the tasks have a good token")
    return True


def note_refusal(found: Examination, where: str, error: HarnessError) -> None:
    """Note that an open Vault does not do what it is asked: no token and no key mends that."""
    found.refuses = True
    if isinstance(error, VaultIsSealed):
        found.bad("sealed", where)
    elif isinstance(error, OperatorError) and knew_no_leader(error):
        if not any(each.kind == "no-leader" for each in found.findings):
            found.bad("no-leader", where, cause=error.cause)
    elif isinstance(error, OperatorError) and "denied" not in error.cause:
        found.bad("refuses", where, cause=error.cause)
    else:
        found.unknown("content", where, error.cause)


def _keys_make_root(patient: Patient, address: str) -> bool:
    """Whether this server makes a root token for the unseal keys alone; asks, begins nothing."""
    with contextlib.closing(Operator(address, None, patient.ca_cert, patient.timeout)) as op:
        try:
            op.request("GET", "sys/generate-root/attempt")
        except HarnessError:
            return False
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
        found.bad("environment-token", where)
        return False
    ttl = int(data.get("ttl") or 0)
    left = f"{ttl} s left" if ttl else "without an end"
    found.good("environment token", where, f"it is good, {left}")
    return True
