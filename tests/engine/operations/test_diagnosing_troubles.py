"""The doctor names each trouble and what repairs it; `test_remedies` runs the commands."""

from __future__ import annotations

import http.server
import json
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
from vault_harness.errors import OperatorError
from vault_harness.local import dialect
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import Applying, apply
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.root import generate_root, revoke_root
from vault_harness.local.vault.tokens import operator_token
from vault_harness.operator.doctor import (
    CheckResult,
    DockerView,
    Patient,
    ServiceView,
    State,
    examine,
    look_at_docker,
)
from vault_harness.settings import Settings
from vault_harness.waiting import wait_until

NOBODY = "http://127.0.0.1:1"
HOUR = timedelta(hours=1)
ACCESS = "invoke seed --only access"


@pytest.fixture
def patient(stack: Stack, tmp_path: Path) -> Patient:
    return healthy(stack, tmp_path)


@pytest.fixture
def visitor(shared: Stack, tmp_path: Path) -> Patient:
    """A healthy shared stack, for tests that change nothing in Vault."""
    return healthy(shared, tmp_path)


def healthy(stack: Stack, tmp_path: Path) -> Patient:
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir(mode=0o700)
    stack.keyring.save(data_dir / "init.json")
    for role in stack.blueprint.approles:
        approle.write_credentials(stack.operator, role, data_dir)
    return Patient(
        data_dir=data_dir,
        blueprint=stack.blueprint,
        addresses=(stack.node.address,),
        services=(ServiceView("vault", running=True), ServiceView("toxiproxy", running=True)),
    )


def bad(patient: Patient) -> dict[str, CheckResult]:
    return {each.name: each for each in examine(patient) if each.bad}


def only(patient: Patient, kind: str) -> CheckResult:
    found = [each for each in examine(patient) if each.bad]
    assert [each.kind for each in found] == [kind], found
    return found[0]


def test_a_healthy_stack_has_nothing_wrong(visitor: Patient) -> None:
    """No check costs a login, and Docker is not asked."""

    def never() -> DockerView:
        raise AssertionError("nobody should ask")

    results = examine(replace(visitor, docker=never))
    assert [finding for finding in results if finding.state is not State.GOOD] == []
    checked = {finding.name.split()[0] for finding in results}
    assert checked >= {
        *("running", "answers", "clock", "initialised", "keyring", "sealed", "token", "mount"),
        *("audit", "policy", "role", "role-id", "secret-id", "secret"),
    }


def away() -> DockerView:
    settings = Settings.from_environment(engine="docker")
    return look_at_docker(settings)


def on_docker(view: DockerView) -> dict[str, Any]:
    return {"engine": "docker", "docker": lambda: view}


@pytest.mark.parametrize(
    ("kind", "changes", "remedy"),
    [
        ("never-started", {"addresses": (), "services": ()}, "invoke up"),
        ("not-running", {"services": (ServiceView("vault", running=False),)}, "invoke up"),
        ("refused", {"addresses": (NOBODY,)}, "invoke up"),
        ("refused-elsewhere", {"addresses": (NOBODY,), "engine": "external"}, "VAULT_ADDR"),
        ("engine-away", {"engine": "docker", "docker": away}, "HARNESS_ENGINE=process"),
        (
            "image-missing",
            on_docker(DockerView(True, missing_images=("image:1",))),
            "invoke images",
        ),
        (
            "image-outdated",
            on_docker(DockerView(True, outdated_images=("image:1",))),
            "invoke images",
        ),
        ("clock", {"now": lambda: datetime.now(UTC) + HOUR}, "timedatectl"),
        ("clock", {"now": lambda: datetime.now(UTC) - HOUR}, "timedatectl"),
        (
            "mount-of-environment",
            {"environ": {"VAULT_MOUNT_POINT": "secret"}},
            "export VAULT_MOUNT_POINT=ecommerce",
        ),
        (
            "ids-of-nobody",
            {"environ": {"VAULT_ROLE_ID": "of another Vault", "VAULT_SECRET_ID": "x"}},
            "the task env prints",
        ),
    ],
)
def test_around_vault(
    visitor: Patient,
    kind: str,
    changes: dict[str, Any],
    remedy: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Advice for a person is no command."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    found = only(replace(visitor, **changes), kind)
    assert remedy in found.remedy
    assert found.runnable is found.remedy.startswith(("invoke ", "export "))
    assert "destroy" not in found.remedy


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


def test_a_server_that_is_no_vault(visitor: Patient, http_address: str, https_address: str) -> None:
    found = only(replace(visitor, addresses=(http_address,)), "not-vault")
    assert "VAULT_ADDR" in found.remedy
    found = only(replace(visitor, addresses=(https_address,)), "certificate")
    assert "VAULT_CACERT" in found.remedy


def test_one_node_of_several_is_away(visitor: Patient) -> None:
    lease = PortLease()
    gone = replace(visitor, addresses=(f"http://127.0.0.1:{lease.port}", *visitor.addresses))
    assert str(lease.port) in only(gone, "refused").looked_at
    lease.release()


def test_it_was_never_initialised(visitor: Patient, engine: Engine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="new", directory=tmp_path / "new"))
    node.start()
    found = only(replace(visitor, addresses=(node.address,)), "uninitialised")
    assert found.remedy == "invoke up"
    node.kill()


