"""Every trouble of the guide is made, and the doctor names it and the command that mends it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vault_harness.blueprint import Blueprint
from vault_harness.engine import Engine, NodeSpec, PortLease
from vault_harness.errors import OperatorError
from vault_harness.settings import Settings
from vault_harness.stack import Stack
from vault_harness.vault import Operator, apply, approle
from vault_harness.vault.doctor import (
    DockerView,
    Finding,
    Patient,
    ServiceView,
    State,
    examine,
    look_at_docker,
)
from vault_harness.vault.root import revoke_root


@pytest.fixture
def patient(stack: Stack, tmp_path: Path) -> Patient:
    """A healthy stack of the test's own: Vault open and seeded, keyring and credentials here."""
    return healthy(stack, tmp_path)


@pytest.fixture
def visitor(shared: Stack, tmp_path: Path) -> Patient:
    """The same for tests that change nothing in Vault."""
    return healthy(shared, tmp_path)


def healthy(stack: Stack, tmp_path: Path) -> Patient:
    """A Vault with nothing wrong, and a data directory for it."""
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


def bad(patient: Patient) -> dict[str, Finding]:
    """Everything that the doctor finds wrong, by name."""
    return {finding.name: finding for finding in examine(patient) if finding.bad}


def only(patient: Patient, name: str) -> Finding:
    """The one thing that is wrong."""
    found = bad(patient)
    assert list(found) == [name], found
    return found[name]


def test_a_healthy_stack_has_nothing_wrong(visitor: Patient) -> None:
    """All checks are made, all are good, and none of them costs a login."""
    findings = examine(visitor)
    assert [finding for finding in findings if finding.state is not State.GOOD] == []
    checked = {finding.name.split()[0] for finding in findings}
    assert checked >= {
        *("running", "answers", "clock", "initialised", "keyring", "sealed", "token", "mount"),
        *("audit", "policy", "role", "role-id", "secret-id", "secret"),
    }


# -- the server ----------------------------------------------------------------------------------


def test_nothing_was_ever_started(visitor: Patient) -> None:
    """No address is known."""
    found = only(replace(visitor, addresses=(), services=()), "running")
    assert found.remedy == "invoke up"


def test_vault_does_not_run(patient: Patient, stack: Stack) -> None:
    """Its process is gone."""
    stack.node.kill()
    services = (ServiceView("vault", running=False), ServiceView("toxiproxy", running=True))
    found = only(replace(patient, services=services), "running")
    assert (found.wrong, found.remedy) == ("vault does not run", "invoke up")


def test_the_connection_is_refused(visitor: Patient) -> None:
    """Nobody listens at the address."""
    lease = PortLease()
    found = only(replace(visitor, addresses=(f"http://127.0.0.1:{lease.port}",)), "answers")
    assert "refused" in found.wrong
    assert str(lease.port) in found.looked_at
    lease.release()


def test_vault_is_frozen(patient: Patient, stack: Stack) -> None:
    """It takes the connection and says nothing."""
    stack.node.pause()
    try:
        found = only(replace(patient, timeout=0.3), "answers")
    finally:
        stack.node.resume()
    assert "does not answer within 0.3 s" in found.wrong
    assert found.remedy == "invoke down && invoke up"


@pytest.fixture
def web_server() -> Iterator[str]:
    """A server that is no Vault."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_something_else_answers(visitor: Patient, web_server: str) -> None:
    """The address belongs to another kind of server."""
    found = only(replace(visitor, addresses=(web_server,)), "answers")
    assert "not Vault" in found.wrong
    assert "VAULT_ADDR" in found.remedy


def test_one_node_of_several_is_away(patient: Patient, stack: Stack) -> None:
    """The others are still looked at, and the missing one is named."""
    lease = PortLease()
    addresses = (f"http://127.0.0.1:{lease.port}", stack.node.address)
    assert str(lease.port) in only(replace(patient, addresses=addresses), "answers").looked_at
    lease.release()


def test_somebody_elses_vault_is_not_there(visitor: Patient) -> None:
    """A stack of one's own would be no remedy: the address is wrong, or that Vault is down."""
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
    """A new server without keys."""
    node = engine.node(NodeSpec(name="new", directory=tmp_path / "new"))
    node.start()
    found = only(replace(visitor, addresses=(node.address,)), "initialised")
    assert found.remedy == "invoke up"
    node.kill()


def test_it_is_sealed(patient: Patient, stack: Stack) -> None:
    """The keys are here: unseal it."""
    stack.operator.seal()
    assert only(patient, "sealed").remedy == "invoke unseal"


