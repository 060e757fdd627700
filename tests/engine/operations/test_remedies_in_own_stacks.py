from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.engine.operations.remedy_worlds import RUNNER, World
from vault_harness.certificates import Authority
from vault_harness.errors import KeyringMissing
from vault_harness.local import dialect
from vault_harness.local.vault import cluster
from vault_harness.local.vault.namespace import Namespace
from vault_harness.operator.doctor import Patient, examine
from vault_harness.settings import resources
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow  # each remedy takes a process or two


@pytest.fixture
def other(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.sh(f"{RUNNER} destroy --yes", code=None)


def test_a_namespace_that_a_blueprint_names(other: World) -> None:
    text = (resources() / "blueprints" / "ecommerce.toml").read_text()
    text = text.replace("../policies", str(resources() / "policies"))
    (other.directory / "shop.toml").write_text(
        text.replace("\nname =", '\nnamespace = "a"\nname =')
    )
    other.begin()
    before = other.values()
    other.variables["HARNESS_BLUEPRINT"] = "shop.toml"
    other.sh(f"{RUNNER} root.revoke")
    found = other.troubles()
    assert [kind for kind, _ in found] == ["namespace-missing"]
    assert other.troubles(found[0][1]) == []
    other.sh(f"{RUNNER} root.generate")
    other.keep_root()
    assert before - other.values() == set()


def test_a_blueprint_of_ones_own(other: World) -> None:
    """From any folder `seed` applies the last blueprint again, and nothing of another one."""
    text = (resources() / "blueprints" / "ecommerce.toml").read_text()
    text = text.replace("ecommerce", "shop")
    text = text.replace("../policies", str(resources() / "policies"))
    (other.directory / "shop.toml").write_text(text)
    other.sh(f"{RUNNER} up && {RUNNER} seed --only access --blueprint shop.toml")
    other.keep_root()
    elsewhere = f"cd / && {RUNNER}"
    other.sh(f"{elsewhere} seed")
    before = other.values()
    assert other.troubles("cd /") == []
    assert "0 created, 0 changed" in other.sh(f"{elsewhere} seed")
    with other.op() as op:
        assert "ecommerce/" not in op.request("GET", "sys/mounts")["data"]
    assert other.values() == before


def test_an_unknown_or_sealed_namespace_gets_advice(other: World) -> None:
    other.begin()
    other.variables["VAULT_NAMESPACE"] = "nowhere"
    ((kind, advice),) = other.troubles()
    assert (kind, "correct VAULT_NAMESPACE" in advice) == ("namespace-elsewhere", True)
    with other.op() as op:
        key = Namespace.create(op, "shut")
        key.seal()
    other.variables["VAULT_NAMESPACE"] = "shut"
    ((kind, advice),) = other.troubles()
    assert (kind, "namespace unseal -namespace=root shut" in advice) == ("namespace-sealed", True)


def test_a_server_without_namespaces(
    other: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As HashiCorp Vault without Enterprise; it is told once."""
    other.begin()
    monkeypatch.setattr(dialect, "has_namespaces", lambda _product, _version: False)
    patient = Patient(
        data_dir=other.data_dir,
        blueprint=other.stack.blueprint(),
        addresses=(other.address,),
        namespace="team-a",
    )
    bad = [finding for finding in examine(patient) if finding.bad]
    assert [finding.kind for finding in bad] == ["namespaces-none"]
    assert "unset VAULT_NAMESPACE" in bad[0].remedy


def test_nothing_was_started_yet(other: World) -> None:
    found = other.troubles()
    assert [kind for kind, _ in found] == ["never-started"]
    assert "never-started" not in dict(other.troubles(found[0][1]))


def test_started_and_never_initialised(other: World) -> None:
    """A server that is not initialised, by hand or by a killed task, has a remedy."""
    other.stack.provider().start()
    found = dict(other.troubles())
    assert "uninitialised" not in dict(other.troubles(found["uninitialised"]))


_ENDED = """
import os, signal
from vault_harness.settings import Settings
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault.keyring import Keyring

Keyring.save = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
LocalStack(Settings.from_environment()).up(seal={seal!r})
"""


@pytest.mark.parametrize("seal", ["shamir", "static"])
def test_an_up_that_was_ended_before_it_kept_the_keys(other: World, seal: str) -> None:
    """No backup has these keys; the advice works, with the same seal key."""
    code = shlex.quote(_ENDED.format(seal=seal))
    other.sh(f"{sys.executable} -c {code}", code=-signal.SIGKILL)
    key = other.data_dir / "seal" / "static.key"
    before = key.read_bytes() if seal == "static" else b""

    ((kind, advice),) = other.troubles()

    data = other.data_dir / "vault" / "data"
    assert kind == "keyring-never-kept"
    assert f"give the folder {data} another name" in advice
    assert f"{RUNNER} restore.keys" not in advice
    assert f"{RUNNER} destroy" not in advice
    assert other.sh(f"{RUNNER} status").splitlines()[-1].startswith(f"next: {RUNNER} up")
    other.sh(f"{RUNNER} seed", code=KeyringMissing.exit_code)
    other.sh(f"{RUNNER} down && mv {shlex.quote(str(data))} aside && {RUNNER} up && {RUNNER} seed")
    assert other.troubles() == []
    assert (key.read_bytes() if seal == "static" else b"") == before


def test_the_data_directory_is_gone_while_vault_runs(other: World) -> None:
    """The advice does not start a new Vault; with the folder back, all is well."""
    other.begin()
    away = other.directory / "put away"
    other.data_dir.rename(away)
    try:
        ((kind, advice),) = other.troubles()
        assert kind == "data-gone"
        assert RUNNER not in advice
    finally:
        if other.data_dir.exists():
            other.data_dir.rename(other.directory / "made by looking")
        away.rename(other.data_dir)
    assert other.troubles() == []


def test_a_frozen_vault_whose_keys_are_lost(other: World) -> None:
    """It is resumed, not ended, since it could not be opened again."""
    other.begin()
    before = other.values()
    keyring = other.data_dir / "init.json"
    kept = keyring.rename(other.directory / "kept.json")
    other.pause("vault")
    ((kind, advice),) = other.troubles()
    assert kind == "frozen-without-keys"
    assert f"{RUNNER} down" not in advice
    other.sh(f"{RUNNER} up", code=KeyringMissing.exit_code)
    assert other.troubles()[0][0] == "keyring-missing"
    kept.rename(keyring)
    assert other.troubles() == []
    assert other.values() == before


def test_an_audit_log_that_cannot_be_written(other: World) -> None:
    """It makes Vault refuse everything: the token is not the cause."""
    other.begin()
    before, log = other.values(), other.stack.provider().audit_path
    assert log is not None
    kept = log.rename(log.with_name("kept.log"))
    log.mkdir()
    other.stack.provider().reload_vault()
    wait_until(lambda: other.troubles() != [], "the doctor to meet that", timeout=60)
    ((kind, advice),) = other.troubles()
    assert kind == "refuses"
    assert "audit log" in advice
    assert RUNNER not in advice
    log.rmdir()
    kept.rename(log)
    other.stack.provider().reload_vault()
    wait_until(lambda: other.troubles() == [], "the doctor to find nothing", timeout=60)
    assert other.values() == before


@pytest.mark.usefixtures("haproxy")
def test_a_node_of_three_that_is_sealed(other: World) -> None:
    """It is found although clients use another node."""
    other.begin("up --ha")
    before = other.values()
    endpoints = other.stack.endpoints()
    with cluster.operators(endpoints.addresses, token=other.root) as nodes:
        leader = cluster.wait_for_active(nodes, timeout=60)
        standby = next(node for node in nodes if node is not leader)
        standby.seal()
        ((kind, remedy),) = other.troubles()
    assert (kind, remedy) == ("node-sealed", f"{RUNNER} unseal")
    other.sh(remedy)
    wait_until(lambda: other.troubles() == [], "the doctor to find nothing", timeout=60)
    assert other.values() == before


_KILLED = """
import os, signal
from vault_harness.settings import Settings
from vault_harness.local.stack.local import LocalStack

def checkpoint(step):
    if step == "gave the keys":
        os.kill(os.getpid(), signal.SIGKILL)

LocalStack(Settings.from_environment()).migrate_seal("static", checkpoint=checkpoint)
"""


def test_a_seal_that_was_half_exchanged(other: World) -> None:
    other.begin()
    before = other.values()
    other.sh(f"{sys.executable} -c {shlex.quote(_KILLED)}", code=-signal.SIGKILL)

    (kind, remedy), *_ = other.troubles()

    assert (kind, remedy) == ("seal-half-migrated", f"{RUNNER} seal.migrate static")
    other.sh(remedy)
    assert other.troubles() == []
    assert other.values() == before


@pytest.mark.usefixtures("haproxy")
@pytest.mark.skipif(sys.platform != "linux", reason="processes are cut off on Linux alone")
def test_a_node_that_is_cut_off(other: World) -> None:
    other.begin("up --ha --cuttable")
    before = other.values()
    other.sh(f"{RUNNER} node.cut vault-2")
    ((kind, remedy),) = other.troubles()
    assert (kind, remedy) == ("node-cut", f"{RUNNER} node.join vault-2")
    other.sh(remedy)
    wait_until(lambda: other.troubles() == [], "the doctor to find nothing", timeout=60)
    assert other.values() == before


@pytest.mark.parametrize("life", [timedelta(days=13), -timedelta(minutes=1)], ids=["near", "over"])
def test_a_certificate_near_its_end(other: World, life: timedelta) -> None:
    other.begin("up --tls")
    before = other.values()
    assert other.troubles() == []
    authority = Authority.load(other.stack.authority_directory)
    authority.issue(other.data_dir / "tls", "127.0.0.1", life=life)
    other.stack.provider().reload_vault()
    wait_until(lambda: other.troubles() != [], "the doctor to meet that certificate", timeout=60)
    ((kind, remedy),) = other.troubles()
    assert (kind, remedy) == ("certificate-ends", f"{RUNNER} tls.renew")
    other.sh(remedy)
    assert other.troubles() == []
    assert other.values() == before


def test_missing_and_ending_client_certificates_are_renewed(other: World) -> None:
    other.begin("up --client-certs")
    before = other.values()
    assert other.troubles() == []
    authority = Authority.load(other.stack.authority_directory / "clients")
    own, service = (
        other.data_dir / "tls" / "operator.pem",
        other.data_dir / "backend-certificate.pem",
    )
    for days, broken in (
        (timedelta(days=13), "ends"),
        (-timedelta(minutes=1), "ends"),
        (None, "missing"),
    ):
        for file, name in ((service, "backend"), (own, "operator")):
            file.unlink() if days is None else authority.issue_client(file, name, life=days)
            ((kind, remedy),) = other.troubles()
            assert (kind, remedy) == (f"client-certificate-{broken}", f"{RUNNER} tls.renew")
            other.sh(remedy)
            assert other.troubles() == []
    assert other.values() == before