def test_it_is_sealed(patient: Patient, stack: Stack) -> None:
    stack.operator.seal()
    assert only(patient, "sealed").remedy == "invoke unseal"
    patient.keyring_path.unlink()
    found = bad(patient)
    assert {name: each.remedy for name, each in found.items()} == {
        "keyring": "invoke restore.keys",
        "sealed": "invoke restore.keys",
    }


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("https://me:pw@vault.corp:8200", False),
        ("not a url", False),
        ("http://127.0.0.1:many", False),
        ("https://127.0.0.1:18200", False),
        ("http://localhost:18200", True),
        ("http://127.0.0.1:18200/", True),
    ],
)
def test_whether_an_address_is_of_this_stack(visitor: Patient, url: str, here: bool) -> None:
    proxied = "http://127.0.0.1:18200"
    looked = replace(visitor, proxied=proxied, environ={"VAULT_ADDR": url})
    if here:
        assert bad(looked) == {}
        return
    found = only(looked, "address-of-environment")
    assert "pw" not in str(found)
    assert found.remedy == f"export VAULT_ADDR={proxied}"


# Tokens


def test_the_token_of_the_environment_expired(patient: Patient, stack: Stack) -> None:
    made = stack.operator.request("POST", "auth/token/create", ttl="1h")["auth"]
    here = replace(patient, environ={"VAULT_TOKEN": made["client_token"]})
    assert bad(here) == {}
    stack.operator.request("POST", "auth/token/revoke", token=made["client_token"])
    found = only(here, "environment-token")
    assert made["client_token"] not in str(found)


def test_root_is_revoked_and_the_operators_token_lost(patient: Patient, stack: Stack) -> None:
    """Without a good token the doctor says how to get one, and logs in once per role."""
    revoke_root(stack.operator, patient.keyring_path, ["ecommerce"], patient.data_dir)
    assert bad(patient) == {}
    (patient.data_dir / "operator-token").unlink()
    assert only(patient, "no-token-for-root").remedy == "invoke restore.keys"
    looked = {each.name for each in examine(patient)}
    assert looked >= {"secret-id backend", "secret-id ai-services"}


def test_a_remedy_under_the_operators_token_makes_root_for_itself(
    patient: Patient, stack: Stack
) -> None:
    revoke_root(stack.operator, patient.keyring_path, ["ecommerce"], patient.data_dir)
    op = VaultAdmin(stack.node.address, operator_token(patient.data_dir))
    generate_root(op, patient.keyring_path, patient.data_dir)
    root = op.with_token(Keyring.load(patient.keyring_path).root_token)
    root.request("DELETE", "sys/policies/acl/backend")
    revoke_root(root, patient.keyring_path, ["ecommerce"], patient.data_dir)
    remedy = only(patient, "policy-missing").remedy
    assert remedy == f"invoke root.generate && {ACCESS} && invoke root.revoke"


def opened(engine: Engine, patient: Patient, **wanted: Any) -> tuple[VaultAdmin, Patient]:
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
    return root, replace(patient, addresses=(node.address,))


def test_the_unseal_keys_alone_make_a_root_token(engine: Engine, visitor: Patient) -> None:
    """On a server that needs no other token, as HashiCorp Vault."""
    lease = PortLease()
    listener = {
        "address": f"127.0.0.1:{lease.port}",
        "tls_disable": True,
        "disable_unauthed_generate_root_endpoints": False,
    }
    lease.release()
    more = {"listener": {"tcp": listener}}
    root, here = opened(engine, visitor, port=lease.port, extra=more)
    before = Kv(root).read("backend/django").data
    root.request("POST", "auth/token/revoke-self")
    assert only(here, "no-token").remedy == "invoke root.generate"
    generate_root(VaultAdmin(here.addresses[0]), here.keyring_path, here.data_dir)
    assert bad(here) == {}
    made = Keyring.load(here.keyring_path)
    assert Kv(root.with_token(made.root_token)).read("backend/django").data == before


