"""A machine that sleeps: what Vault gave gets older meanwhile, whatever stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import httpcore
import pytest

from resilient_vault_client import Config, VaultClient, VaultUnreachable, _background, _clock
from resilient_vault_client._api import Api
from resilient_vault_client._background import Background
from resilient_vault_client._pool import _Connection
from resilient_vault_client._resolver import Resolver
from resilient_vault_client._tls import TlsFiles

PATH = "database/creds/app"

ENVIRON = {
    "VAULT_ADDR": "http://127.0.0.1:1",
    "VAULT_ROLE_ID": "r",
    "VAULT_SECRET_ID": "s",
    "VAULT_CLIENT_TIMEOUT": "0.5",
    "VAULT_CACHE_TTL": "10m",
    "VAULT_MAX_STALE": "1h",
}

Sleep = Callable[[float], None]


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    """Lets the machine sleep for so many seconds, which `time.monotonic` does not count."""
    real, slept = time.clock_gettime, [0.0]

    def clock_gettime(which: int) -> float:
        return real(which) + (slept[0] if which == _clock._CLOCK else 0.0)

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    return lambda seconds: slept.append(slept.pop() + seconds)


class Vault:
    """One that answers everything.

    Attributes:
        asked: What it was asked for, and with which token.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def log_in(self, *_: Any) -> dict[str, Any]:
        """Another token, for half an hour."""
        self.asked.append(("login", ""))
        token = f"t{self.count('login')}"
        return {"auth": {"client_token": token, "lease_duration": 1800, "renewable": True}}

    def read_secret(self, token: str, *_: Any, **__: Any) -> dict[str, Any]:
        """A secret."""
        self.asked.append(("read", token))
        return {"data": {"data": {"KEY": "value"}, "metadata": {"version": 1}}}

    def lease(self, token: str, *_: Any) -> dict[str, Any]:
        """Another credential, for a quarter of an hour."""
        self.asked.append(("lease", token))
        data = {"username": f"user-{self.count('lease')}", "password": "p"}
        return {"lease_id": "l", "lease_duration": 900, "renewable": False, "data": data}

    def revoke(self, *_: Any) -> None:
        """The end of a token."""

    def count(self, what: str) -> int:
        """How often it was asked for that."""
        return [name for name, _ in self.asked].count(what)


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    """It answers instead of a server."""
    vault = Vault()
    for name in ("log_in", "read_secret", "lease", "revoke"):
        monkeypatch.setattr(Api, name, getattr(vault, name))
    return vault


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    """One without threads."""
    del vault
    with VaultClient(environ=ENVIRON, renew=False) as client:
        yield client


def test_a_value_in_the_cache(client: VaultClient, vault: Vault, sleep: Sleep) -> None:
    """It is asked for again when its time is over, in either way of reading from memory."""
    for read in (client.get_secret_cached, client.read_cached):
        read("a", "KEY")
        before = vault.count("read")
        read("a", "KEY")
        assert vault.count("read") == before
        sleep(700.0)
        read("a", "KEY")
        assert vault.count("read") == before + 1


def test_a_value_that_stands_in(
    client: VaultClient, sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does so for its time, and says how old it is."""
    client.read("a", "KEY")

    def gone(*_: Any, **__: Any) -> NoReturn:
        raise VaultUnreachable("refused", sent=False)

    for name in ("log_in", "read_secret"):
        monkeypatch.setattr(Api, name, gone)
    sleep(3000.0)
    assert client.read("a", "KEY").age >= 3000.0
    sleep(3000.0)
    with pytest.raises(VaultUnreachable):
        client.read("a", "KEY")


def test_a_token(client: VaultClient, vault: Vault, sleep: Sleep) -> None:
    """One that has ended is not used: there is a login before the read."""
    client.read("a")
    sleep(2000.0)
    client.read("a")

    assert vault.asked == [("login", ""), ("read", "t1"), ("login", ""), ("read", "t2")]


def test_a_lease(client: VaultClient, sleep: Sleep) -> None:
    """A credential that has ended is not handed out."""
    lease = client.lease(PATH)
    assert lease.current().username == "user-1"
    sleep(1000.0)

    assert lease.current().username == "user-2"


def test_a_connection(sleep: Sleep) -> None:
    """One that nobody has used for long is none to begin with: the other side may be gone."""
    origin = httpcore.Origin(b"http", b"127.0.0.1", 1)
    connection = _Connection(origin, Resolver(), TlsFiles(Config()))
    connection._http._connection = Idle()  # type: ignore[assignment]  # all that is asked of it
    assert not connection.ended
    sleep(60.0)

    assert connection.ended


class Idle:
    """A connection that is open as far as this side knows."""

    def is_closed(self) -> bool:
        """No."""
        return False

    def has_expired(self) -> bool:
        """No."""
        return False


class Waiting(Background):
    """Has nothing to do for an hour."""

    def __init__(self) -> None:
        super().__init__("vault-test", "wait")
        self.looked: threading.Semaphore = threading.Semaphore(0)

    def _step(self) -> float | None:
        self.looked.release()
        return 3600.0


def test_a_thread_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its wait stands still in a sleep, so it looks now and then whether something is due."""
    monkeypatch.setattr(_background, "_LOOK_EVERY", 0.01)
    waiting = Waiting()
    waiting.ensure_running()
    try:
        for _ in range(3):
            assert waiting.looked.acquire(timeout=30.0)
    finally:
        waiting.stop()
        waiting.join(30.0)
