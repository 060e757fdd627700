from __future__ import annotations

import pytest

from resilient_vault_client import (
    ConfigurationError,
    InvalidPath,
    KeyNotFound,
    PermissionDenied,
    SecretDeleted,
    SecretDestroyed,
    SecretNotFound,
    WrappingTokenSpent,
    WriteConflict,
    get_vault_secret,
)
from tests.engine.client.lab import Lab, until
from tests.engine.client.route import http


def test_key_and_whole_secret(lab: Lab) -> None:
    client = lab.client()

    assert client.authenticate()
    assert lab.value == client.get_secret(lab.path, "KEY")
    assert {"KEY": lab.value} == client.get_secret(f"/{lab.path}/")


def test_a_fresh_read_has_a_version_and_is_not_stale(lab: Lab) -> None:
    secret = lab.client().read(lab.path, "KEY")

    assert (lab.value, 1, "vault", False) == (
        secret.value,
        secret.version,
        secret.source,
        secret.stale,
    )
    assert 0 <= secret.age < 3


def test_older_version(lab: Lab) -> None:
    lab.put(KEY="second")
    client = lab.client()

    assert lab.value == client.read(lab.path, "KEY", version=1).value
    assert client.get_secret_cached(lab.path, "KEY") == "second"


def test_returned_secret_is_a_copy(lab: Lab) -> None:
    client = lab.client()
    client.get_secret_cached(lab.path)["KEY"] = "changed"

    assert {"KEY": lab.value} == client.get_secret_cached(lab.path)


def test_missing_deleted_and_destroyed_differ(lab: Lab) -> None:
    client, kv = lab.client(), lab.vault.secrets.kv.v2
    with pytest.raises(SecretNotFound) as missing:
        client.get_secret("backend/never-written")
    with pytest.raises(KeyNotFound):
        client.get_secret(lab.path, "NO_SUCH_KEY")
    kv.delete_latest_version_of_secret(path=lab.path, mount_point="ecommerce")
    with pytest.raises(SecretDeleted) as deleted:
        client.get_secret(lab.path, "KEY")
    kv.destroy_secret_versions(path=lab.path, versions=[1], mount_point="ecommerce")
    with pytest.raises(SecretDestroyed) as destroyed:
        client.get_secret(lab.path, "KEY")

    outcomes = [missing.value.outcome, deleted.value.outcome, destroyed.value.outcome]
    assert outcomes == ["missing", "deleted", "deleted"]
    assert lab.path == deleted.value.path


def test_deleted_secret_has_no_last_good_value(lab: Lab) -> None:
    """A deleted secret does not come back when Vault goes away."""
    client = lab.client()
    client.get_secret(lab.path)
    lab.vault.secrets.kv.v2.delete_latest_version_of_secret(path=lab.path, mount_point="ecommerce")
    with pytest.raises(SecretDeleted):
        client.get_secret(lab.path)

    assert client._session().memory.stand_in(lab.path) is None


def test_404_of_a_known_secret_is_asked_twice(lab: Lab) -> None:
    """A node may lag behind."""
    client = lab.client()
    client.get_secret(lab.path)
    answers = [http(404, '{"errors":[]}')]
    with lab.route.answering(lambda _kind, _path: answers.pop() if answers else None):
        assert lab.value == client.get_secret(lab.path, "KEY")

    lab.vault.secrets.kv.v2.delete_metadata_and_all_versions(path=lab.path, mount_point="ecommerce")
    with pytest.raises(SecretNotFound):
        client.get_secret(lab.path)


def test_cache_asks_again_after_its_time(lab: Lab) -> None:
    client = lab.client()
    client.get_secret_cached(lab.path, "KEY")
    for _ in range(10):
        client.get_secret_cached(lab.path, "KEY")
    assert lab.route.count(lab.path) <= 2

    lab.put(KEY="rotated")
    until(lambda: client.get_secret_cached(lab.path, "KEY") == "rotated", "the new value", 5.0)


def test_write_then_read(lab: Lab) -> None:
    client = lab.client(cache_ttl=60.0)
    client.get_secret_cached(lab.path, "KEY")

    assert client.put_secret(lab.path, {"KEY": "new"}) == 2
    assert client.get_secret_cached(lab.path, "KEY") == "new"


def test_write_with_check_and_set(lab: Lab) -> None:
    client = lab.client()

    assert client.put_secret(lab.path, {"KEY": "mine"}, cas=1) == 2
    with pytest.raises(WriteConflict):
        client.put_secret(lab.path, {"KEY": "late"}, cas=1)
    assert client.get_secret(lab.path, "KEY") == "mine"


def test_a_write_outside_the_policy_is_denied(lab: Lab) -> None:
    with pytest.raises(PermissionDenied):
        lab.client().put_secret("ai/openai", {"KEY": "x"})


def test_unwrap_once(lab: Lab) -> None:
    client = lab.client()
    wrapped = lab.vault.sys.wrap(payload={"inside": "treasure"}, ttl=60)["wrap_info"]["token"]

    assert client.unwrap(wrapped) == {"inside": "treasure"}
    with pytest.raises(WrappingTokenSpent) as spent:
        client.unwrap(wrapped)
    assert wrapped not in str(spent.value)
    assert lab.route.count("unwrap") == 2


@pytest.mark.parametrize("path", ["", "/", "a//b", "../ai/openai", "backend/./x", "a?b", "a\nb"])
def test_impossible_paths(lab: Lab, path: str) -> None:
    """A path that would lead elsewhere is refused before a request is sent."""
    client = lab.client()
    with pytest.raises(InvalidPath):
        client.get_secret(path)
    assert lab.route.requests == []


def test_wrong_mount_is_no_reason_to_log_in_again(lab: Lab) -> None:
    client = lab.client(mount_point="nowhere")
    for _ in range(10):
        with pytest.raises(PermissionDenied):
            client.get_secret("backend/django")

    assert lab.route.count("login") <= 2
    assert lab.route.count("nowhere") <= 2


def test_wrong_kind_of_engine_is_said(lab: Lab) -> None:
    """In a mount of KV version 1 a secret is missing."""
    lab.stack.operator.request("POST", f"sys/mounts/{lab.role}", type="kv")
    lab.vault.sys.create_or_update_policy(
        name=lab.role, policy=f'path "{lab.role}/*" {{ capabilities = ["read"] }}'
    )
    with pytest.raises(SecretNotFound):
        lab.client(mount_point=lab.role).get_secret("backend/django")


def test_function_of_the_guide(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.make_role()
    environ = lab.environ()

    assert lab.value == get_vault_secret("MY_KEY", lab.path, "KEY", environ=environ)
    assert lab.tokens() == 0
    off = {"USE_VAULT": "false", "MY_KEY": "from-the-environment"}
    assert get_vault_secret("MY_KEY", lab.path, "KEY", environ=off) == "from-the-environment"


def test_function_with_a_client(lab: Lab) -> None:
    client = lab.client()
    for _ in range(3):
        assert lab.value == get_vault_secret("MY_KEY", lab.path, "KEY", client=client)

    assert lab.route.count("login") == 1


def test_without_vault_there_is_nothing_to_write_to(lab: Lab) -> None:
    client = lab.client({"USE_VAULT": "false"})
    assert client.authenticate()
    assert client.health().ok
    with pytest.raises(ConfigurationError):
        client.put_secret(lab.path, {"KEY": "x"})
    with pytest.raises(SecretNotFound, match="KEY is not set"):
        client.get_secret(lab.path, "KEY")