# What Vault contains


@pytest.mark.parametrize("by_api", [True, False])
def test_nothing_is_audited(
    engine: Engine, visitor: Patient, monkeypatch: pytest.MonkeyPatch, by_api: bool
) -> None:
    """Where the API makes audit devices the remedy is to seed; elsewhere there is only advice."""
    extra = {"unsafe_allow_api_audit_creation": True} if by_api else {}
    root, here = opened(engine, visitor, audit=False, extra=extra)
    if not by_api:
        assert "configuration file" in only(here, "audit-off-by-configuration").remedy
        return
    monkeypatch.setattr(dialect, "of_seal_status", lambda _status: dialect.VAULT)
    assert only(here, "audit-off").remedy == "invoke seed"
    apply(root, here.blueprint, Applying(audit_path="audit.log"), environ={})
    assert bad(here) == {}


def test_the_secrets_are_in_another_mount(patient: Patient, stack: Stack) -> None:
    """They are moved back, even if an empty mount took their place."""
    op = stack.operator
    op.request("POST", "sys/remount", **{"from": "ecommerce", "to": "elsewhere"})
    moved = lambda: "elsewhere/" in op.request("GET", "sys/mounts")["data"]  # noqa: E731
    wait_until(moved, "the mount to be moved", timeout=10)
    back = "invoke vault -- secrets move elsewhere/ ecommerce/"
    found = only(patient, "mount-moved")
    assert found.remedy == back
    assert "elsewhere/ has 12 of its 12 secrets" in found.seen
    assert "seed --new-values" in found.instead

    op.request("POST", "sys/mounts/ecommerce", type="kv", options={"version": "2"})
    aside = "invoke vault -- secrets move ecommerce/ ecommerce-kv/"
    assert only(patient, "mount-moved").remedy == f"{aside} && {back}"


def test_some_paths_in_another_mount_are_no_moved_secrets(patient: Patient, stack: Stack) -> None:
    """A foreign mount with a few of the same paths stays where it is."""
    op = stack.operator
    op.request("POST", "sys/mounts/other", type="kv", options={"version": "2"})
    for path in ("backend/django", "shared/stripe"):
        Kv(op, "other").write(path, {"A": "x"}, cas=0)
    op.request("DELETE", "sys/mounts/ecommerce")
    assert only(patient, "mount-missing").remedy == "invoke seed"
    op.request("POST", "sys/mounts/ecommerce", type="kv", options={"version": "1"})
    assert "kv version 1" in only(patient, "mount-unversioned").seen


def test_what_is_not_as_in_the_blueprint(patient: Patient, stack: Stack) -> None:
    """Each difference is found beside the others."""
    op, text = stack.operator, 'path "other" { capabilities = ["read"] }'
    op.request("POST", "sys/policies/acl/backend", policy=text)
    op.request("DELETE", "sys/policies/acl/ai-services")
    op.request("POST", "auth/approle/role/backend", token_policies=["default"])
    op.request("DELETE", "auth/approle/role/api-gateway")
    op.request("DELETE", "ecommerce/metadata/ai/anthropic")
    op.request("DELETE", "ecommerce/data/ai/huggingface")
    op.request("POST", "ecommerce/destroy/ai/openai", versions=[1])
    op.request("POST", "ecommerce/data/backend/redis", data={"REDIS_PASSWORD": "x"})
    found = bad(patient)
    assert {each.kind: each.remedy for each in found.values()} == {
        "policy-unlike": ACCESS,
        "policy-missing": ACCESS,
        "role-unlike": ACCESS,
        "role-missing": ACCESS,
        "secret-missing": "invoke seed",
        "secret-deleted": "invoke vault -- kv undelete -versions=1 ecommerce/ai/huggingface",
        "secret-destroyed": "invoke seed",
        "secret-incomplete": "invoke seed",
    }
    assert found["secret ecommerce/backend/redis"].seen == "it has no REDIS_URL"
    own, *lacking, more = found["policy backend"].details
    assert own == f"+{text}"
    assert {line[0] for line in lacking} == {"-"}
    assert more.endswith("lines more: invoke vault -- policy read backend")


# Credentials


