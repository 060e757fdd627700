"""For every trouble of the guide the doctor names it and the command that repairs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.running import Handler, answering
from vault_harness.errors import OperatorError
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.engine.ports import PortLease
from vault_harness.local.engine.shape import Engine, NodeSpec
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.apply import apply
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.root.generate import revoke_root
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
    return {finding.name: finding for finding in examine(patient) if finding.bad}


def only(patient: Patient, name: str) -> CheckResult:
    found = bad(patient)
    assert list(found) == [name], found
    return found[name]


def test_a_healthy_stack_has_nothing_wrong(visitor: Patient) -> None:
    """No check costs a login."""
    results = examine(visitor)
    assert [finding for finding in results if finding.state is not State.GOOD] == []
    checked = {finding.name.split()[0] for finding in results}
    assert checked >= {
        *("running", "answers", "clock", "initialised", "keyring", "sealed", "token", "mount"),
        *("audit", "policy", "role", "role-id", "secret-id", "secret"),
    }


# Server


def test_nothing_was_ever_started(visitor: Patient) -> None:
    found = only(replace(visitor, addresses=(), services=()), "running")
    assert found.remedy == "invoke up"


def test_vault_does_not_run(patient: Patient, stack: Stack) -> None:
    stack.node.kill()
    services = (ServiceView("vault", running=False), ServiceView("toxiproxy", running=True))
    found = only(replace(patient, services=services), "running")
    assert (found.seen, found.remedy) == ("vault does not run", "invoke up")


def test_the_connection_is_refused(visitor: Patient) -> None:
    lease = PortLease()
    found = only(replace(visitor, addresses=(f"http://127.0.0.1:{lease.port}",)), "answers")
    assert "refused" in found.seen
    assert str(lease.port) in found.looked_at
    lease.release()


def test_vault_is_frozen(patient: Patient, stack: Stack) -> None:
    stack.node.pause()
    try:
        found = only(replace(patient, timeout=0.3), "answers")
    finally:
        stack.node.resume()
    assert "does not answer within 0.3 s" in found.seen
    assert found.remedy == "invoke down && invoke up"


@pytest.fixture
def web_server() -> Iterator[str]:
    class Page(Handler):
        def answer(self) -> None:
            self.say("<html>hello</html>")

    with answering(Page) as url:
        yield url


def test_a_server_that_is_no_vault_is_reported(visitor: Patient, web_server: str) -> None:
    found = only(replace(visitor, addresses=(web_server,)), "answers")
    assert "not Vault" in found.seen
    assert "VAULT_ADDR" in found.remedy


def test_one_node_of_several_is_away(patient: Patient, stack: Stack) -> None:
    lease = PortLease()
    addresses = (f"http://127.0.0.1:{lease.port}", stack.node.address)
    assert str(lease.port) in only(replace(patient, addresses=addresses), "answers").looked_at
    lease.release()


def test_the_remedy_for_an_external_vault_is_its_address(visitor: Patient) -> None:
    lease = PortLease()
    elsewhere = replace(
        visitor, engine="external", services=(), addresses=(f"http://127.0.0.1:{lease.port}",)
    )
    found = only(elsewhere, "answers")
    lease.release()
    assert found.kind == "refused-elsewhere"
    assert "VAULT_ADDR" in found.remedy
    assert not found.runnable


def test_it_was_never_initialised(visitor: Patient, engine: Engine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="new", directory=tmp_path / "new"))
    node.start()
    found = only(replace(visitor, addresses=(node.address,)), "initialised")
    assert found.remedy == "invoke up"
    node.kill()


def test_it_is_sealed(patient: Patient, stack: Stack) -> None:
    stack.operator.seal()
    assert only(patient, "sealed").remedy == "invoke unseal"


def test_it_is_sealed_and_the_keyring_is_lost(patient: Patient, stack: Stack) -> None:
    stack.operator.seal()
    patient.keyring_path.unlink()
    found = bad(patient)
    assert set(found) == {"keyring", "sealed"}
    assert found["keyring"].remedy == "invoke restore.keys"
    assert found["sealed"].remedy == "invoke restore.keys"


def test_the_keyring_is_nonsense_or_open_to_others(visitor: Patient) -> None:
    """A damaged keyring counts as missing; a keyring that others can read is named."""
    visitor.keyring_path.chmod(0o644)
    found = only(visitor, "private init.json")
    assert found.remedy == f"chmod 600 '{visitor.keyring_path}'".replace("'", "")
    assert "0644" in found.seen
    visitor.keyring_path.write_text("{}")
    assert "not a keyring" in bad(visitor)["keyring"].seen


@pytest.mark.parametrize(("hours", "way"), [(1, "ahead of"), (-1, "behind")])
def test_the_clock_is_off(visitor: Patient, hours: int, way: str) -> None:
    def now() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    found = only(replace(visitor, now=now), "clock")
    assert way in found.seen
    assert "timedatectl" in found.remedy


# Docker


def test_docker_is_not_there(visitor: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    settings = Settings.from_environment(engine="docker")
    found = only(
        replace(visitor, engine="docker", docker=lambda: look_at_docker(settings)), "docker"
    )
    assert "no container engine answers" in found.seen
    assert "HARNESS_ENGINE=process" in found.remedy


def test_an_image_is_not_there(visitor: Patient) -> None:
    view = DockerView(engine=True, missing_images=("some/vault:1",), line="some/vault:1 is missing")
    found = only(replace(visitor, engine="docker", docker=lambda: view), "images")
    assert found.looked_at == "some/vault:1"
    assert found.remedy == "invoke images"


def test_docker_is_asked_only_where_it_matters(visitor: Patient) -> None:
    def never() -> DockerView:
        raise AssertionError("nobody should ask")

    assert bad(replace(visitor, docker=never)) == {}


# The way of clients


def test_a_vault_addr_to_another_server_is_reported(visitor: Patient) -> None:
    proxied = "http://127.0.0.1:18200"
    here = replace(
        visitor, proxied=proxied, environ={"VAULT_ADDR": "https://me:pw@vault.corp:8200"}
    )
    found = only(here, "environment address")
    assert "https://vault.corp:8200," in found.seen
    assert "pw" not in str(found)
    assert found.remedy == f"export VAULT_ADDR={proxied}"


@pytest.mark.parametrize("url", ["not a url", "http://127.0.0.1:many", "https://127.0.0.1:18200"])
def test_an_address_that_leads_nowhere(visitor: Patient, url: str) -> None:
    """A URL that is invalid, or TLS to a plain server, does not lead to this stack."""
    here = replace(visitor, proxied="http://127.0.0.1:18200", environ={"VAULT_ADDR": url})
    assert only(here, "environment address").looked_at == "VAULT_ADDR"


@pytest.mark.parametrize("url", ["http://localhost:18200", "http://127.0.0.1:18200/"])
def test_an_address_of_this_stack(visitor: Patient, url: str) -> None:
    proxied = "http://127.0.0.1:18200"
    assert bad(replace(visitor, proxied=proxied, environ={"VAULT_ADDR": url})) == {}


# Tokens


def test_the_token_of_the_environment_expired(patient: Patient, stack: Stack) -> None:
    made = stack.operator.request("POST", "auth/token/create", ttl="1h")["auth"]
    here = replace(patient, environ={"VAULT_TOKEN": made["client_token"]})
    assert bad(here) == {}
    stack.operator.request("POST", "auth/token/revoke", token=made["client_token"])
    found = only(here, "environment token")
    assert "expired" in found.seen
    assert made["client_token"] not in str(found)


def test_root_is_revoked_and_the_operators_token_lost(patient: Patient, stack: Stack) -> None:
    """Without a good token the doctor says how to get one, and logs in once per role."""
    revoke_root(stack.operator, patient.keyring_path, ["ecommerce"], patient.data_dir)
    assert bad(patient) == {}
    (patient.data_dir / "operator-token").unlink()
    found = examine(patient)
    assert [each.name for each in found if each.bad] == ["token"]
    assert next(each for each in found if each.bad).remedy == "invoke restore.keys"
    assert {each.name for each in found} >= {"secret-id backend", "secret-id ai-services"}


# What Vault contains


def delete(stack: Stack, path: str) -> None:
    stack.operator.request("DELETE", path)


def test_the_mount_is_missing(patient: Patient, stack: Stack) -> None:
    delete(stack, "sys/mounts/ecommerce")
    assert only(patient, "mount").remedy == "invoke seed"


def test_the_secrets_are_in_another_mount(patient: Patient, stack: Stack) -> None:
    """They are moved back, even if an empty mount took their place."""
    op = stack.operator
    op.request("POST", "sys/remount", **{"from": "ecommerce", "to": "elsewhere"})
    moved = lambda: "elsewhere/" in op.request("GET", "sys/mounts")["data"]  # noqa: E731
    wait_until(moved, "the mount to be moved", timeout=10)
    back = "invoke vault -- secrets move elsewhere/ ecommerce/"
    found = only(patient, "mount")
    assert (found.kind, found.remedy) == ("mount-moved", back)
    assert "elsewhere/ has 12 of its 12 secrets" in found.seen
    assert "seed --new-values" in found.instead

    op.request("POST", "sys/mounts/ecommerce", type="kv", options={"version": "2"})
    aside = "invoke vault -- secrets move ecommerce/ ecommerce-kv/"
    assert only(patient, "mount").remedy == f"{aside} && {back}"


def test_some_paths_in_another_mount_are_no_moved_secrets(patient: Patient, stack: Stack) -> None:
    """A foreign mount with a few of the same paths stays where it is."""
    op = stack.operator
    op.request("POST", "sys/mounts/other", type="kv", options={"version": "2"})
    for path in ("backend/django", "shared/stripe"):
        Kv(op, "other").write(path, {"A": "x"}, cas=0)
    delete(stack, "sys/mounts/ecommerce")
    assert only(patient, "mount").kind == "mount-missing"


def test_the_mount_is_of_another_kind(patient: Patient, stack: Stack) -> None:
    delete(stack, "sys/mounts/ecommerce")
    stack.operator.request("POST", "sys/mounts/ecommerce", type="kv", options={"version": "1"})
    assert "kv version 1" in only(patient, "mount").seen


def test_clients_look_in_the_wrong_mount(visitor: Patient) -> None:
    found = only(replace(visitor, environ={"VAULT_MOUNT_POINT": "secret"}), "mount")
    assert "there is ecommerce" in found.seen
    assert found.remedy == "export VAULT_MOUNT_POINT=ecommerce"


def test_nothing_is_audited(patient: Patient, stack: Stack, engine: Engine, tmp_path: Path) -> None:
    node = engine.node(NodeSpec(name="quiet", directory=tmp_path / "quiet", audit=False))
    node.start()
    op = VaultAdmin(node.address)
    keyring = op.init()
    op.unseal(keyring)
    keyring.save(patient.keyring_path)
    found = bad(replace(patient, addresses=(node.address,)))["audit"]
    assert "configuration file" in found.remedy
    node.kill()


@pytest.mark.parametrize(
    ("path", "name", "remedy"),
    [
        ("sys/policies/acl/backend", "policy backend", "invoke seed --only access"),
        ("auth/approle/role/backend", "role backend", "invoke seed --only access"),
        ("ecommerce/metadata/ai/openai", "secret ecommerce/ai/openai", "invoke seed"),
        (
            "ecommerce/data/ai/openai",
            "secret ecommerce/ai/openai",
            "invoke vault -- kv undelete -versions=1 ecommerce/ai/openai",
        ),
    ],
)
def test_something_is_missing(
    patient: Patient, stack: Stack, path: str, name: str, remedy: str
) -> None:
    delete(stack, path)
    assert only(patient, name).remedy == remedy


def test_a_secret_is_destroyed_or_lacks_a_key(patient: Patient, stack: Stack) -> None:
    stack.operator.request("POST", "ecommerce/destroy/ai/openai", versions=[1])
    stack.operator.request("POST", "ecommerce/data/backend/redis", data={"REDIS_PASSWORD": "x"})
    found = bad(patient)
    assert set(found) == {"secret ecommerce/ai/openai", "secret ecommerce/backend/redis"}
    assert "destroyed" in found["secret ecommerce/ai/openai"].seen
    assert {each.remedy for each in found.values()} == {"invoke seed"}
    assert found["secret ecommerce/backend/redis"].seen == "it has no REDIS_URL"
    apply(stack.operator, stack.blueprint, environ={})
    assert bad(patient) == {}


def test_a_policy_or_a_role_is_another(patient: Patient, stack: Stack) -> None:
    text = 'path "other" { capabilities = ["read"] }'
    stack.operator.request("POST", "sys/policies/acl/backend", policy=text)
    stack.operator.request("POST", "auth/approle/role/backend", token_policies=["default"])
    found = bad(patient)
    assert set(found) == {"policy backend", "role backend"}
    assert {each.remedy for each in found.values()} == {"invoke seed --only access"}
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
    role_file, secret_file = approle.credential_files("backend", patient.data_dir)
    for path in (role_file, secret_file):
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
    for _ in range(10):
        found = bad(patient)
    assert set(found) == {"role-id backend", "secret-id backend"}
    assert found["role-id backend"].remedy == "invoke seed --only access"
    assert found["secret-id backend"].remedy == "invoke rotate.secret-id backend"
    assert "nonsense" not in str(found)
    assert locked_roles(stack) == 0


def test_a_locked_role_is_named(patient: Patient, stack: Stack) -> None:
    """Its credentials are still good."""
    role_id = approle.role_id(stack.operator, "backend")
    for _ in range(6):
        with pytest.raises(OperatorError), stack.operator.asking("log in") as client:
            client.auth.approle.login(role_id, "wrong", use_token=False)
    assert only(patient, "locked backend").remedy == "invoke unlock backend"
    approle.unlock(stack.operator, role_id)
    assert bad(patient) == {}


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
    for environ, remedy in (
        ({**good, "VAULT_SECRET_ID": "wrong"}, 'eval "$(invoke env backend)"'),
        ({**good, "VAULT_ROLE_ID": "wrong"}, None),
        ({**files, "VAULT_SECRET_ID_FILE": "/nowhere"}, 'eval "$(invoke env backend)"'),
    ):
        found = only(replace(patient, environ=environ), "environment credentials")
        assert remedy is None or found.remedy == remedy
        assert found.runnable == (remedy is not None)
    assert locked_roles(stack) == 0


def test_nothing_secret_is_in_any_finding(patient: Patient, stack: Stack) -> None:
    text = str(examine(patient))
    secrets = [*stack.keyring.keys, stack.keyring.root_token]
    for role in Blueprint.default().approles:
        secrets += [path.read_text() for path in approle.credential_files(role, patient.data_dir)]
    assert not [secret for secret in secrets if secret in text]
