"""A login belongs to the client, not to the call.

A client that stops waiting would lose a token and a secret-id that Vault grants a moment later.
"""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from resilient_vault_client import (
    ClientClosed,
    CredentialsRejected,
    InternalError,
    PermissionDenied,
    RateLimited,
    VaultClient,
    VaultError,
    VaultTimeout,
    VaultUnavailable,
)
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._transport import Api
from resilient_vault_client.events import Event
from tests.running import serving
from tests.unit.client.slow_vault import LOGIN, LONG, LOOK_UP, READ, REVOKE, UNWRAP, SlowVault
from vault_harness.certificates import Authority, server_context
from vault_harness.waiting import wait_until

SHORT = 0.1
"""Seconds of a call that ends before its request."""

IN_TIME = 5.0
"""Seconds for such a call on a busy machine."""


@pytest.fixture
def vault() -> Iterator[SlowVault]:
    with serving(SlowVault()) as server:
        yield server


@pytest.fixture
def client(vault: SlowVault) -> Iterator[VaultClient]:
    """Its requests have more time than a test takes."""
    with VaultClient(environ=vault.environ, timeout=2 * LONG, max_stale=0.0) as made:
        yield made


def fails(call: Callable[[], object], kind: type[VaultError] = VaultTimeout) -> VaultError:
    """Return the error of a call that must end in time."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        call()
    assert time.monotonic() - began < IN_TIME
    return caught.value


def short(client: VaultClient) -> VaultError:
    return fails(lambda: client.get_secret("a", "KEY", timeout=SHORT))


def idle(client: VaultClient) -> None:
    """Wait until no thread asks Vault for a token."""
    errands = client._session().authenticator._errands
    wait_until(lambda: errands._under_way is None, "the errand's end", timeout=LONG)


def test_a_login(client: VaultClient, vault: SlowVault) -> None:
    """The next call waits for the running login and uses its token."""
    with vault.holding(LOGIN) as answer:
        error = short(client)
        assert str(error) == f"{vault.environ['VAULT_ADDR']} did not answer in time"
        assert not error.sent
        threading.Timer(SHORT, answer.set).start()
        assert client.get_secret("a", "KEY") == "value"
    assert vault.asked == [LOGIN, READ]


def test_a_login_over_tls(vault: SlowVault, tmp_path: Path) -> None:
    """A TLS connection is still readable after a wait on it timed out."""
    files = Authority().issue(tmp_path, "127.0.0.1")
    context = server_context(files, protocols=["http/1.1"])
    vault.socket = context.wrap_socket(vault.socket, server_side=True)
    environ = {
        **vault.environ,
        "VAULT_ADDR": f"https://127.0.0.1:{vault.server_port}",
        "VAULT_CACERT": str(files.ca),
    }
    with VaultClient(environ=environ, timeout=2 * LONG) as client:
        with vault.holding(LOGIN):
            short(client)
        assert client.get_secret("a", "KEY") == "value"
    assert vault.asked == [LOGIN, READ, REVOKE]


def test_a_secret_id_for_one_login(client: VaultClient, vault: SlowVault) -> None:
    """Calls time out before it is granted."""
    vault.logins = 1
    with vault.holding(LOGIN):
        for _ in range(3):
            short(client)
    assert client.get_secret("a", "KEY") == "value"
    assert vault.asked.count(LOGIN) == 1


def test_a_token_is_renewed_without_a_call(client: VaultClient, vault: SlowVault) -> None:
    session = client._session()
    with vault.holding(LOGIN):
        short(client)
    wait_until(
        lambda: session.renewer._planned is not None, "the renewal to be planned", timeout=LONG
    )
    assert session.renewer._planned is session.authenticator.current
    assert client.get_secret("a", "KEY") == "value"
    assert vault.asked == [LOGIN, READ]


def test_a_call_that_joins_has_its_own_time(client: VaultClient, vault: SlowVault) -> None:
    with ThreadPoolExecutor(5) as pool, vault.holding(LOGIN) as answer:
        first = pool.submit(short, client)
        vault.came(LOGIN)
        patient = [pool.submit(client.get_secret, "a", "KEY") for _ in range(2)]
        hurried = pool.submit(short, client)
        assert isinstance(first.result(LONG), VaultTimeout)
        assert isinstance(hurried.result(LONG), VaultTimeout)
        answer.set()
        assert [one.result(LONG) for one in patient] == ["value", "value"]
    assert vault.asked.count(LOGIN) == 1


def test_a_look_at_the_token(client: VaultClient, vault: SlowVault) -> None:
    """A refused token is looked up after its call, and a login follows."""
    client.get_secret("a", "KEY")
    vault.dead.add("token-1")
    vault.asked.clear()
    with vault.holding(LOOK_UP):
        short(client)
    idle(client)
    assert vault.asked == [READ, LOOK_UP, LOGIN]
    assert client.get_secret("a", "KEY") == "value"
    assert vault.asked == [READ, LOOK_UP, LOGIN, READ]


def test_a_login_for_the_policys_sake(
    client: VaultClient, vault: SlowVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A denied caller that stops waiting for a fresh login gets the denial."""
    client.get_secret("a", "KEY")
    token = client._session().authenticator.current
    assert token is not None
    token.issued_at -= 60.0
    monkeypatch.setattr(vault, "_answer", refusing(vault, READ))
    with vault.holding(LOGIN):
        fails(lambda: client.get_secret("a", "KEY", timeout=SHORT), PermissionDenied)
    idle(client)
    assert vault.asked.count(LOGIN) == 2
    assert client._session().authenticator.current is not token


