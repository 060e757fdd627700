from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.vault.fake_vault import FakeVault, Serve
from vault_harness import namespaces
from vault_harness.cli.operator import environment_for
from vault_harness.errors import BlueprintError, NamespaceError, SettingsError
from vault_harness.local import dialect
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.kv import Kv
from vault_harness.local.vault.namespace import check
from vault_harness.local.vault.tokens import operator_policy
from vault_harness.operator.audit import Filter, joined_entries
from vault_harness.settings import Settings

TOKEN = "hvs.the-root-token"
SEAL_STATUS = "/v1/sys/seal-status"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("root", ""),
        ("root/", ""),
        ("team-a", "team-a"),
        ("/team-a/", "team-a"),
        ("team-a/shop/", "team-a/shop"),
        ("Team_A.1~x", "Team_A.1~x"),
        ("system/rooted", "system/rooted"),
    ],
)
def test_no_slash_stays_at_its_ends(given: str, expected: str) -> None:
    """The root namespace has no name."""
    assert expected == namespaces.normal(given)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("team-a/root", "above all others"),
        *(
            (name, f"{name}/ is one of Vault's own paths")
            for name in sorted(namespaces.RESERVED - {"root"})
        ),
        ("team-a/sys", "sys/ is one of Vault's own paths"),
        ("team a", "not ' '"),
        ("team\r\nX-Vault-Token: a", "not '\\r'"),
        ("équipe", "not 'é'"),
        ("a*", "not '*'"),
        ("a+b", "not '+'"),
        ("a//b", "an empty part"),
        ("a/../b", ". or .. between its"),
    ],
)
def test_what_can_be_none(given: str, reason: str) -> None:
    """A server refuses or misreads such a name."""
    with pytest.raises(ValueError, match="is not a namespace") as caught:
        namespaces.normal(given)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("above", "name", "expected"),
    [
        ("", "", ""),
        ("org", "", "org"),
        ("", "team-a", "team-a"),
        ("org", "team-a", "org/team-a"),
        ("org/team-a", "team-a", "org/team-a"),
        ("team-a/shop", "team-a/shop", "team-a/shop"),
        ("my-team-a", "team-a", "my-team-a/team-a"),
    ],
)
def test_a_blueprints_namespace_below_the_settings(above: str, name: str, expected: str) -> None:
    assert expected == namespaces.joined(above, name)


