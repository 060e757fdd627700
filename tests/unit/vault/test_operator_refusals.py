"""Every failure between operator and Vault is one kind of error, without secrets."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from pathlib import Path

import pytest

from tests.unit.vault.fake_vault import NOBODY_LEADS, Answer, Serve, seal_status
from vault_harness.errors import (
    DeadlineExceeded,
    KeyringMissing,
    NotInitialised,
    OperatorError,
    VaultIsSealed,
)
from vault_harness.local.vault import cluster
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
from vault_harness.local.vault.tokens import admin_with_token
from vault_harness.waiting import wait_until

TOKEN = "hvs.the-root-token"
PASSWORD = "hunter2"
SEALED = {"errors": ["Vault is sealed"]}
BETWEEN: Answer = (500, {"errors": ["barrier seal type does not match"]}, {})
KEYRING = Keyring(keys=("a", "b", "c"), threshold=3, root_token=TOKEN)


def test_sealed_and_uninitialised_are_distinguished(serve: Serve) -> None:
    """Both answer 503 with the same words; the seal status tells them apart."""
    vault = serve()
    vault.answers["/v1/sys/mounts"] = (503, SEALED, {})
    operator = VaultAdmin(vault.address, TOKEN)

    vault.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=True)
    with pytest.raises(VaultIsSealed):
        operator.request("GET", "sys/mounts")
    vault.answers["/v1/sys/seal-status"] = seal_status(initialized=False, sealed=True)
    with pytest.raises(NotInitialised):
        operator.request("GET", "sys/mounts")
    operator.close()


@pytest.mark.parametrize("status", [503, 429])
def test_an_overloaded_server_is_not_called_sealed(serve: Serve, status: int) -> None:
    """A balancer's 503 is not, either."""
    vault = serve()
    vault.answers["/v1/sys/mounts"] = (status, {"errors": ["too much to do"]}, {})
    vault.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=False)
    with (
        closing(VaultAdmin(vault.address, TOKEN)) as operator,
        pytest.raises(OperatorError, match="too much to do") as caught,
    ):
        operator.request("GET", "sys/mounts")
    assert not isinstance(caught.value, VaultIsSealed)
    assert "wait a moment, then run this again" in caught.value.remedy


def test_a_server_that_cannot_write_its_audit_log(serve: Serve) -> None:
    """It says "internal error", and the remedy mentions a full disk."""
    vault = serve()
    vault.answers["/v1/sys/mounts"] = (500, {"errors": ["internal error"]}, {})
    with (
        closing(VaultAdmin(vault.address, TOKEN)) as operator,
        pytest.raises(OperatorError, match="internal error") as caught,
    ):
        operator.request("GET", "sys/mounts")
    assert "A full disk under its audit log has this effect" in caught.value.remedy


def test_a_status_between_two_seals_is_waited_for(serve: Serve) -> None:
    """The status is a 500 for a moment."""
    vault = serve()
    path = "/v1/sys/seal-status"
    vault.answers[path] = BETWEEN
    with closing(VaultAdmin(vault.address, TOKEN)) as operator:
        with pytest.raises(OperatorError):
            operator.seal_status()
        asked = len(vault.tokens)

        def settle() -> None:
            wait_until(lambda: len(vault.tokens) > asked + 3, "the status to be asked", timeout=10)
            vault.answers[path] = seal_status(initialized=True, sealed=True)

        with ThreadPoolExecutor(1) as pool:
            settled = pool.submit(settle)
            assert operator.seal_status_between_seals().sealed
            settled.result()


@pytest.mark.parametrize("took", [True, False])
def test_the_answer_to_the_last_key_between_two_seals(serve: Serve, took: bool) -> None:
    """If it is a 500, the seal status tells whether the keys were taken."""
    vault = serve()
    status = "/v1/sys/seal-status"
    vault.answers[status] = seal_status(initialized=True, sealed=True, migration=True)
    vault.answers["/v1/sys/unseal"] = BETWEEN
    vault.then["/v1/sys/unseal"] = {
        status: seal_status(initialized=True, sealed=not took, migration=not took)
    }

    with closing(VaultAdmin(vault.address, TOKEN)) as operator:
        if took:
            operator.give_keys_between_seals(KEYRING)
        else:
            with pytest.raises(OperatorError, match="cannot unseal"):
                operator.give_keys_between_seals(KEYRING)


def test_no_server_has_no_status_between_two_seals(serve: Serve) -> None:
    """A server that is gone is not waited for."""
    vault = serve()
    vault.shutdown()
    vault.server_close()
    operator = VaultAdmin(vault.address, TOKEN)
    with closing(operator), pytest.raises(OperatorError, match="does not answer"):
        operator.seal_status_between_seals()


def test_the_token_never_travels_to_another_host(serve: Serve) -> None:
    """A redirect there is an error."""
    vault, elsewhere = serve(), serve()
    vault.answers["/v1/sys/mounts"] = (
        307,
        {},
        {"Location": f"{elsewhere.address}/v1/sys/mounts"},
    )
    operator = VaultAdmin(vault.address, TOKEN)

    with pytest.raises(OperatorError, match="redirects to another host"):
        operator.request("GET", "sys/mounts")
    operator.close()

    assert elsewhere.tokens == []


def test_a_redirect_to_itself_is_followed(serve: Serve) -> None:
    vault = serve()
    vault.answers["/v1/old"] = (307, {}, {"Location": "/v1/new"})
    vault.answers["/v1/new"] = (200, {"data": {"x": 1}}, {})
    operator = VaultAdmin(vault.address, TOKEN)

    assert operator.request("GET", "old") == {"data": {"x": 1}}
    operator.close()


