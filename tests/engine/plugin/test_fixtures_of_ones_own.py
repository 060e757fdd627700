from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from vault_harness.errors import CapabilityMissing, SettingsError, StackError
from vault_harness.fixtures import SMALL, Vault, VaultServer
from vault_harness.local import dialect
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.toxiproxy.toxics import Latency
from vault_harness.settings import Settings

if TYPE_CHECKING:
    from tests.engine.plugin.conftest import Repository

DOCS = Path(__file__).parents[3] / "docs" / "how-to" / "fixtures.md"
BLUEPRINT = Blueprint.parse(SMALL, source=Path("small.toml"))


class Client:
    """Knows only the environment, logs in once, and returns Vault's answer."""

    def __init__(self, environ: Mapping[str, str], timeout: float = 15.0) -> None:
        self._environ = environ
        self._timeout = timeout
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Vault-Namespace"] = environ.get("VAULT_NAMESPACE", "")
        ids = {"role_id": self._id("VAULT_ROLE_ID"), "secret_id": self._id("VAULT_SECRET_ID")}
        answer = self._ask("POST", "auth/approle/login", ids)
        self._session.headers["X-Vault-Token"] = answer.json()["auth"]["client_token"]

    def read(self, path: str) -> object:
        """Return a secret, or the status of a failed read."""
        answer = self._ask("GET", f"{self._environ['VAULT_MOUNT_POINT']}/data/{path}")
        return answer.json()["data"]["data"] if answer.ok else answer.status_code

    def _id(self, name: str) -> str:
        file = self._environ.get(f"{name}_FILE")
        return Path(file).read_text() if file else self._environ[name]

    def _ask(self, method: str, path: str, body: object = None) -> requests.Response:
        url = f"{self._environ['VAULT_ADDR']}/v1/{path}"
        return self._session.request(method, url, json=body, timeout=self._timeout)


def test_the_repository_of_the_documentation(repository: Repository) -> None:
    """The files of the documentation are a run that passes."""
    blocks = re.findall(r"```\w+\n# (\S+)\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert {name for name, _ in blocks} == {"conftest.py", "vault.toml", "test_shop.py"}
    assert sum(len(text.strip().splitlines()) for _, text in blocks) <= 25
    printed = repository(dict(blocks))
    assert "1 passed" in printed, printed


def test_a_client_with_the_variables_reads_a_secret(vault: Vault) -> None:
    vault.seed({"app/one": {"KEY": "1"}, "app/two": {"KEY": "2"}})
    client = Client(vault.environ())
    assert (client.read("app/one"), client.read("app/two")) == ({"KEY": "1"}, {"KEY": "2"})


def test_ids_in_files(vault: Vault, tmp_path: Path) -> None:
    environ = vault.environ("app", directory=tmp_path)
    assert "VAULT_SECRET_ID" not in environ
    assert Path(environ["VAULT_SECRET_ID_FILE"]).stat().st_mode & 0o777 == 0o600
    vault.write("app/one", {"KEY": "1"})
    assert Client(environ).read("app/one") == {"KEY": "1"}


def test_a_role_that_is_not_there(vault: Vault) -> None:
    with pytest.raises(SettingsError, match="nobody") as caught:
        vault.environ("nobody")
    assert "app" in caught.value.remedy


def test_another_test_does_not_see_what_a_test_writes(vault: Vault, another_vault: Vault) -> None:
    assert vault.direct == another_vault.direct
    vault.write("app/one", {"KEY": "mine"})
    assert another_vault.read("app/one") == {}
    another_vault.write("app/one", {"KEY": "theirs"})
    assert vault.read("app/one") == {"KEY": "mine"}


def test_a_new_version_and_a_deletion(vault: Vault) -> None:
    vault.write("app/one", {"KEY": "old"})
    vault.write("app/one", {"KEY": "new"})
    assert vault.read("app/one") == {"KEY": "new"}
    vault.delete("app/one")
    assert vault.read("app/one") == {}


def test_revoked_tokens(vault: Vault) -> None:
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ())
    assert client.read("app/one") == {"KEY": "1"}
    assert vault.revoke_tokens() == 1
    assert client.read("app/one") == 403
    assert vault.revoke_tokens() == 0


