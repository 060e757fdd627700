"""Client certificates: who signs them, who is trusted, and how a half-done change continues."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from vault_harness.certificates import Authority, TlsFiles, in_file
from vault_harness.cli.operator import environment_for
from vault_harness.errors import StackError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.dialect import OPENBAO
from vault_harness.local.engine.docker.inside import INSIDE, write_configuration
from vault_harness.local.engine.provider import NODE_NAME, Endpoints, NodeEndpoint
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.local.stack.certificates import ClientCertificates
from vault_harness.local.stack.data_dir import hand_out_tls, service_directory
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.settings import Settings

BLUEPRINT = Blueprint.default()
NODE = NodeEndpoint(
    name=NODE_NAME,
    address="https://127.0.0.1:8200",
    proxy="https://127.0.0.1:8201",
    proxy_listen="127.0.0.1:8201",
    upstream="127.0.0.1:8200",
)


@pytest.fixture
def clients(tmp_path: Path) -> ClientCertificates:
    """A stack with ids of the role backend, whose servers are about to start."""
    for file in approle.credential_files("backend", tmp_path):
        file.write_text("an id")
    made = ClientCertificates(tmp_path)
    made.prepare()
    return made


def trusted(data_dir: Path) -> tuple[bytes, ...]:
    """Return the authorities that a server trusts if it starts now."""
    return in_file(data_dir / "tls" / "clients.pem")


def signer(data_dir: Path, file: Path) -> bytes:
    shown = x509.load_pem_x509_certificate(file.read_bytes())
    for each in trusted(data_dir):
        authority = x509.load_der_x509_certificate(each)
        if authority.subject == shown.issuer:
            shown.verify_directly_issued_by(authority)
            return each
    return b""


def test_two_are_trusted_and_the_first_signs(tmp_path: Path, clients: ClientCertificates) -> None:
    """The second will sign next."""
    clients.issue_missing(BLUEPRINT)
    signing, _following = trusted(tmp_path)
    files = clients.files(BLUEPRINT)
    assert {"operator", "balancer", "recorder", "backend", "celery_worker"} <= set(files)
    assert {signer(tmp_path, file) for file in files.values()} == {signing}
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}


def test_services_without_ids_have_none(tmp_path: Path, clients: ClientCertificates) -> None:
    clients.issue_missing(BLUEPRINT)
    assert approle.certificate_file("backend", tmp_path).exists()
    assert not approle.certificate_file("api_gateway", tmp_path).exists()


def test_ids_of_a_namespace_count(tmp_path: Path, clients: ClientCertificates) -> None:
    """The certificate is in the common folder."""
    ids = tmp_path / "namespaces" / "team-a+shop"
    ids.mkdir(parents=True)
    for file in approle.credential_files("api-gateway", ids):
        file.write_text("an id")
    clients.issue_missing(BLUEPRINT)
    assert approle.certificate_file("api_gateway", tmp_path).exists()
    assert not approle.certificate_file("ai_services", tmp_path).exists()


def test_prepared_again_nothing_changes(tmp_path: Path, clients: ClientCertificates) -> None:
    """Only expired certificates are renewed."""
    before = trusted(tmp_path)
    own = {name: clients.files(BLUEPRINT)[name] for name in ("operator", "recorder")}
    texts = {name: file.read_text() for name, file in own.items()}
    Authority().issue_client(own["recorder"], "recorder", life=-timedelta(minutes=1))
    clients.prepare()
    assert trusted(tmp_path) == before
    assert own["operator"].read_text() == texts["operator"]
    assert signer(tmp_path, own["recorder"]) == before[0]


def test_an_exchange_switches_to_a_trusted_authority(
    tmp_path: Path, clients: ClientCertificates
) -> None:
    """The old authority is trusted one round longer."""
    first, second = trusted(tmp_path)
    clients.exchange(BLUEPRINT)
    _, third, last = trusted(tmp_path)
    assert trusted(tmp_path) == (second, third, first)
    assert last == first
    files = clients.files(BLUEPRINT).values()
    assert {signer(tmp_path, file) for file in files} == {second}
    clients.renew(BLUEPRINT)
    assert trusted(tmp_path) == (second, third)
    assert {signer(tmp_path, file) for file in files} == {second}


def test_an_interrupted_exchange_continues(tmp_path: Path, clients: ClientCertificates) -> None:
    """The old authority stays trusted."""
    first, second = trusted(tmp_path)
    authority = tmp_path / "authority"
    (authority / "clients").rename(authority / "clients-before")
    clients.prepare()
    assert trusted(tmp_path)[0] == second
    assert first in trusted(tmp_path)
    clients.renew(BLUEPRINT)
    assert first not in trusted(tmp_path)
    assert {signer(tmp_path, f) for f in clients.files(BLUEPRINT).values()} == {second}


def test_a_server_that_would_refuse_it_stops_an_exchange(
    tmp_path: Path, clients: ClientCertificates
) -> None:
    """Nothing is changed."""
    before = trusted(tmp_path)
    there = set(tmp_path.rglob("*"))
    with pytest.raises(StackError, match="would refuse") as caught:
        clients.check_exchange([replace(NODE, address="https://127.0.0.1:1")])
    assert "restart" in caught.value.remedy
    assert trusted(tmp_path) == before
    assert set(tmp_path.rglob("*")) == there


@pytest.fixture
def stack(
    tmp_path: Path, clients: ClientCertificates, monkeypatch: pytest.MonkeyPatch
) -> LocalStack:
    """A stack that is up by its record and files."""
    clients.issue_missing(BLUEPRINT)
    files = Authority().issue(tmp_path / "tls", "127.0.0.1")
    endpoints = Endpoints(nodes=(NODE,), toxiproxy="http://127.0.0.1:1", ca_cert=files.ca)
    StackRecord(engine="process", endpoints=endpoints, tls=True, client_certs=True).save(tmp_path)
    found = LocalStack(Settings.from_environment(data_dir=tmp_path, engine="process"))
    monkeypatch.setattr(found, "endpoints", lambda: endpoints)
    return found


def test_env_names_what_a_service_shows(tmp_path: Path, stack: LocalStack) -> None:
    """Certificate and key are one file, beside the CA."""
    variables = service_environment(stack, "celery_worker", blueprint=BLUEPRINT)
    file = str(tmp_path / "celery_worker-certificate.pem")
    assert (variables["VAULT_CLIENT_CERT"], variables["VAULT_CLIENT_KEY"]) == (file, file)
    assert variables["VAULT_CACERT"] == str(tmp_path / "tls" / "ca.pem")


def test_env_says_what_is_missing(tmp_path: Path, stack: LocalStack) -> None:
    approle.certificate_file("backend", tmp_path).unlink()
    with pytest.raises(StackError, match="refuses clients without a certificate") as caught:
        service_environment(stack, "backend", blueprint=BLUEPRINT)
    assert "tls.renew" in caught.value.remedy


def test_with_plain_tls_there_are_no_client_variables(tmp_path: Path, stack: LocalStack) -> None:
    (tmp_path / "tls" / "clients.pem").unlink()
    variables = service_environment(stack, "backend", blueprint=BLUEPRINT)
    assert not any("CLIENT" in name for name in variables)


def test_the_command_line_has_the_tasks_own(tmp_path: Path, stack: LocalStack) -> None:
    """The operator's certificate, under both products' names."""
    ca = TlsFiles.within(tmp_path / "tls").ca
    given = environment_for(
        VaultAdmin(NODE.address, "t", ca), {"VAULT_CLIENT_CERT": "/other"}, ca_cert=ca
    )
    own = str(tmp_path / "tls" / "operator.pem")
    names = [f"{p}_CLIENT_{what}" for p in ("VAULT", "BAO") for what in ("CERT", "KEY")]
    assert [given[name] for name in names] == [own] * 4
    assert stack.client_certificates()["operator"] == Path(own)


def test_a_service_in_a_container_has_it_in_its_own_folder(
    tmp_path: Path, stack: LocalStack
) -> None:
    """It has a fixed name beside the CA, and is renewed there."""
    folder = service_directory(tmp_path, "celery_worker")
    folder.mkdir(parents=True)
    hand_out_tls(tmp_path)
    own = tmp_path / "celery_worker-certificate.pem"
    assert (folder / "certificate.pem").read_text() == own.read_text()
    assert (folder / "certificate.pem").stat().st_mode & 0o777 == 0o600
    stack.client_certificates()
    ClientCertificates(tmp_path).renew(BLUEPRINT)
    hand_out_tls(tmp_path)
    assert (folder / "certificate.pem").read_text() == own.read_text()


def test_in_a_container_the_same_is_asked(tmp_path: Path, stack: LocalStack) -> None:
    tls = TlsFiles.within(stack.data_dir / "tls")
    spec = NodeSpec(name="vault", directory=tmp_path / "vault", storage="raft", tls=tls)
    write_configuration(spec, OPENBAO, address=NODE.address, host="vault")
    listener = json.loads((tmp_path / "vault" / "vault.json").read_text())["listener"]["tcp"]
    assert listener["tls_require_and_verify_client_cert"] is True
    inside = Path(listener["tls_client_ca_file"])
    assert inside.is_relative_to(INSIDE)
    for name in (inside.relative_to(INSIDE), Path("tls/operator.pem")):
        assert (tmp_path / "vault" / name).read_bytes() == (tmp_path / name).read_bytes()