def test_errors_show_no_secret(serve: Serve) -> None:
    """Neither do cause and traceback."""
    vault = serve()
    vault.answers["/v1/secret/data/x"] = (403, {"errors": ["permission denied"]}, {})
    operator = VaultAdmin(vault.address, TOKEN)

    with pytest.raises(OperatorError, match="permission denied") as caught:
        operator.request("POST", "secret/data/x", data={"KEY": PASSWORD})
    operator.close()

    shown = "".join(traceback.format_exception(caught.value)) + repr(operator)
    assert TOKEN not in shown
    assert PASSWORD not in shown
    assert caught.value.__cause__ is None


def test_nobody_there() -> None:
    """The error names the address."""
    operator = VaultAdmin("http://127.0.0.1:1", timeout=1)

    with pytest.raises(OperatorError, match="does not answer") as caught:
        operator.seal_status()
    operator.close()

    assert "http://127.0.0.1:1" in caught.value.looked_at


def test_waiting_for_a_standby_says_that_it_is_one(serve: Serve) -> None:
    """A standby is enough if allowed."""
    vault = serve()
    vault.answers["/v1/sys/health"] = (429, {}, {})
    operator = VaultAdmin(vault.address)

    with pytest.raises(DeadlineExceeded, match="is a standby"):
        operator.wait_active(0.1)
    operator.wait_active(0.1, standby_ok=True)
    operator.close()


def test_too_few_keys_are_noticed_before_any_is_sent(serve: Serve) -> None:
    vault = serve()
    operator = VaultAdmin(vault.address)

    with pytest.raises(KeyringMissing, match="too few unseal keys"):
        operator.unseal(Keyring(("one",), 3, ""))
    operator.close()

    assert vault.tokens == []


def test_an_environment_token_is_not_picked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator acts with the token that it was given."""
    monkeypatch.setenv("VAULT_TOKEN", "hvs.of-another-vault")
    operator = VaultAdmin("http://127.0.0.1:1")

    assert not operator.client.token
    operator.close()


def test_a_leader_that_is_being_elected_is_waited_for(serve: Serve) -> None:
    """A refused request has done nothing, so even a write is sent again."""
    vault = serve()
    vault.answers["/v1/sys/mounts/kv"] = (200, {}, {})
    vault.first["/v1/sys/mounts/kv"] = [NOBODY_LEADS, NOBODY_LEADS]
    with closing(VaultAdmin(vault.address, TOKEN, patience=30).within("a")) as operator:
        operator.request("POST", "sys/mounts/kv", type="kv")
    assert vault.asked == ["/v1/sys/mounts/kv"] * 3


def test_a_leader_is_waited_for_no_longer_than_that(serve: Serve) -> None:
    vault = serve()
    vault.answers["/v1/sys/mounts"] = NOBODY_LEADS
    for patience, more in ((0.0, False), (0.3, True)):
        vault.asked.clear()
        with (
            closing(VaultAdmin(vault.address, TOKEN, patience=patience)) as operator,
            pytest.raises(OperatorError, match="active cluster node not found"),
        ):
            operator.request("GET", "sys/mounts")
        assert (len(vault.asked) > 1) is more


def test_another_refusal_is_one(serve: Serve) -> None:
    """The write may have happened, so it is not sent again."""
    vault = serve()
    vault.answers["/v1/sys/mounts/kv"] = (500, {"errors": ["internal error"]}, {})
    with (
        closing(VaultAdmin(vault.address, TOKEN, patience=30)) as operator,
        pytest.raises(OperatorError, match="internal error"),
    ):
        operator.request("POST", "sys/mounts/kv", type="kv")
    assert len(vault.asked) == 1


@pytest.mark.parametrize(("method", "times"), [("GET", 3), ("POST", 1)])
def test_a_read_that_meets_a_rotation_is_repeated(serve: Serve, method: str, times: int) -> None:
    """A write may have done something before its transaction failed."""
    vault, path = serve(), "/v1/database/static-creds/app"
    vault.answers[path] = (200, {}, {})
    vault.first[path] = [(500, {"errors": ["1 error: transaction commit failed"]}, {})] * 2
    refusal = nullcontext() if method == "GET" else pytest.raises(OperatorError, match="commit")
    with closing(VaultAdmin(vault.address, TOKEN)) as operator, refusal:
        operator.request(method, "database/static-creds/app")
    assert len(vault.asked) == times


def test_voters_are_counted_once_a_node_leads(serve: Serve) -> None:
    """A leader may lose its lead while nodes join."""
    vault = serve()
    path = "/v1/sys/storage/raft/configuration"
    server = {"node_id": "vault", "address": "here:1", "voter": True, "leader": True}
    vault.answers[path] = (200, {"data": {"config": {"servers": [server]}}}, {})
    vault.first[path] = [NOBODY_LEADS]
    with closing(VaultAdmin(vault.address, TOKEN)) as operator:
        (found,) = cluster.wait_for_voters(operator, 1, timeout=30)
        assert found.node_id == "vault"
        vault.answers[path] = NOBODY_LEADS
        with pytest.raises(DeadlineExceeded, match="waited") as caught:
            cluster.wait_for_voters(operator, 1, timeout=0.2)
    assert "active cluster node not found" in caught.value.looked_at


def test_whoever_acts_for_a_task_is_patient(serve: Serve, tmp_path: Path) -> None:
    """An election may happen again right after three nodes start."""
    vault = serve()
    path = "/v1/auth/token/lookup-self"
    vault.answers[path] = (200, {"data": {"policies": ["root"]}}, {})
    vault.first[path] = [NOBODY_LEADS, NOBODY_LEADS]
    admin_with_token(vault.address, KEYRING, tmp_path).close()
    assert vault.asked == [path] * 3
