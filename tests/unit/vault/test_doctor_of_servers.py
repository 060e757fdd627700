"""What the doctor finds in servers that are frozen, sealed, leaderless or refuse everything.

No remedy may lose what such a Vault still holds.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.running import serving
from tests.unit.vault.fake_vault import NOBODY_LEADS, Answer, FakeVault, Serve, seal_status
from vault_harness.errors import named
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.doctor import CheckResult, DockerView, Patient, ServiceView, examine

LOST = "the unseal keys are not here"
LOOKUP = "/v1/auth/token/lookup-self"


@pytest.fixture
def frozen() -> Iterator[str]:
    """The address of a server that accepts connections and answers nothing."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    tmp_path.chmod(0o700)
    Keyring(("a", "b", "c", "d", "e"), 3, "t").save(tmp_path / "init.json")
    return Patient(
        data_dir=tmp_path,
        blueprint=Blueprint.default(),
        services=(ServiceView("vault", running=True),),
        timeout=0.3,
    )


def opened(vault: FakeVault) -> FakeVault:
    vault.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=False)
    vault.answers["/v1/sys/health"] = (200, {}, {})
    return vault


def bad(patient: Patient) -> dict[str, CheckResult]:
    return {each.kind: each for each in examine(patient) if each.bad}


def test_a_frozen_vault_is_restarted(patient: Patient, frozen: str) -> None:
    """Its keys are at hand."""
    found = bad(replace(patient, addresses=(frozen,)))
    assert found["frozen"].remedy == f"{named('down')} && {named('up')}"


def test_a_frozen_vault_whose_keys_are_lost_is_not_ended(patient: Patient, frozen: str) -> None:
    """It may be unsealed, so no remedy stops it."""
    found = bad(replace(patient, addresses=(frozen,), lost_by_ending=lambda: LOST))
    assert list(found) == ["frozen-without-keys"]
    finding = found["frozen-without-keys"]
    assert LOST in finding.seen
    assert finding.remedy.startswith("do not stop it")
    assert named("down") not in finding.remedy
    assert not finding.runnable


@pytest.mark.parametrize("sealed", [True, False])
def test_keys_that_an_ended_up_has_not_kept(patient: Patient, serve: Serve, sealed: bool) -> None:
    """No backup has them, so none is proposed."""
    patient.keyring_path.unlink()
    vault = opened(serve())
    if sealed:
        vault.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=True)
    here = replace(patient, addresses=(vault.address,), keys_never_kept="what gets on")
    found = bad(here)
    assert list(found) == ["keyring-never-kept"]
    assert found["keyring-never-kept"].remedy == "what gets on"
    assert not any(named("restore.keys") in each.remedy for each in examine(here))


def test_a_frozen_vault_of_others(patient: Patient, frozen: str) -> None:
    """No task of the stack is proposed."""
    found = bad(replace(patient, addresses=(frozen,), services=(), engine="external"))
    assert list(found) == ["frozen-elsewhere"]
    assert not found["frozen-elsewhere"].runnable


@pytest.mark.parametrize("lost", ["", LOST])
def test_an_image_is_exchanged_where_vault_opens_again(patient: Patient, lost: str) -> None:
    """The remedy for an old image restarts Vault only if its keys are here."""
    view = DockerView(engine=True, line="old", outdated_images=("services",))
    docker = replace(patient, engine="docker", docker=lambda: view, lost_by_ending=lambda: lost)
    found = bad(docker)
    kind = "image-outdated-without-keys" if lost else "image-outdated"
    assert kind in found
    assert found[kind].runnable is not bool(lost)
    assert (named("down") in found[kind].remedy) is not bool(lost)


@pytest.mark.parametrize(
    "closed",
    [seal_status(initialized=True, sealed=True), seal_status(initialized=False, sealed=True)],
    ids=["sealed", "no member"],
)
@pytest.mark.parametrize("last", [False, True])
def test_a_node_is_closed_while_another_one_serves(
    serve: Serve, patient: Patient, closed: Answer, last: bool
) -> None:
    """It is reported by its address."""
    one, other = opened(serve()), serve()
    other.answers["/v1/sys/seal-status"] = closed
    addresses = (one.address, other.address) if last else (other.address, one.address)
    found = bad(replace(patient, addresses=addresses))
    assert found["node-sealed"].name == f"node {other.address}"
    assert found["node-sealed"].remedy == named("unseal")
    assert "sealed" not in found
    assert "uninitialised" not in found