def test_a_setting_that_makes_no_sense(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_NAMESPACE", "team-a/")
    assert Settings.from_environment().vault_namespace == "team-a"
    monkeypatch.setenv("VAULT_NAMESPACE", "team-a/auth")
    with pytest.raises(SettingsError, match=r"VAULT_NAMESPACE.*auth/ is one of Vault's own paths"):
        Settings.from_environment()


def test_a_blueprint_with_a_wrong_one(tmp_path: Path) -> None:
    file = tmp_path / "shop.toml"
    text = 'name = "shop"\nnamespace = "{}"\n[mounts.kv]\ntype = "kv"\n'
    file.write_text(text.format("/team-a/shop/"))
    assert Blueprint.load(file).namespace == "team-a/shop"
    file.write_text(text.format("team-a/cubbyhole"))
    with pytest.raises(BlueprintError, match=r"shop\.toml:2: namespace: .*cubbyhole"):
        Blueprint.load(file)


@pytest.mark.parametrize(
    ("product", "version", "expected"),
    [
        ("openbao", "2.7.2", True),
        ("openbao", "2.3.0", True),
        ("openbao", "2.2.2", False),
        ("vault", "1.21.4", False),
        ("vault", "1.21.4+ent", True),
        ("vault", "1.20.1+ent.hsm", True),
    ],
)
def test_namespaces_exist_in_enterprise_and_openbao_2_3(
    product: dialect.Product, version: str, expected: bool
) -> None:
    """HashiCorp Vault has them only in Enterprise."""
    assert expected == dialect.has_namespaces(product, version)


# -- requests ------------------------------------------------------------------------------------


@pytest.fixture
def server(serve: Serve) -> FakeVault:
    made = serve()
    made.otherwise = (200, {"data": {}}, {})
    return made


def seal_status(version: str, **more: object) -> dict[str, object]:
    shape = {"initialized": True, "sealed": False, "n": 5, "t": 3, "progress": 0}
    return {**shape, "version": version, **more}


def test_only_what_is_the_whole_servers_is_asked_without_one(server: FakeVault) -> None:
    with closing(VaultAdmin(server.address, TOKEN, namespace="team-a/shop")) as op:
        server.answers[SEAL_STATUS] = (200, seal_status("2.7.2", commit_date="x"), {})
        op.health()
        op.seal_status()
        op.request("GET", "sys/audit")
        op.request("POST", "sys/audit-hash/file", input="x")
        op.request("GET", "sys/storage/raft/configuration")
        op.request("LIST", "sys/policies/acl")
        op.request("POST", "auth/token/lookup-accessor", accessor="x")
        op.client.secrets.kv.v2.list_secrets(path="sys/seal-status", mount_point="kv")
        with closing(op.with_token("hvs.another")) as other:
            other.request("POST", "auth/token/revoke-self")
        with closing(op.within("")) as root:
            root.request("GET", "sys/mounts")
    assert list(zip(server.asked, server.namespaces, strict=True)) == [
        ("/v1/sys/health", None),
        ("/v1/sys/seal-status", None),
        ("/v1/sys/audit", None),
        ("/v1/sys/audit-hash/file", None),
        ("/v1/sys/storage/raft/configuration", None),
        ("/v1/sys/policies/acl", "team-a/shop"),
        ("/v1/auth/token/lookup-accessor", "team-a/shop"),
        ("/v1/kv/metadata/sys/seal-status", "team-a/shop"),
        ("/v1/auth/token/revoke-self", "team-a/shop"),
        ("/v1/sys/mounts", None),
    ]


def test_a_namespace_that_is_not_there_is_not_an_empty_one(server: FakeVault) -> None:
    """It is an error, not a missing secret."""
    server.otherwise = (404, {"errors": ["namespace not found"]}, {})
    with closing(VaultAdmin(server.address, TOKEN, namespace="team-a")) as op:
        asks: list[Callable[[], object]] = [
            lambda: op.request("GET", "sys/mounts"),
            lambda: op.request("LIST", "sys/policies/acl"),
            lambda: Kv(op, "kv").read("a"),
            lambda: list(Kv(op, "kv").paths()),
        ]
        for ask in asks:
            with pytest.raises(NamespaceError, match="there is no namespace team-a") as caught:
                ask()
            assert "VAULT_NAMESPACE" in caught.value.remedy


def test_a_sealed_namespace_is_not_a_sealed_vault(server: FakeVault) -> None:
    """The remedy is not to unseal the whole server."""
    server.otherwise = (503, {"errors": ["namespace is sealed"]}, {})
    with (
        closing(VaultAdmin(server.address, TOKEN, namespace="team-a/shop")) as op,
        pytest.raises(NamespaceError, match="the namespace team-a/shop is sealed") as caught,
    ):
        Kv(op, "kv").read("a")
    assert "namespace unseal -namespace=team-a shop" in caught.value.remedy


def test_a_server_without_any_says_so_before_anything_is_asked(server: FakeVault) -> None:
    server.answers[SEAL_STATUS] = (200, seal_status("1.21.4", removed_from_cluster=False), {})
    with (
        closing(VaultAdmin(server.address, TOKEN, namespace="team-a")) as op,
        pytest.raises(NamespaceError, match=r"HashiCorp Vault 1\.21\.4 has no namespaces") as it,
    ):
        check(op)
    assert "Enterprise" in it.value.looked_at
    assert "unset VAULT_NAMESPACE" in it.value.remedy
    assert server.asked == [SEAL_STATUS]


# -- what is handed on ---------------------------------------------------------------------------


def test_the_real_command_line_is_led_there(server: FakeVault) -> None:
    """Both spellings are set, and those of the caller are dropped."""
    environ = {"VAULT_NAMESPACE": "of-the-shell", "BAO_NAMESPACE": "of-the-shell", "HOME": "/"}
    with closing(VaultAdmin(server.address, TOKEN, namespace="team-a")) as op:
        told = environment_for(op, environ)
    assert (told["VAULT_NAMESPACE"], told["BAO_NAMESPACE"], told["HOME"]) == (
        "team-a",
        "team-a",
        "/",
    )
    with closing(VaultAdmin(server.address, TOKEN)) as op:
        assert not {"VAULT_NAMESPACE", "BAO_NAMESPACE"} & set(environment_for(op, environ))


@pytest.mark.parametrize(
    "kind",
    [
        *("AGENT_ADDR", "PROXY_ADDR", "HTTP_PROXY", "SRV_LOOKUP"),
        *("CACERT", "CACERT_BYTES", "CAPATH", "CLIENT_CERT", "CLIENT_KEY"),
        *("TLS_SERVER_NAME", "SKIP_VERIFY"),
    ],
)
def test_nothing_of_another_server_is_handed_on(server: FakeVault, kind: str) -> None:
    """The command line would prefer an agent or a proxy, and stop at a missing file."""
    environ = {f"VAULT_{kind}": "/of/another", f"BAO_{kind}": "/of/another"}
    with closing(VaultAdmin(server.address, TOKEN)) as op:
        told = environment_for(op, environ)
    assert "/of/another" not in told.values()
    assert told["VAULT_ADDR"] == told["BAO_ADDR"] == server.address


def test_the_operators_policy_reaches_into_it() -> None:
    """Server-wide paths stay outside of the namespace, and the KV mounts are inside."""
    there = operator_policy(["shop"], "team-a")
    assert 'path "team-a/shop/data/*"' in there
    assert 'path "shop/data/*"' not in there
    assert 'path "team-a/auth/approle/role/+/secret-id"' in there
    assert 'path "sys/storage/raft/snapshot"' in there
    assert 'path "team-a/sys/storage' not in there
    assert 'path "team-a/sys/audit"' not in there
    assert "team-a" not in operator_policy(["shop"])


def test_an_audit_entry_says_where(tmp_path: Path) -> None:
    """Two namespaces may have equal paths."""
    line = {
        "time": "2026-11-25T22:32:31.8Z",
        "type": "response",
        "auth": {"display_name": "root"},
        "request": {
            "operation": "read",
            "path": "kv/data/a",
            "namespace": {"id": "x", "path": "team-a/shop/"},
        },
        "response": {"data": {"data": {}}},
    }
    (tmp_path / "log").write_text(json.dumps(line))
    (entry,) = joined_entries({"": tmp_path / "log"})
    assert (entry.namespace, entry.path) == ("team-a/shop", "kv/data/a")
    assert "team-a/shop/kv/data/a" in str(entry)
    assert Filter(namespace="team-a/shop").wants(entry)
    assert not Filter(namespace="team-a").wants(entry)
    assert not Filter(namespace="").wants(entry)
