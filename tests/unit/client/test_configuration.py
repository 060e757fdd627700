from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from resilient_vault_client import (
    ClientClosed,
    Config,
    ConfigurationError,
    VaultClient,
    get_vault_secret,
)

ADDRESS = {"VAULT_ADDR": "http://127.0.0.1:1"}


def test_defaults() -> None:
    """Only the address is required."""
    config = Config.from_environ(ADDRESS)

    assert config.enabled
    assert config.mount_point == "secret"
    assert config.auth_mount == "approle"
    assert config.verify


def test_a_jwt_has_a_mount_of_its_own() -> None:
    jwt = {**ADDRESS, "VAULT_JWT_FILE": "/run/jwt", "VAULT_JWT_ROLE": "web"}
    assert Config.from_environ(jwt).auth_mount == "jwt"
    assert Config.from_environ({**jwt, "VAULT_AUTH_MOUNT": "kubernetes"}).auth_mount == "kubernetes"


@pytest.mark.parametrize("name", ["VAULT_JWT_FILE", "VAULT_JWT_ROLE"])
def test_half_of_a_jwt_login_makes_no_sense(name: str) -> None:
    with pytest.raises(ConfigurationError, match="belong together"):
        Config.from_environ({**ADDRESS, name: "x"})


def test_everything_from_the_environment() -> None:
    config = Config.from_environ(
        {
            "USE_VAULT": "TRUE",
            "VAULT_ADDR": " https://vault:8200 ",
            "VAULT_NAMESPACE": "team",
            "VAULT_MOUNT_POINT": "kv",
            "VAULT_ROLE_ID_FILE": "/run/role",
            "VAULT_SECRET_ID_FILE": "/run/secret",
            "VAULT_CACERT": "/ca.pem",
            "VAULT_CLIENT_CERT": "/cert.pem",
            "VAULT_CLIENT_KEY": "/key.pem",
            "VAULT_CLIENT_TIMEOUT": "1500ms",
            "VAULT_CACHE_TTL": "2m",
            "VAULT_MAX_STALE": "1h",
            "VAULT_BACKOFF_CAP": "5s",
            "VAULT_SKIP_VERIFY": "1",
            "VAULT_REDIRECT_HOSTS": "a:8200, b:8200",
            "VAULT_CLIENT_TESTING": "true",
        }
    )

    assert config == Config(
        address="https://vault:8200",
        namespace="team",
        mount_point="kv",
        role_id_file=Path("/run/role"),
        secret_id_file=Path("/run/secret"),
        ca_cert=Path("/ca.pem"),
        client_cert=Path("/cert.pem"),
        client_key=Path("/key.pem"),
        timeout=1.5,
        cache_ttl=120.0,
        max_stale=3600.0,
        backoff_cap=5.0,
        verify=False,
        redirect_hosts=frozenset({"a:8200", "b:8200"}),
        testing=True,
    )


def test_an_argument_overrides_the_environment() -> None:
    """None counts as no argument."""
    config = Config.from_environ({**ADDRESS, "VAULT_CLIENT_TIMEOUT": "5"}, timeout=2.0)

    assert config.timeout == 2.0
    assert Config.from_environ({**ADDRESS, "VAULT_CLIENT_TIMEOUT": "5"}, timeout=None).timeout == 5


def test_an_argument_may_be_written_as_its_variable_is() -> None:
    config = Config.from_environ(ADDRESS, ca_cert="/ca.pem", redirect_hosts="vault-a:1, vault-b:1")

    assert config.ca_cert == Path("/ca.pem")
    assert config.redirect_hosts == {"vault-a:1", "vault-b:1"}
    assert Config.from_environ(ADDRESS, redirect_hosts=["a:1"]).redirect_hosts == {"a:1"}