def test_without_a_leader_no_remedy_replaces_keys(
    serve: Serve, patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is known of the tokens."""
    monkeypatch.setattr("vault_harness.local.vault.tokens.LEADER_SECONDS", 0.1)
    vault = opened(serve())
    vault.answers[LOOKUP] = NOBODY_LEADS
    found = bad(replace(patient, addresses=(vault.address,)))
    assert list(found) == ["no-leader"]
    assert "active cluster node not found" in found["no-leader"].seen
    assert not found["no-leader"].runnable


@pytest.mark.parametrize("refusing", [False, True])
def test_none_of_three_leads(
    serve: Serve, patient: Patient, monkeypatch: pytest.MonkeyPatch, refusing: bool
) -> None:
    """One finding, even if they answer reads."""
    monkeypatch.setattr("vault_harness.operator.doctor.server._ELECTION_SECONDS", 0.1)
    monkeypatch.setattr("vault_harness.local.vault.tokens.LEADER_SECONDS", 0.1)
    nodes = [opened(serve()) for _ in range(3)]
    for node in nodes:
        node.answers["/v1/sys/health"] = (429, {}, {})
        node.answers[LOOKUP] = (200, {"data": {"policies": ["root"]}}, {})
        node.answers["/v1/sys/mounts"] = (403, {"errors": ["permission denied"]}, {})
        if refusing:
            node.answers[LOOKUP] = NOBODY_LEADS
    found = [
        each.kind
        for each in examine(replace(patient, addresses=tuple(node.address for node in nodes)))
        if each.bad
    ]
    assert found == ["no-leader"]


@pytest.mark.parametrize("path", [LOOKUP, "/v1/sys/mounts"])
def test_everything_is_refused(serve: Serve, patient: Patient, path: str) -> None:
    """The audit disk is full; the token is not blamed."""
    vault = opened(serve())
    vault.answers[LOOKUP] = (200, {"data": {"policies": ["root"]}}, {})
    vault.answers[path] = (500, {"errors": ["internal error"]}, {})
    found = bad(replace(patient, addresses=(vault.address,)))
    assert list(found) == ["refuses"]
    assert "internal error" in found["refuses"].seen


def test_what_a_narrow_token_may_not_see_is_no_trouble(serve: Serve, patient: Patient) -> None:
    """It is unknown, not wrong."""
    vault = opened(serve())
    vault.answers[LOOKUP] = (200, {"data": {"policies": ["root"]}}, {})
    vault.answers["/v1/sys/mounts"] = (403, {"errors": ["permission denied"]}, {})
    assert bad(replace(patient, addresses=(vault.address,))) == {}


@pytest.mark.parametrize(
    "name",
    [
        "seal/static.key",
        "seal/static.key.20251231-235959",
        "holder/init.json",
        "authority/ca-key.pem",
        "authority/clients/ca-key.pem",
    ],
)
def test_private_keys_that_others_can_read_are_reported(patient: Patient, name: str) -> None:
    file = patient.data_dir / name
    file.parent.mkdir(mode=0o700, parents=True)
    file.write_text("a key")
    file.chmod(0o640)
    (file.parent / "ca.pem").write_text("for everybody")
    found = bad(patient)
    assert found["open-to-others"].looked_at == str(file)
    assert "600" in found["open-to-others"].remedy


@pytest.mark.parametrize(
    ("engine", "kind"),
    [("process", "certificate-early"), ("external", "certificate-early-elsewhere")],
)
def test_a_certificate_of_tomorrow(
    patient: Patient, tmp_path: Path, engine: str, kind: str
) -> None:
    """The clock is wrong, so the remedy is not another CA file."""
    authority, tomorrow = trustme.CA(), datetime.now(UTC) + timedelta(days=1)
    made = authority.issue_cert(
        "127.0.0.1", not_before=tomorrow, not_after=tomorrow + timedelta(days=1)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.configure_cert(context)
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    vault = opened(FakeVault())
    vault.socket = context.wrap_socket(vault.socket, server_side=True)
    with serving(vault):
        found = bad(
            replace(
                patient,
                engine=engine,
                addresses=(vault.address.replace("http:", "https:"),),
                ca_cert=trusted,
                timeout=5.0,
            )
        )
    assert list(found) == [kind]
    assert found[kind].runnable is (engine == "process")
