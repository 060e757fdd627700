from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from resilient_vault_client import Event
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._transport import Answer
from tests.engine.client.lab import ROOT, Lab, read_until, run, until

FORKING = """
import json, os, sys, threading, time
from resilient_vault_client import VaultClient
path, expected = os.environ["TEST_PATH"], os.environ["TEST_VALUE"]
events = []
vault = VaultClient(on_event=lambda event: events.append(event.name))
assert vault.get_secret(path, "KEY") == expected
stop = threading.Event()
def busy():
    while not stop.is_set():
        vault.get_secret(path, "KEY")
for _ in range(3):
    threading.Thread(target=busy, daemon=True).start()
children = []
for number in range(4):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            events.clear()
            end = time.monotonic() + 2.5
            while time.monotonic() < end:
                assert vault.get_secret(path, "KEY") == expected
                time.sleep(0.01)
            assert events.count("authenticated") == 1, events
            assert "renewed" in events, events
            assert "token_lost" not in events, events
            vault.close()
            code = 0
        except BaseException as error:
            print("child", number, repr(error), flush=True)
        finally:
            os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set()
assert vault.get_secret(path, "KEY") == expected
assert "token_lost" not in events, events
vault.close()
print(json.dumps(codes))
"""


def test_fork(lab: Lab) -> None:
    lab.make_role(token_ttl="2s")
    environ = lab.environ(TEST_PATH=lab.path, TEST_VALUE=lab.value)
    code, said, _ = run(FORKING, environ)

    assert code == 0, said
    assert json.loads(said.splitlines()[0]) == [0, 0, 0, 0], said
    assert lab.route.count("login") == 5
    assert lab.tokens() == 0


def test_child_starts_with_what_the_parent_read(lab: Lab) -> None:
    """A child forked during an outage serves its parent's last good value."""
    script = """
import os
from resilient_vault_client import VaultClient
vault = VaultClient(timeout=1.0)
vault.get_secret(os.environ["TEST_PATH"])
import resilient_vault_client._network as network
def refuse(*a, **k): raise ConnectionRefusedError(111, "refused")
network.DeadlineBackend._first_that_answers = refuse
pid = os.fork()
if pid == 0:
    secret = vault.read(os.environ["TEST_PATH"], "KEY")
    os._exit(0 if secret.stale and secret.value == os.environ["TEST_VALUE"] else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""
    lab.make_role()
    code, said, _ = run(script, lab.environ(TEST_PATH=lab.path, TEST_VALUE=lab.value))
    assert code == 0, said


def test_exit_without_close_gives_the_token_back(lab: Lab) -> None:
    """A program that forgets to close leaves no token, and ends at once."""
    lab.make_role()
    script = (
        "import os; from resilient_vault_client import VaultClient as V; v = V(); v.authenticate()"
    )
    code, said, seconds = run(script, lab.environ())

    assert (code, said) == (0, "")
    assert lab.route.count("login") == 1
    assert lab.tokens() == 0
    assert seconds < 15


def test_exit_while_vault_hangs(lab: Lab) -> None:
    lab.make_role()
    script = """
import contextlib, os, threading
from resilient_vault_client import VaultClient, VaultError
vault = VaultClient(timeout=60.0)
vault.get_secret(os.environ["TEST_PATH"])
def hang():
    # Python aborts where a daemon thread prints its traceback while the program ends.
    with contextlib.suppress(VaultError):
        vault.get_secret("backend/other")