def refusing(vault: SlowVault, what: str) -> Callable[[str, str], tuple[int, object]]:
    """Return the answers of a Vault whose policy forbids `what`."""
    answer = vault._answer

    def answered(asked: str, token: str) -> tuple[int, object]:
        if asked == what:
            return 403, {"errors": ["1 error occurred: permission denied"]}
        return answer(asked, token)

    return answered


def test_a_wrapped_secret_id(vault: SlowVault, tmp_path: Path) -> None:
    """It is unwrapped once, even if the call times out."""
    file = tmp_path / "wrapping"
    file.write_text("hvs.wrapping-1")
    environ = {**vault.environ, "VAULT_WRAPPED_SECRET_ID_FILE": str(file)}
    del environ["VAULT_SECRET_ID"]
    with VaultClient(environ=environ, timeout=2 * LONG) as client:
        with vault.holding(UNWRAP):
            short(client)
        assert client.get_secret("a", "KEY") == "value"
    assert vault.asked.count(UNWRAP) == 1


def test_a_login_without_an_answer_ends_by_itself(vault: SlowVault) -> None:
    with VaultClient(environ=vault.environ, timeout=SHORT, backoff_cap=0.1) as client:
        with vault.holding(LOGIN):
            short(client)
            idle(client)
            assert vault.asked == [LOGIN]
        wait_until(client.authenticate, "a login", timeout=LONG)


def test_an_unsent_login_ends_with_its_call(vault: SlowVault) -> None:
    with VaultClient(environ=vault.environ, timeout=2 * LONG) as client:
        circuit = client._session().circuit
        limited = RateLimited("too many requests", retry_in=1.0)
        circuit.failed(circuit.admit("other", Deadline(LONG, 0.0)), limited)
        fails(lambda: client.get_secret("a", "KEY", timeout=SHORT), RateLimited)
        idle(client)
        assert vault.asked == []
        assert client.get_secret("a", "KEY") == "value"


class Heard:
    """A callback that records the events and the threads that called it."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.threads: list[str] = []

    def __call__(self, event: Event) -> None:
        self.names.append(event.name)
        self.threads.append(threading.current_thread().name)


def test_an_outage_begins_with_the_call_that_is_over(vault: SlowVault) -> None:
    """It lasts for all others until the login is granted."""
    heard = Heard()
    with VaultClient(environ=vault.environ, timeout=1.5, on_event=heard) as client:
        here = threading.current_thread().name
        with vault.holding(LOGIN):
            fails(lambda: client.get_secret("a", "KEY"))
            assert (heard.names, heard.threads) == (["outage_began"], [here])
            outage = client._session().circuit.outage
            assert outage is not None
            assert outage.prober is None
            fails(lambda: client._session().authenticator.token(Deadline(LONG, 0.0)))
        wait_until(lambda: len(heard.names) == 3, "the token", timeout=LONG)
        assert heard.names == ["outage_began", "recovered", "authenticated"]
        assert heard.threads[1:] == ["vault-login"] * 2
        assert client._session().circuit.outage is None


def test_a_waiting_caller_gets_events_in_its_own_thread(vault: SlowVault) -> None:
    heard = Heard()
    with VaultClient(environ=vault.environ, on_event=heard) as client:
        client.get_secret("a", "KEY")
        vault.dead.add("token-1")
        client.get_secret("a", "KEY")
    assert heard.names == ["authenticated", "token_lost", "authenticated", "token_revoked"]
    assert set(heard.threads) == {threading.current_thread().name}


class TimeLimit(Exception):
    """Raised by an application whose own time is over."""


def test_an_interrupted_call(client: VaultClient, vault: SlowVault) -> None:
    """The login continues after a signal."""

    def interrupt(number: int, frame: types.FrameType | None) -> None:
        raise TimeLimit

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with vault.holding(LOGIN):
            signal.setitimer(signal.ITIMER_REAL, SHORT)
            with pytest.raises(TimeLimit):
                client.get_secret("a", "KEY")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert client.get_secret("a", "KEY") == "value"
    assert vault.asked == [LOGIN, READ]


# The end of the client


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name == "vault-login"]


@pytest.mark.parametrize("later", [0.3, 1.5])
def test_closed_before_its_login_is_granted(
    client: VaultClient, vault: SlowVault, later: float
) -> None:
    """The late token is revoked; a waiting caller is told at once, or soon."""
    with ThreadPoolExecutor(1) as pool, vault.holding(LOGIN) as answer:
        waiting = pool.submit(fails, lambda: client.get_secret("a", "KEY"), VaultError)
        vault.came(LOGIN)
        threading.Timer(later, answer.set).start()
        client.close(timeout=LONG)
        assert isinstance(waiting.result(LONG), ClientClosed)
    assert vault.given == ["token-1"]
    assert vault.alive() == []
    assert threads() == []


def test_closed_while_vault_is_silent(client: VaultClient, vault: SlowVault) -> None:
    with vault.holding(LOGIN):
        short(client)
        began = time.monotonic()
        client.close(timeout=1.0)
        assert time.monotonic() - began < IN_TIME
        assert threads() == []


def test_closed_in_a_callback_of_its_login(vault: SlowVault) -> None:
    """It does not wait for itself."""
    clients: list[VaultClient] = []
    clients.append(
        VaultClient(environ=vault.environ, timeout=1.0, on_event=lambda _: clients[0].close())
    )
    with vault.holding(LOGIN):
        fails(lambda: clients[0].get_secret("a", "KEY"), VaultError)
    wait_until(lambda: threads() == [], "the end of its thread", timeout=LONG)


def test_a_token_from_a_file_is_never_revoked(vault: SlowVault, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("token-0")
    environ = {**vault.environ, "VAULT_TOKEN_FILE": str(file)}
    client = VaultClient(environ=environ, timeout=2 * LONG)
    with vault.holding(LOOK_UP) as answer:
        short(client)
        threading.Timer(1.5, answer.set).start()
        client.close(timeout=LONG)
    assert vault.asked == [LOOK_UP]
    assert threads() == []


def test_forgotten_before_its_login_is_granted(vault: SlowVault) -> None:
    """The late token is revoked."""
    client = VaultClient(environ=vault.environ, timeout=2 * LONG)
    with vault.holding(LOGIN):
        short(client)
        del client
        gc.collect()
    vault.came(REVOKE)
    wait_until(lambda: vault.alive() == [], "the token's end", timeout=LONG)


FORKING = """
import os, sys
from resilient_vault_client import VaultClient, VaultTimeout
client = VaultClient(timeout=60.0)
try:
    client.get_secret("a", "KEY", timeout=0.3)
