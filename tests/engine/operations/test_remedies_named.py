from __future__ import annotations

import http.server
import ssl
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.running import Handler, answering, serving
from vault_harness.certificates import Authority, TlsFiles
from vault_harness.errors import named
from vault_harness.local import dialect
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import Applying, apply
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.root.generate import generate_root, revoke_root
from vault_harness.local.vault.root.operator_token import operator_token
from vault_harness.operator.doctor import CheckResult, DockerView, Patient, examine, look_at_docker
from vault_harness.settings import Settings

pytestmark = pytest.mark.slow  # most start a server of their own


@pytest.fixture
def patient(stack: Stack, tmp_path: Path) -> Patient:
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir(mode=0o700)
    stack.keyring.save(data_dir / "init.json")
    for role in stack.blueprint.approles:
        approle.write_credentials(stack.operator, role, data_dir)
    return Patient(data_dir=data_dir, blueprint=stack.blueprint, addresses=(stack.node.address,))


def kinds(patient: Patient) -> dict[str, CheckResult]:
    return {each.kind: each for each in examine(patient) if each.bad}


def opened(engine: Engine, patient: Patient, **wanted: Any) -> tuple[VaultAdmin, Keyring, Patient]:
    """Return a seeded Vault of another configuration, with its keyring in the data directory."""
    directory = patient.data_dir.parent / "server"
    node = engine.node(NodeSpec(name="server", directory=directory, **wanted))
    node.start()
    op = VaultAdmin(node.address)
    keyring = op.init()
    op.unseal(keyring)
    keyring.save(patient.keyring_path)
    root = op.with_token(keyring.root_token)
    apply(root, patient.blueprint, environ={})
    for role in patient.blueprint.approles:
        approle.write_credentials(root, role, patient.data_dir)
    return root, keyring, replace(patient, addresses=(node.address,))


def test_the_unseal_keys_alone_make_a_root_token(engine: Engine, patient: Patient) -> None:
    """On a server that needs no other token, as HashiCorp Vault."""
    lease = PortLease()
    listener = {
        "address": f"127.0.0.1:{lease.port}",
        "tls_disable": True,
        "disable_unauthed_generate_root_endpoints": False,
    }
    lease.release()
    root, keyring, here = opened(
        engine, patient, port=lease.port, extra={"listener": {"tcp": listener}}
    )
    before = Kv(root).read("backend/django").data
    root.request("POST", "auth/token/revoke-self")
    found = kinds(here)["no-token"]
    assert named("root.generate") == found.remedy
    generate_root(VaultAdmin(here.addresses[0]), here.keyring_path, here.data_dir)
    assert "no-token" not in kinds(here)
    made = Keyring.load(here.keyring_path)
    assert made.keys == keyring.keys
    assert Kv(root.with_token(made.root_token)).read("backend/django").data == before


@pytest.mark.parametrize("by_api", [True, False])
def test_nothing_is_audited(
    engine: Engine, patient: Patient, monkeypatch: pytest.MonkeyPatch, by_api: bool
) -> None:
    """Where the API makes audit devices the remedy is to seed; elsewhere there is only advice."""
    extra = {"unsafe_allow_api_audit_creation": True} if by_api else {}
    root, _, here = opened(engine, patient, audit=False, extra=extra)
    if by_api:
        monkeypatch.setattr(dialect, "of_seal_status", lambda _status: dialect.VAULT)
    found = kinds(here)
    assert list(found) == ["audit-off" if by_api else "audit-off-by-configuration"]
    if by_api:
        before = Kv(root).read("backend/django").data
        assert found["audit-off"].remedy == named("seed")
        apply(root, here.blueprint, Applying(audit_path="audit.log"), environ={})
        assert kinds(here) == {}
        assert Kv(root).read("backend/django").data == before


def test_a_certificate_of_others_near_its_end(
    engine: Engine, patient: Patient, tmp_path: Path
) -> None:
    authority = Authority()
    tls = TlsFiles.within(tmp_path / "tls")
    node = engine.node(NodeSpec(name="theirs", directory=tmp_path / "theirs", tls=tls))
    authority.issue(tmp_path / "tls", *node.hosts, life=timedelta(days=15))
    node.start()
    theirs = replace(patient, engine="external", addresses=(node.address,), ca_cert=tls.ca)
    assert "certificate-ends-elsewhere" not in kinds(theirs)
    in_two_days = replace(theirs, now=lambda: datetime.now(UTC) + timedelta(days=2))
    found = kinds(in_two_days)["certificate-ends-elsewhere"]
    assert not found.runnable


def test_advice_for_a_person_names_no_command(
    patient: Patient, monkeypatch: pytest.MonkeyPatch, https_address: str, http_address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    docker = Settings.from_environment(engine="docker")
    later = datetime.now(UTC) + timedelta(hours=1)
    ids = {"VAULT_ROLE_ID": "of another Vault", "VAULT_SECRET_ID": "x"}
    states = {
        "engine-away": replace(patient, engine="docker", docker=lambda: look_at_docker(docker)),
        "clock": replace(patient, now=lambda: later),
        "certificate": replace(patient, addresses=(https_address,)),
        "not-vault": replace(patient, addresses=(http_address,)),
        "ids-of-nobody": replace(patient, environ=ids),
    }
    for kind, state in states.items():
        found = kinds(state)
        assert list(found) == [kind]
        assert not found[kind].runnable
        assert named("").strip() not in found[kind].remedy.split()


@pytest.mark.parametrize("kind", ["image-missing", "image-outdated"])
def test_images_are_built_again(patient: Patient, kind: str) -> None:
    view = DockerView(
        True,
        line="some/image:1",
        **{
            "image-missing": {"missing_images": ("some/image:1",)},
            "image-outdated": {"outdated_images": ("some/image:1",)},
        }[kind],
    )
    found = kinds(replace(patient, engine="docker", docker=lambda: view))
    assert found[kind].remedy.startswith(named("images"))
    assert "destroy" not in found[kind].remedy


class Page(Handler):
    def answer(self) -> None:
        self.say("<html>hello</html>")


@pytest.fixture
def http_address() -> Iterator[str]:
    with answering(Page) as url:
        yield url


@pytest.fixture
def https_address() -> Iterator[str]:
    """The same server with a certificate that is not trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with serving(server):
        yield f"https://127.0.0.1:{server.server_port}"


def test_a_remedy_under_the_operators_token_makes_root_for_itself(
    patient: Patient, stack: Stack
) -> None:
    revoke_root(stack.operator, patient.keyring_path, ["ecommerce"], patient.data_dir)
    text = 'path "other" { capabilities = ["read"] }'
    keyring = Keyring.load(patient.keyring_path)
    assert keyring.root_token == ""
    op = VaultAdmin(stack.node.address, operator_token(patient.data_dir))
    generate_root(op, patient.keyring_path, patient.data_dir)
    root = op.with_token(Keyring.load(patient.keyring_path).root_token)
    root.request("POST", "sys/policies/acl/backend", policy=text)
    revoke_root(root, patient.keyring_path, ["ecommerce"], patient.data_dir)
    commands = kinds(patient)["policy-unlike"].remedy.split(" && ")
    access = named("seed", "--only", "access")
    assert commands == [named("root.generate"), access, named("root.revoke")]
