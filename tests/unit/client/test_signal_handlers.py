"""A signal handler may use the client wherever the signal arrives.

Python runs the handler in the main thread, between two lines of the running code.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import resilient_vault_client
from resilient_vault_client import (
    ClientClosed,
    Config,
    VaultClient,
    VaultError,
    VaultSealed,
    VaultUnavailable,
    _network,
)
from resilient_vault_client._deadline import Backoff, Deadline
from resilient_vault_client._network import Resolver
from resilient_vault_client._retrier import Circuit
from resilient_vault_client._transport import Api
from resilient_vault_client.events import Notifier

PACKAGE = str(Path(resilient_vault_client.__file__).parent)

PATH = "database/creds/app"

ENVIRON = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_ROLE_ID": "r",
    "VAULT_SECRET_ID": "s",
    "VAULT_CLIENT_TIMEOUT": "5",
}

AT_ONCE = 2.5
"""Seconds: half of the client's deadline, and plenty for a busy machine."""

HANGS = 30.0
"""Seconds after which a hanging test is ended."""


@pytest.fixture(autouse=True)
def _nothing_hangs() -> Iterator[None]:
    """A thread would wait forever for a lock that it holds itself."""

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise TimeoutError("it waits for itself")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, HANGS)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0.0)
    signal.signal(signal.SIGALRM, before)


class Handler:
    """A handler that records results, errors and the seconds of the slowest signal."""

    def __init__(self, use: Callable[[], object]) -> None:
        self.came, self.took = 0, 0.0
        self.found: list[object] = []
        self.failed: list[VaultError] = []
        self._use = use

    def __call__(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        began = time.monotonic()
        self.came += 1
        try:
            self.found.append(self._use())
        except VaultError as error:
            self.failed.append(error)
        self.took = max(self.took, time.monotonic() - began)


@contextlib.contextmanager
def handling(use: Callable[[], object]) -> Iterator[Handler]:
    handler = Handler(use)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield handler
    finally:
        signal.signal(signal.SIGUSR1, before)


class AtLine:
    """Send the signal when the main thread is about to run its n-th line in the client."""

    def __init__(self, number: int) -> None:
        self._left = number

    @property
    def came(self) -> bool:
        """Whether there were that many lines."""
        return self._left <= 0

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        """Trace as `sys.settrace` asks."""
        del arg
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            self._left -= 1
            if self._left == 0:
                signal.raise_signal(signal.SIGUSR1)
        return self

    def run(self, call: Callable[[], object]) -> object:
        before = sys.gettrace()
        sys.settrace(self)
        try:
            return call()
        except ClientClosed:
            return None
        finally:
            sys.settrace(before)


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Vault that is sealed at the first request."""
    auth = {"client_token": "t", "lease_duration": 600, "renewable": True}
    secret = {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}}
    data = {"username": "user", "password": "p"}
    leased = {"lease_id": "l", "lease_duration": 600, "renewable": True, "data": data}

    def log_in(api: Any, *_: Any) -> Any:
        if not hasattr(api, "asked_before"):
            api.asked_before = True
            raise VaultSealed("sealed", sent=False)
        return {"auth": auth}

    monkeypatch.setattr(Api, "log_in", log_in)
    monkeypatch.setattr(Api, "read_secret", lambda *_, **__: secret)
    monkeypatch.setattr(Api, "lease", lambda *_: leased)
    monkeypatch.setattr(Api, "revoke", lambda *_: None)
    monkeypatch.setattr(Backoff, "next", lambda *_, **__: 0.0005)


USES: dict[str, Callable[[VaultClient], object]] = {
    "read": lambda client: client.get_secret("a/b", "KEY"),
    "cached": lambda client: client.get_secret_cached("a/b", "KEY"),
    "lease": lambda client: client.lease(PATH).current().username,
    "close": lambda client: client.close(),
}
GIVE = {"read": "value", "cached": "value", "lease": "user", "close": None}


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(
    "renew",
    [
        pytest.param(True, id="with-threads"),
        pytest.param(False, id="without-threads", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    ("call", "use"),
    [("cached", "cached"), ("cached", "close"), ("lease", "lease"), ("close", "close")],
)
def test_a_signal_at_each_line_of_a_call(call: str, use: str, renew: bool) -> None:
    """Both succeed, or get an error that says why not."""
    for number in range(1, 100_000):
        client = VaultClient(environ=ENVIRON, renew=renew)
        if call == "close":
            client.authenticate()
        at = AtLine(number)
        with handling(lambda one=client: USES[use](one)) as handler:  # type: ignore[misc]  # mypy knows no lambda with a default
            given = at.run(lambda one=client: USES[call](one))  # type: ignore[misc]  # nor this
        began = time.monotonic()
        client.close()

        assert time.monotonic() - began < AT_ONCE  # two threads to end, and no more
        assert given == GIVE[call] or use == "close"
        assert set(handler.found) <= {GIVE[use]}
        assert all(isinstance(error, VaultUnavailable) for error in handler.failed)
        assert handler.took < AT_ONCE
        if not at.came:
            assert number > 50
            break
        assert handler.came == 1


def test_in_the_midst_of_reading_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler needs a connection and loads certificates of its own."""
    files = _network.TlsFiles(Config(address="https://vault:8200"))
    build = _network._build
    left = [None]

    def build_after_a_signal(config: Config) -> Any:
        if left:
            left.pop()
            signal.raise_signal(signal.SIGUSR1)
        return build(config)

    monkeypatch.setattr(_network, "_build", build_after_a_signal)
    with handling(files.context) as handler:
        context = files.context()

    assert len(handler.found) == 1
    assert files.context() is context


def test_in_the_midst_of_looking_a_name_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The handler looks the name up itself."""
    address = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 8200))]

    def look_up(host: str, port: int, **how: Any) -> Any:
        del host, port
        if how.get("flags"):
            raise socket.gaierror("a name")
        return address

    start = threading.Thread.start
    left = [None]

    def start_after_a_signal(thread: threading.Thread) -> None:
        if left:
            left.pop()
            signal.raise_signal(signal.SIGUSR1)
        start(thread)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(threading.Thread, "start", start_after_a_signal)
    resolver = Resolver()
    with handling(lambda: resolver.addresses("vault", 8200, 5.0)) as handler:
        assert resolver.addresses("vault", 8200, 5.0) == address

    assert handler.found == [address]
    assert handler.took < AT_ONCE
    for thread in threading.enumerate():
        if thread.name == "vault-resolver":
            thread.join(HANGS)
    assert resolver._pending == {}


def test_in_the_midst_of_finding_out_whether_vault_is_back() -> None:
    """The handler does not wait for the probe that it has interrupted."""
    circuit = Circuit(Backoff(1.0), Notifier(None))
    circuit.failed(circuit.admit("read a", Deadline(5.0)), VaultSealed("sealed"))
    outage = circuit.outage
    assert outage is not None
    outage.next_attempt = 0.0
    probe = circuit.admit("read a", Deadline(5.0))
    assert probe.probes
    with handling(lambda: circuit.admit("read b", Deadline(5.0))) as handler:
        signal.raise_signal(signal.SIGUSR1)

    assert [type(error) for error in handler.failed] == [VaultSealed]
    assert handler.took < AT_ONCE
    circuit.succeeded(probe)
    assert circuit.admit("read b", Deadline(5.0)).probes == ()