@pytest.mark.parametrize(
    "given",
    [
        {"verify": "false"},
        {"testing": 1},
        {"address": b"http://vault"},
        {"ca_cert": 7},
        {"redirect_hosts": 7},
        {"secret_id": ["s.3cr3t"]},
        {"timeout": "5s"},
    ],
)
def test_an_argument_of_another_type_is_refused_by_name(given: dict[str, object]) -> None:
    """Else it could be misread."""
    with pytest.raises(ConfigurationError, match=next(iter(given))) as failed:
        Config.from_environ(ADDRESS, **given)

    assert "s.3cr3t" not in str(failed.value)


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "vault:8200"}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "ftp://vault"}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "http://vault:port"}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "http://vault..example.com"}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "http://" + "a" * 64}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "http://vault/\xe4"}, "VAULT_ADDR"),
        ({"VAULT_ADDR": "http://user:word@vault"}, "user name"),
        ({**ADDRESS, "VAULT_MOUNT_POINT": "/"}, "VAULT_MOUNT_POINT"),
        ({**ADDRESS, "VAULT_NAMESPACE": "t\xe4am"}, "VAULT_NAMESPACE"),
        ({**ADDRESS, "VAULT_NAMESPACE": "team\nX-Other: 1"}, "VAULT_NAMESPACE"),
        ({**ADDRESS, "VAULT_AUTH_MOUNT": "/"}, "VAULT_AUTH_MOUNT"),
        ({**ADDRESS, "VAULT_CLIENT_TESTING": "maybe"}, "VAULT_CLIENT_TESTING"),
        ({**ADDRESS, "USE_VAULT": "perhaps"}, "USE_VAULT"),
        ({**ADDRESS, "VAULT_CLIENT_TIMEOUT": "soon"}, "VAULT_CLIENT_TIMEOUT"),
        ({**ADDRESS, "VAULT_CLIENT_TIMEOUT": "0"}, "timeout"),
        ({**ADDRESS, "VAULT_BACKOFF_CAP": "0"}, "backoff_cap"),
        ({**ADDRESS, "VAULT_CLIENT_KEY": "/key"}, "VAULT_CLIENT_KEY"),
    ],
)
def test_nonsense_is_refused_by_name(environ: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        VaultClient(environ=environ)


@pytest.mark.parametrize(
    "address",
    ["http://user:word@vault", "user:word@vault:8200", "http://user:word@vault:port", "//u:word@v"],
)
def test_a_password_in_the_address_is_not_repeated(address: str) -> None:
    with pytest.raises(ConfigurationError, match="VAULT_ADDR holds a user name") as failed:
        VaultClient(environ={"VAULT_ADDR": address})

    assert "word" not in str(failed.value)


def test_vault_off_needs_nothing() -> None:
    with VaultClient(environ={"USE_VAULT": "no", "KEY": "value", "EMPTY": ""}) as client:
        assert client.authenticate()
        assert client.get_secret("a/b", "KEY") == "value"
        assert client.get_secret_cached("a/b", "X", env_var_name="EMPTY") == ""
        assert client.read("a/b", "KEY").source == "environment"
        with pytest.raises(ConfigurationError, match="ask for a key"):
            client.get_secret("a/b")
        with pytest.raises(ConfigurationError, match="no Vault"):
            client.unwrap("token")
    assert get_vault_secret("KEY", "a/b", "K", environ={"USE_VAULT": "0", "KEY": "v"}) == "v"


def test_making_a_client_sends_nothing() -> None:
    """No server runs here."""
    client = VaultClient(environ=ADDRESS, role_id="the-role-id", secret_id="the-secret-id")

    assert "the-" not in repr(client) + repr(client.config)
    client.close()
    with pytest.raises(ClientClosed):
        client.get_secret("a/b")
    with pytest.raises(ClientClosed):
        client.get_secret_cached("a/b")
    with pytest.raises(ClientClosed):
        client.authenticate()


def test_it_could_be_installed_alone() -> None:
    """The package imports nothing of the harness and does nothing at import."""
    script = (
        "import sys, threading; import resilient_vault_client;"
        "ours = [m for m in sys.modules if m.startswith('vault_harness')];"
        "assert ours == [], ours; assert threading.active_count() == 1"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