def test_it_is_sealed_and_the_keyring_is_lost(patient: Patient, stack: Stack) -> None:
    """The keys are not here: fetch them first."""
    stack.operator.seal()
    patient.keyring_path.unlink()
    found = bad(patient)
    assert set(found) == {"keyring", "sealed"}
    assert found["keyring"].remedy == "invoke restore.keys"
    assert found["sealed"].remedy == "invoke restore.keys"


def test_the_keyring_is_nonsense_or_open_to_others(visitor: Patient) -> None:
    """A damaged keyring counts as none; one that others can read is named."""
    visitor.keyring_path.chmod(0o644)
    found = only(visitor, "private init.json")
    assert found.remedy == f"chmod 600 '{visitor.keyring_path}'".replace("'", "")
    assert "0644" in found.wrong
    visitor.keyring_path.write_text("{}")
    assert "not a keyring" in bad(visitor)["keyring"].wrong


@pytest.mark.parametrize(("hours", "way"), [(1, "ahead of"), (-1, "behind")])
def test_the_clock_is_off(visitor: Patient, hours: int, way: str) -> None:
    """This machine's clock and Vault's differ by more than some seconds."""

    def now() -> datetime:
        return datetime.now(UTC) + timedelta(hours=hours)

    found = only(replace(visitor, now=now), "clock")
    assert way in found.wrong
    assert "timedatectl" in found.remedy


# -- Docker --------------------------------------------------------------------------------------