def test_revoked_tokens_of_another_method(vault: Vault) -> None:
    op = vault.operator
    op.request("POST", "sys/auth/userpass", type="userpass")
    op.request("POST", "auth/userpass/users/somebody", password="of-a-test")
    session = requests.Session()
    session.trust_env = False
    session.headers["X-Vault-Namespace"] = vault.namespace
    url = f"{vault.direct}/v1/auth"
    body = {"password": "of-a-test"}
    answer = session.post(f"{url}/userpass/login/somebody", json=body, timeout=15)
    session.headers["X-Vault-Token"] = answer.json()["auth"]["client_token"]
    assert session.get(f"{url}/token/lookup-self", timeout=15).status_code == 200
    assert vault.revoke_tokens() == 1
    assert session.get(f"{url}/token/lookup-self", timeout=15).status_code == 403


def test_toxics_act_on_the_client(vault: Vault) -> None:
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ(), timeout=0.5)
    with vault.toxic(Latency(latency=60_000)), pytest.raises(requests.ReadTimeout):
        client.read("app/one")
    assert client.read("app/one") == {"KEY": "1"}


def test_faults_of_the_network_by_name(vault: Vault) -> None:
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ())
    with vault.network.down(), pytest.raises(requests.ConnectionError):
        client.read("app/one")
    assert client.read("app/one") == {"KEY": "1"}


def test_faults_of_single_requests(vault: Vault) -> None:
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ())
    with vault.http.fail("read", status=500, first=1):
        assert [client.read("app/one"), client.read("app/one")] == [500, {"KEY": "1"}]
    with vault.http.lose_answer("read"), pytest.raises(requests.ConnectionError):
        client.read("app/one")
    assert client.read("app/one") == {"KEY": "1"}


def test_a_reset(vault: Vault) -> None:
    environ = vault.environ()
    vault.write("app/one", {"KEY": "1"})
    vault.reset()
    assert Client(environ).read("app/one") == 404


@pytest.fixture
def server() -> Iterator[VaultServer]:
    """A server of the test's own, whose state between two tests the test controls."""
    server = VaultServer(Settings.from_environment(engine="process"))
    try:
        yield server
    finally:
        server.close()


def test_a_seal_takes_the_server_with_all_that_is_in_it(server: VaultServer) -> None:
    vault = Vault(server, BLUEPRINT)
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ())
    with vault.sealed():
        assert client.read("app/one") == 503
    assert client.read("app/one") == {"KEY": "1"}
    following = Vault(server, BLUEPRINT)
    assert following.direct != vault.direct
    vault.close()
    with pytest.raises(requests.ConnectionError):
        requests.get(vault.direct, timeout=15)
    following.write("app/one", {"KEY": "2"})
    following.close()


def test_a_sealed_server_that_is_left_sealed(server: VaultServer) -> None:
    vault = Vault(server, BLUEPRINT)
    vault.seal()
    assert requests.get(f"{vault.direct}/v1/sys/health", timeout=5).status_code == 503
    vault.close()
    following = Vault(server, BLUEPRINT)
    following.write("app/one", {"KEY": "2"})
    following.close()


def test_a_server_that_hangs(server: VaultServer) -> None:
    vault = Vault(server, BLUEPRINT)
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ(), timeout=0.5)
    with vault.paused(), pytest.raises(requests.ReadTimeout):
        client.read("app/one")
    assert client.read("app/one") == {"KEY": "1"}
    vault.pause()
    vault.close()  # even while it hangs


def test_a_server_that_is_gone(server: VaultServer) -> None:
    """Through the proxy the client sees the connection end."""
    vault = Vault(server, BLUEPRINT)
    client = Client(vault.environ())
    vault.stop()
    with pytest.raises(requests.ConnectionError):
        client.read("app/one")
    with pytest.raises(requests.ConnectionError):
        requests.get(vault.direct, timeout=15)
    vault.close()


def test_other_fixtures_on_the_same_server_are_safe(vault: Vault, another_vault: Vault) -> None:
    with pytest.raises(StackError, match="under other fixtures") as caught:
        vault.seal()
    assert "fixtures.vault(server=...)" in caught.value.remedy
    another_vault.write("app/one", {"KEY": "1"})


