"""Whatever goes wrong between operator and Vault is one kind of error, and shows no secret."""

from __future__ import annotations

import json
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vault_harness.errors import (
    DeadlineExceeded,
    KeyringMissing,
    NotInitialised,
    OperatorError,
    VaultIsSealed,
)
from vault_harness.vault import Keyring, Operator
from vault_harness.waiting import wait_until

TOKEN = "hvs.the-root-token"
PASSWORD = "hunter2"
SEALED = {"errors": ["Vault is sealed"]}
Answer = tuple[int, object, dict[str, str]]
"""Status, body, headers."""
BETWEEN: Answer = (500, {"errors": ["barrier seal type does not match"]}, {})
KEYRING = Keyring(keys=("a", "b", "c"), threshold=3, root_token=TOKEN)


class Answers(BaseHTTPRequestHandler):
    """Answers by path, and remembers what it was asked."""

    def do_GET(self) -> None:
        """Answer."""
        self.answer()

    do_POST = do_PUT = do_GET  # noqa: N815 -- http.server's names

    def answer(self) -> None:
        """Look the path up."""
        server = self.server
        assert isinstance(server, FakeVault)
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.tokens.append(self.headers.get("X-Vault-Token"))
        status, body, headers = server.answers.get(self.path, (404, {"errors": []}, {}))
        server.answers.update(server.then.get(self.path, {}))
        text = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


class FakeVault(ThreadingHTTPServer):
    """A server whose every answer the test decides; for answers that a Vault gives rarely."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.answers: dict[str, Answer] = {}
        self.then: dict[str, dict[str, Answer]] = {}  # what is answered once a path was asked
        self.tokens: list[str | None] = []

    @property
    def address(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.server_port}"


Serve = Callable[[], FakeVault]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a fake Vault."""
    started: list[FakeVault] = []

    def start() -> FakeVault:
        server = FakeVault()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def seal_status(*, initialized: bool, sealed: bool, migration: bool = False) -> Answer:
    """An answer of sys/seal-status."""
    body = {"initialized": initialized, "sealed": sealed, "n": 5, "t": 3, "progress": 0}
    body["migration"] = migration
    return 200, {**body, "version": "2.7.2"}, {}


def test_sealed_and_uninitialised_are_told_apart(serve: Serve) -> None:
    """Both answer 503 with the same words; the seal status tells which it is."""
    vault = serve()
    vault.answers["/v1/sys/mounts"] = (503, SEALED, {})
    operator = Operator(vault.address, TOKEN)

    vault.answers["/v1/sys/seal-status"] = seal_status(initialized=True, sealed=True)
    with pytest.raises(VaultIsSealed):
        operator.request("GET", "sys/mounts")
    vault.answers["/v1/sys/seal-status"] = seal_status(initialized=False, sealed=True)
    with pytest.raises(NotInitialised):
        operator.request("GET", "sys/mounts")
    operator.close()


def test_a_status_between_two_seals_is_waited_for(serve: Serve) -> None:
    """For a moment a server names one seal and has the other: the status is a 500 until then."""
    vault = serve()
    path = "/v1/sys/seal-status"
    vault.answers[path] = BETWEEN
    with closing(Operator(vault.address, TOKEN)) as operator:
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
    """It is a status as well, and may be a 500: whether the keys were taken is asked."""
    vault = serve()
    status = "/v1/sys/seal-status"
    vault.answers[status] = seal_status(initialized=True, sealed=True, migration=True)
    vault.answers["/v1/sys/unseal"] = BETWEEN
    vault.then["/v1/sys/unseal"] = {
        status: seal_status(initialized=True, sealed=not took, migration=not took)
    }

    with closing(Operator(vault.address, TOKEN)) as operator:
        if took:
            operator.give_keys_between_seals(KEYRING)
        else:
            with pytest.raises(OperatorError, match="cannot unseal"):
                operator.give_keys_between_seals(KEYRING)


def test_no_server_has_no_status_between_two_seals(serve: Serve) -> None:
    """One that is gone is not waited for."""
    vault = serve()
    vault.shutdown()
    vault.server_close()
    operator = Operator(vault.address, TOKEN)
    with closing(operator), pytest.raises(OperatorError, match="does not answer"):
        operator.seal_status_between_seals()


def test_the_token_never_travels_to_another_host(serve: Serve) -> None:
    """A redirect elsewhere is an error, and the other host is not even asked."""
    vault, elsewhere = serve(), serve()
    vault.answers["/v1/sys/mounts"] = (
        307,
        {},
        {"Location": f"{elsewhere.address}/v1/sys/mounts"},
    )
    operator = Operator(vault.address, TOKEN)

    with pytest.raises(OperatorError, match="redirects to another host"):
        operator.request("GET", "sys/mounts")
    operator.close()

    assert elsewhere.tokens == []


def test_a_redirect_to_itself_is_followed(serve: Serve) -> None:
    """On the same host a redirect is harmless."""
    vault = serve()
    vault.answers["/v1/old"] = (307, {}, {"Location": "/v1/new"})
    vault.answers["/v1/new"] = (200, {"data": {"x": 1}}, {})
    operator = Operator(vault.address, TOKEN)

    assert operator.request("GET", "old") == {"data": {"x": 1}}
    operator.close()


def test_errors_show_no_secret(serve: Serve) -> None:
    """Neither token nor body of the request is in the error, its cause or its traceback."""
    vault = serve()
    vault.answers["/v1/secret/data/x"] = (403, {"errors": ["permission denied"]}, {})
    operator = Operator(vault.address, TOKEN)

    with pytest.raises(OperatorError, match="permission denied") as caught:
        operator.request("POST", "secret/data/x", data={"KEY": PASSWORD})
    operator.close()

    shown = "".join(traceback.format_exception(caught.value)) + repr(operator)
    assert TOKEN not in shown
    assert PASSWORD not in shown
    assert caught.value.__cause__ is None


def test_nobody_there() -> None:
    """A refused connection is an operator's error, with the address."""
    operator = Operator("http://127.0.0.1:1", timeout=1)

    with pytest.raises(OperatorError, match="does not answer") as caught:
        operator.seal_status()
    operator.close()

    assert "http://127.0.0.1:1" in caught.value.looked_at


def test_waiting_for_a_standby_says_that_it_is_one(serve: Serve) -> None:
    """The deadline tells what the server was instead; a standby is enough where asked for."""
    vault = serve()
    vault.answers["/v1/sys/health"] = (429, {}, {})
    operator = Operator(vault.address)

    with pytest.raises(DeadlineExceeded, match="is a standby"):
        operator.wait_active(0.1)
    operator.wait_active(0.1, standby_ok=True)
    operator.close()


def test_too_few_keys_are_noticed_before_any_is_sent(serve: Serve) -> None:
    """A keyring that cannot unseal is not tried."""
    vault = serve()
    operator = Operator(vault.address)

    with pytest.raises(KeyringMissing, match="too few unseal keys"):
        operator.unseal(Keyring(("one",), 3, ""))
    operator.close()

    assert vault.tokens == []


def test_an_environment_token_is_not_picked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library would take VAULT_TOKEN; an operator acts with what it was given."""
    monkeypatch.setenv("VAULT_TOKEN", "hvs.of-another-vault")
    operator = Operator("http://127.0.0.1:1")

    assert not operator.client.token
    operator.close()