def locked_roles(stack: Stack) -> int:
    return len(approle.locked(stack.operator))


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_role_id_and_secret_id_are_wrong(
    patient: Patient, stack: Stack, content: str | None
) -> None:
    """Ten checks of missing or wrong files lock no role."""
    for path in approle.credential_files("backend", patient.data_dir):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
    for _ in range(10):
        found = bad(patient)
    assert {name: each.remedy for name, each in found.items()} == {
        "role-id backend": ACCESS,
        "secret-id backend": "invoke rotate.secret-id backend",
    }
    assert "nonsense" not in str(found)
    assert locked_roles(stack) == 0


def test_a_locked_role_is_named(patient: Patient, stack: Stack) -> None:
    """Its credentials are still good."""
    role_id = approle.role_id(stack.operator, "backend")
    for _ in range(6):
        with pytest.raises(OperatorError), stack.operator.asking("log in") as client:
            client.auth.approle.login(role_id, "wrong", use_token=False)
    assert only(patient, "role-locked").remedy == "invoke unlock backend"


def test_without_a_token_bad_credentials_are_tried_once(patient: Patient, stack: Stack) -> None:
    """Ten runs of the doctor make one login, so that checking locks no role."""
    revoke = replace(patient, engine="external")
    patient.keyring_path.unlink()
    _, secret_file = approle.credential_files("backend", patient.data_dir)
    secret_file.write_text("wrong")
    first = bad(revoke)
    assert first["secret-id backend"].remedy == "invoke rotate.secret-id backend"
    for _ in range(9):
        again = {each.name: each for each in examine(revoke)}
        assert again["secret-id backend"].state is State.UNKNOWN
    assert locked_roles(stack) == 0
    log = stack.node.audit_path
    assert log is not None
    role_id_logins = [
        json.loads(line)
        for line in log.read_text().splitlines()
        if '"path":"auth/approle/login"' in line and '"type":"request"' in line
    ]
    hashed = stack.operator.client.sys.calculate_hash("file", "wrong")["data"]["hash"]
    assert sum(r["request"]["data"]["secret_id"] == hashed for r in role_id_logins) == 1
    later = replace(revoke, now=lambda: datetime.now(UTC) + timedelta(minutes=16))
    assert "secret-id backend" in bad(later)


def test_credentials_of_the_environment(patient: Patient, stack: Stack) -> None:
    role_file, secret_file = approle.credential_files("backend", patient.data_dir)
    good = {"VAULT_ROLE_ID": role_file.read_text(), "VAULT_SECRET_ID": secret_file.read_text()}
    files = {"VAULT_ROLE_ID_FILE": str(role_file), "VAULT_SECRET_ID_FILE": str(secret_file)}
    assert bad(replace(patient, environ=good)) == {}
    assert bad(replace(patient, environ=files)) == {}
    for environ, kind in (
        ({**good, "VAULT_SECRET_ID": "wrong"}, "ids-bad"),
        ({**good, "VAULT_ROLE_ID": "wrong"}, "ids-of-nobody"),
        ({**files, "VAULT_SECRET_ID_FILE": "/nowhere"}, "ids-bad"),
    ):
        found = only(replace(patient, environ=environ), kind)
        assert kind != "ids-bad" or found.remedy == 'eval "$(invoke env backend)"'
    assert locked_roles(stack) == 0


def test_a_certificate_of_others_near_its_end(
    engine: Engine, patient: Patient, tmp_path: Path
) -> None:
    authority = Authority()
    tls = TlsFiles.within(tmp_path / "tls")
    node = engine.node(NodeSpec(name="theirs", directory=tmp_path / "theirs", tls=tls))
    authority.issue(tmp_path / "tls", *node.hosts, life=timedelta(days=15))
    node.start()
    theirs = replace(patient, engine="external", addresses=(node.address,), ca_cert=tls.ca)
    name = "certificate"
    assert name not in bad(theirs)
    found = bad(replace(theirs, now=lambda: datetime.now(UTC) + timedelta(days=2)))[name]
    assert (found.kind, found.runnable) == ("certificate-ends-elsewhere", False)


def test_nothing_secret_is_in_any_finding(patient: Patient, stack: Stack) -> None:
    text = str(examine(patient))
    secrets = [*stack.keyring.keys, stack.keyring.root_token]
    for role in Blueprint.default().approles:
        secrets += [path.read_text() for path in approle.credential_files(role, patient.data_dir)]
    assert not [secret for secret in secrets if secret in text]