def test_a_restart_needs_a_storage_that_remembers(vault: Vault) -> None:
    """It is refused before anything is lost."""
    vault.write("app/one", {"KEY": "1"})
    with pytest.raises(CapabilityMissing, match="would lose") as caught:
        vault.restart()
    assert 'storage="raft"' in caught.value.remedy
    assert vault.read("app/one") == {"KEY": "1"}


@pytest.mark.slow
def test_a_restarted_server_is_sealed_and_remembers() -> None:
    server = VaultServer(Settings.from_environment(engine="process"), storage="raft")
    try:
        vault = Vault(server, BLUEPRINT)
        vault.write("app/one", {"KEY": "1"})
        client = Client(vault.environ())
        vault.restart()
        assert client.read("app/one") == 503
        vault.unseal()
        assert client.read("app/one") == {"KEY": "1"}
        vault.close()
    finally:
        server.close()


def test_a_server_that_a_test_broke_by_itself_is_given_up(server: VaultServer) -> None:
    vault = Vault(server, BLUEPRINT)
    requests.put(f"{vault.direct}/v1/sys/seal", headers={"X-Vault-Token": vault.token}, timeout=15)
    vault.close()
    following = Vault(server, BLUEPRINT)
    following.write("app/one", {"KEY": "2"})
    following.close()


def test_without_namespaces_each_test_takes_a_whole_server(
    server: VaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in HashiCorp's community edition."""
    monkeypatch.setattr(dialect, "OPENBAO", replace(dialect.OPENBAO, namespaces=False))
    vaults = [Vault(server, BLUEPRINT) for _ in range(2)]
    assert vaults[0].direct != vaults[1].direct
    for vault in vaults:
        assert "VAULT_NAMESPACE" not in vault.environ()
        vault.write("app/one", {"KEY": "1"})
        assert Client(vault.environ()).read("app/one") == {"KEY": "1"}
        with vault.sealed():
            pass
        vault.close()
        with pytest.raises(requests.ConnectionError):
            requests.get(vault.direct, timeout=15)


def test_an_external_server_is_used_but_not_broken(
    vault_stack: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment(
        engine="external", vault_addr=vault_stack.direct, vault_token=vault_stack.token
    )
    server = VaultServer(settings)
    try:
        vault = Vault(server, BLUEPRINT)
        vault.write("app/one", {"KEY": "1"})
        assert Client(vault.environ()).read("app/one") == {"KEY": "1"}
        with pytest.raises(CapabilityMissing, match="this Vault is external"):
            vault.seal()
        with pytest.raises(SettingsError, match="vault_stack is a whole server"):
            Vault(server, BLUEPRINT, whole=True)
        vault.close()
    finally:
        server.close()
    monkeypatch.setattr(dialect, "OPENBAO", replace(dialect.OPENBAO, namespaces=False))
    server = VaultServer(settings)
    try:
        with pytest.raises(SettingsError, match="only through namespaces"):
            Vault(server, BLUEPRINT)
    finally:
        server.close()
    assert vault_stack.operator.request("LIST", "sys/namespaces") == {}
    assert not vault_stack.operator.seal_status().sealed
    vault_stack.write("app/shared", {"KEY": "still there"})


def test_a_stack_for_the_whole_run(vault_stack: Vault, vault: Vault) -> None:
    """It has no namespace, and no test breaks its server."""
    assert vault_stack.namespace == ""
    assert "VAULT_NAMESPACE" not in vault_stack.environ()
    assert vault_stack.direct != vault.direct
    vault_stack.write("app/shared", {"KEY": "1"})
    vault.seal()
    assert Client(vault_stack.environ()).read("app/shared") == {"KEY": "1"}


def test_a_policy_can_be_changed_by_the_operator(vault: Vault) -> None:
    """For what has no verb."""
    vault.write("app/one", {"KEY": "1"})
    client = Client(vault.environ())
    rules = 'path "nothing" { capabilities = ["read"] }'
    vault.operator.request("POST", "sys/policies/acl/app", policy=rules)
    assert client.read("app/one") == 403