def test_docker_is_not_there(visitor: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """No engine answers, really asked."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
    settings = Settings.from_environment(engine="docker")
    found = only(
        replace(visitor, engine="docker", docker=lambda: look_at_docker(settings)), "docker"
    )
    assert "no container engine answers" in found.wrong
    assert "HARNESS_ENGINE=process" in found.remedy


def test_an_image_is_not_there(visitor: Patient) -> None:
    """The engine answers, an image is missing."""
    view = DockerView(engine=True, missing_images=("some/vault:1",), line="some/vault:1 is missing")
    found = only(replace(visitor, engine="docker", docker=lambda: view), "images")
    assert found.looked_at == "some/vault:1"
    assert found.remedy == "invoke images"


def test_docker_is_asked_only_where_it_matters(visitor: Patient) -> None:
    """With processes nobody looks at Docker."""

    def never() -> DockerView:
        raise AssertionError("nobody should ask")

    assert bad(replace(visitor, docker=never)) == {}


# -- where clients go ----------------------------------------------------------------------------


def test_clients_in_this_shell_go_elsewhere(visitor: Patient) -> None:
    """VAULT_ADDR names another server than the tasks look after: no word of a password in it."""
    proxied = "http://127.0.0.1:18200"
    here = replace(
        visitor, proxied=proxied, environ={"VAULT_ADDR": "https://me:pw@vault.corp:8200"}
    )
    found = only(here, "environment address")
    assert "https://vault.corp:8200," in found.wrong
    assert "pw" not in str(found)
    assert found.remedy == f"export VAULT_ADDR={proxied}"


@pytest.mark.parametrize("url", ["not a url", "http://127.0.0.1:many", "https://127.0.0.1:18200"])
def test_an_address_that_leads_nowhere(visitor: Patient, url: str) -> None:
    """Neither does what is no URL, or speaks TLS to a server that does not, lead here."""
    here = replace(visitor, proxied="http://127.0.0.1:18200", environ={"VAULT_ADDR": url})
    assert only(here, "environment address").looked_at == "VAULT_ADDR"


@pytest.mark.parametrize("url", ["http://localhost:18200", "http://127.0.0.1:18200/"])
def test_an_address_of_this_stack(visitor: Patient, url: str) -> None:
    """The same place may be written in other ways."""
    proxied = "http://127.0.0.1:18200"
    assert bad(replace(visitor, proxied=proxied, environ={"VAULT_ADDR": url})) == {}


# -- tokens --------------------------------------------------------------------------------------


def test_the_token_of_the_environment_expired(patient: Patient, stack: Stack) -> None:
    """A service's or a person's token in VAULT_TOKEN is dead; a good one is said to be good."""
    made = stack.operator.request("POST", "auth/token/create", ttl="1h")["auth"]
    here = replace(patient, environ={"VAULT_TOKEN": made["client_token"]})
    assert bad(here) == {}
    stack.operator.request("POST", "auth/token/revoke", token=made["client_token"])
    found = only(here, "environment token")
    assert "expired" in found.wrong
    assert made["client_token"] not in str(found)


def test_root_is_revoked_and_the_operators_token_lost(patient: Patient, stack: Stack) -> None:
    """Without any good token the doctor says how to get one, and still logs in once per role."""
    revoke_root(stack.operator, patient.keyring_path, ["ecommerce"], patient.data_dir)
    assert bad(patient) == {}
    (patient.data_dir / "operator-token").unlink()
    found = examine(patient)
    assert [each.name for each in found if each.bad] == ["token"]
    assert next(each for each in found if each.bad).remedy == "invoke restore.keys"
    assert {each.name for each in found} >= {"secret-id backend", "secret-id ai-services"}


# -- what Vault contains -------------------------------------------------------------------------


def delete(stack: Stack, path: str) -> None:
    """Delete something in Vault."""
    stack.operator.request("DELETE", path)


def test_the_mount_is_missing(patient: Patient, stack: Stack) -> None:
    """No mount: its secrets are not looked for one by one."""
    delete(stack, "sys/mounts/ecommerce")
    assert only(patient, "mount").remedy == "invoke seed"


def test_the_mount_is_of_another_kind(patient: Patient, stack: Stack) -> None:
    """KV version 1 where version 2 is wanted."""
    delete(stack, "sys/mounts/ecommerce")
    stack.operator.request("POST", "sys/mounts/ecommerce", type="kv", options={"version": "1"})
    assert "kv version 1" in only(patient, "mount").wrong


def test_clients_look_in_the_wrong_mount(visitor: Patient) -> None:
    """VAULT_MOUNT_POINT names one that does not exist; the right one is told."""
    found = only(replace(visitor, environ={"VAULT_MOUNT_POINT": "secret"}), "mount")
    assert "there is ecommerce" in found.wrong
    assert found.remedy == "export VAULT_MOUNT_POINT=ecommerce"


def test_nothing_is_audited(patient: Patient, stack: Stack, engine: Engine, tmp_path: Path) -> None:
    """A server without an audit device."""
    node = engine.node(NodeSpec(name="quiet", directory=tmp_path / "quiet", audit=False))
    node.start()
    op = Operator(node.address)
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
    """A policy, an AppRole, a secret that is gone, and one that is only deleted."""
    delete(stack, path)
    assert only(patient, name).remedy == remedy


def test_a_secret_is_destroyed_or_lacks_a_key(patient: Patient, stack: Stack) -> None:
    """A destroyed version, and a secret from which somebody dropped a key."""
    stack.operator.request("POST", "ecommerce/destroy/ai/openai", versions=[1])
    stack.operator.request("POST", "ecommerce/data/backend/redis", data={"REDIS_PASSWORD": "x"})
    found = bad(patient)
    assert set(found) == {"secret ecommerce/ai/openai", "secret ecommerce/backend/redis"}
    assert "destroyed" in found["secret ecommerce/ai/openai"].wrong
    assert {each.remedy for each in found.values()} == {"invoke seed"}
    assert found["secret ecommerce/backend/redis"].wrong == "it has no REDIS_URL"
    apply(stack.operator, stack.blueprint, environ={})
    assert bad(patient) == {}


def test_a_policy_or_a_role_is_another(patient: Patient, stack: Stack) -> None:
    """Both differ from the blueprint."""
    text = 'path "other" { capabilities = ["read"] }'
    stack.operator.request("POST", "sys/policies/acl/backend", policy=text)
    stack.operator.request("POST", "auth/approle/role/backend", token_policies=["default"])
    found = bad(patient)
    assert set(found) == {"policy backend", "role backend"}
    assert {each.remedy for each in found.values()} == {"invoke seed --only access"}


# -- credentials ---------------------------------------------------------------------------------


def locked_roles(stack: Stack) -> int:
    """How many roles are locked now."""
    return len(approle.locked(stack.operator))


@pytest.mark.parametrize("content", [None, "nonsense"])
def test_role_id_and_secret_id_are_wrong(
    patient: Patient, stack: Stack, content: str | None
) -> None:
    """Missing or wrong files are named, looked at ten times without locking the role."""
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
    """Five bad secret-ids from somewhere: the role is locked, its credentials are still good."""
    role_id = approle.role_id(stack.operator, "backend")
    for _ in range(6):
        with pytest.raises(OperatorError), stack.operator.asking("log in") as client:
            client.auth.approle.login(role_id, "wrong", use_token=False)
    assert only(patient, "locked backend").remedy == "invoke unlock backend"
    approle.unlock(stack.operator, role_id)
    assert bad(patient) == {}


def test_without_a_token_bad_credentials_are_tried_once(patient: Patient, stack: Stack) -> None:
    """Ten runs of the doctor make one login, so nobody is locked out by looking."""
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
    """What a service would take from here: good, of another role, of none, from files."""
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
    """Good or bad: no token, no key, no id, no value."""
    text = str(examine(patient))
    secrets = [*stack.keyring.keys, stack.keyring.root_token]
    for role in Blueprint.default().approles:
        secrets += [path.read_text() for path in approle.credential_files(role, patient.data_dir)]
    assert not [secret for secret in secrets if secret in text]