except VaultTimeout:
    pass
pid = os.fork()
if pid == 0:
    value = client.get_secret("a", "KEY", timeout=20.0)
    client.close()
    os._exit(0 if value == "value" else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
sys.stdin.readline()
print(client.get_secret("a", "KEY"))
client.close()
"""


def test_a_forked_child(vault: SlowVault) -> None:
    """It does not wait for its parent's login."""
    root = Path(__file__).parents[3]
    with (
        vault.holding(LOGIN, first=1) as answer,
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", FORKING],
            env={**vault.environ, "PYTHONPATH": str(root / "harness")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "0\n"
        assert vault.alive() == []
        answer.set()
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.readline() == "value\n"
        assert process.wait(LONG) == 0
    assert vault.asked.count(LOGIN) == 2
    assert vault.alive() == []


# The login thread


def test_a_client_without_threads(vault: SlowVault) -> None:
    """The login ends with its call."""
    with VaultClient(environ=vault.environ, timeout=2 * LONG, renew=False) as client:
        with ThreadPoolExecutor(1) as pool, vault.holding(LOGIN):
            over = pool.submit(short, client)
            vault.came(LOGIN)
            assert threads() == []
            over.result(LONG)
        assert client.get_secret("a", "KEY") == "value"
    assert vault.asked.count(LOGIN) == 2


def test_without_a_thread_the_call_logs_in_itself(
    client: VaultClient, vault: SlowVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refused(thread: threading.Thread) -> None:
        if thread.name == "vault-login":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert client.get_secret("a", "KEY") == "value"
    assert vault.asked == [LOGIN, READ]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_is_ended(
    client: VaultClient, vault: SlowVault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call logs in."""
    with monkeypatch.context() as patched:

        def ended(*_: object) -> NoReturn:
            raise SystemExit

        patched.setattr(Api, "log_in", ended)
        fails(lambda: client.get_secret("a", "KEY"), VaultUnavailable)
    assert client.get_secret("a", "KEY") == "value"


def test_a_mistake_in_its_thread(client: VaultClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """An internal error arrives without its text and its frames."""

    def explode(_: Api, mount: str, ids: dict[str, str], *__: object) -> object:
        return dict[str, object]()[ids["secret_id"]]

    monkeypatch.setattr(Api, "log_in", explode)
    with pytest.raises(InternalError, match="KeyError at explode") as caught:
        client.get_secret("a", "KEY")
    error = caught.value
    assert "4711" not in str(error)
    assert error.__cause__ is error.__context__ is None
    assert [entry.name for entry in caught.traceback][1:] == ["call"]


def test_a_refused_login(client: VaultClient, vault: SlowVault) -> None:
    """The error is the same as without the thread."""
    vault.logins = 0
    with pytest.raises(CredentialsRejected) as caught:
        client.get_secret("a", "KEY")
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert [entry.name for entry in caught.traceback][1:] == ["call"]
    assert not caught.value.sent
    fails(lambda: client.get_secret("a", "KEY"), CredentialsRejected)
    assert vault.asked == [LOGIN]