print("ready", flush=True)
threading.Thread(target=hang, daemon=True).start()
import sys; sys.stdin.readline()
raise SystemExit(7)
"""
    environ = {**lab.environ(TEST_PATH=lab.path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**environ, "PYTHONPATH": str(ROOT / "harness")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "ready\n"
        with lab.route.black_hole():
            started = time.monotonic()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.wait(15) == 7
            assert time.monotonic() - started < 6.0


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_renewer_that_died_is_started_again(lab: Lab) -> None:
    lab.make_role(token_ttl="2s")
    client = lab.client()
    client.get_secret(lab.path)
    renewer = client._session().renewer
    thread = renewer._thread
    assert thread is not None
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )
    renewer.wake()
    until(lambda: not thread.is_alive(), "the thread's death")
    health = client.health()
    assert not health.ok
    assert not health.renewer_alive
    assert any("thread" in reason for reason in health.reasons)

    assert client.health().ok
    assert "renewer_restarted" in lab.names()
    read_until(client, lab, lambda: "renewed" in lab.names(), "a renewal")
    assert lab.route.count("login") == 1


def test_renewer_survives_a_mistake(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.make_role(token_ttl="2s")
    client = lab.client()
    client.get_secret(lab.path)
    api = client._session()._api
    broken = [ZeroDivisionError("a mistake")]
    real = api.renew

    def renew(token: str, deadline: Deadline) -> Answer:
        if broken:
            raise broken.pop()
        return real(token, deadline)

    monkeypatch.setattr(api, "renew", renew)
    read_until(client, lab, lambda: broken == [], "the mistake")
    read_until(
        client, lab, lambda: lab.route.count("renew") + lab.route.count("login") == 2, "more"
    )

    assert broken == []
    assert lab.value == client.get_secret(lab.path, "KEY")
    assert client._session().renewer.alive


@pytest.mark.parametrize("first", ["get_secret", "get_secret_cached"])
def test_callback_that_raises_and_calls_back(lab: Lab, first: str) -> None:
    seen: list[str] = []

    def callback(event: Event) -> None:
        seen.append(event.name)
        client.get_secret_cached(lab.path, "KEY")
        client.health()
        raise RuntimeError("a mistake of the application")

    lab.make_role(token_ttl="2s")
    client = lab.client(lab.environ(), on_event=callback)
    started = time.monotonic()
    assert lab.value == getattr(client, first)(lab.path, "KEY")
    assert time.monotonic() - started < 2.0  # far from the call's deadline of 3 s
    until(lambda: "renewed" in seen, "a renewal")

    assert lab.route.count("login") == 1


def test_forgotten_client_ends_by_itself(lab: Lab) -> None:
    """A client without references revokes its token and ends its thread."""
    client = lab.client(on_event=None)
    client.get_secret(lab.path)
    thread = client._session().renewer._thread
    assert thread is not None
    lab.clients.clear()
    del client
    gc.collect()

    until(lambda: not thread.is_alive(), "the thread's end")
    assert lab.tokens() == 0


def test_many_clients_leave_nothing(lab: Lab) -> None:
    lab.make_role()
    environ = lab.environ()
    fds = Path("/proc/self/fd")
    if not fds.exists():
        pytest.skip("counts open files as Linux shows them")
    before = 0
    for number in range(21):
        client = lab.client(environ)
        client.get_secret(lab.path)
        client.close()
        lab.clients.clear()
        if number == 0:
            until(lambda: lab.route.open_connections == 0, "all connections to end")
            before = len(list(fds.iterdir()))
    until(lambda: lab.route.open_connections == 0, "all connections to end")
    gc.collect()

    until(lambda: len(list(fds.iterdir())) <= before + 2, "the files to be closed", 5.0)
    assert lab.tokens() == 0
    assert not [t for t in threading.enumerate() if t.name == "vault-renewer" and t.is_alive()]


@pytest.mark.slow
def test_frozen_for_longer_than_the_token(lab: Lab) -> None:
    lab.make_role(token_ttl="2s")
    script = """
import os, sys, time
from resilient_vault_client import VaultClient
vault = VaultClient()
while True:
    print(vault.read(os.environ["TEST_PATH"], "KEY").source, flush=True)
    time.sleep(0.2)
"""
    environ = {**lab.environ(TEST_PATH=lab.path), "PATH": os.environ["PATH"]}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        env={**environ, "PYTHONPATH": str(ROOT / "harness")},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "vault\n"
            process.send_signal(19)
            time.sleep(4.0)  # two lives of the token
            resumed = time.monotonic()
            process.send_signal(18)
            until(lambda: lab.route.count("login", since=resumed) == 1, "a login", 5.0)
            until(lambda: lab.route.count(lab.path, since=resumed) >= 3, "reads", 5.0)
            burst = [r for r in lab.route.matching("", since=resumed) if r.at < resumed + 0.5]
            assert len(burst) <= 8
            assert lab.route.count("login", since=resumed) == 1
        finally:
            process.kill()


def test_processes_count_failed_logins_together(lab: Lab, tmp_path: Path) -> None:
    """Six starts with a bad secret-id do not lock the role for other clients."""
    lab.make_role()
    environ = lab.environ(VAULT_STATE_DIR=str(tmp_path / "state"))
    environ["VAULT_SECRET_ID"] = "5c1d2ad3-aaaa-bbbb-cccc-0123456789ab"
    script = """
from resilient_vault_client import CredentialsRejected, VaultClient
for _ in range(6):
    client = VaultClient()
    try:
        client.get_secret("backend/x")
    except CredentialsRejected as error:
        assert "secret-id" in str(error)
    client.close()
"""
    code, said, _ = run(script, environ)
    assert code == 0, said
    assert lab.route.count("login") <= 2


def test_count_of_failed_logins_that_a_frozen_process_holds(lab: Lab, tmp_path: Path) -> None:
    """A frozen process that holds the lock costs others a moment, not their deadline."""
    lab.make_role()
    state = tmp_path / "state"
    environ = lab.environ(VAULT_STATE_DIR=str(state))
    lab.client(environ).get_secret(lab.path)
    (file,) = state.iterdir()
    client = lab.client(environ, timeout=20.0)
    with file.open("r+b") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        started = time.monotonic()
        assert client.get_secret(lab.path, "KEY") == lab.value
        assert time.monotonic() - started < 5.0
