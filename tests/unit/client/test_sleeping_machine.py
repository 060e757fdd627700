"""What Vault gave out ages while a machine sleeps, though the monotonic clock stands still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import httpcore
import pytest

from resilient_vault_client import Config, VaultClient, VaultUnreachable, _deadline, _errands
from resilient_vault_client._errands import Background
from resilient_vault_client._network import Resolver, TlsFiles, _Connection
from resilient_vault_client._transport import Api
from tests.unit.client.conftest import ENVIRON, PATH, Vault

Sleep = Callable[[float], None]


@pytest.fixture
def sleep(monkeypatch: pytest.MonkeyPatch) -> Sleep:
    """Let the machine sleep that many seconds, which `time.monotonic` does not count."""
    real, slept = time.clock_gettime, [0.0]

    def clock_gettime(which: int) -> float:
        return real(which) + (slept[0] if which == _deadline._CLOCK else 0.0)

    monkeypatch.setattr(time, "clock_gettime", clock_gettime)
    return lambda seconds: slept.append(slept.pop() + seconds)


@pytest.fixture
def client(vault: Vault) -> Iterator[VaultClient]:
    del vault
    with VaultClient(
        environ=ENVIRON, renew=False, timeout=0.5, cache_ttl=600.0, max_stale=3600.0
    ) as client:
        yield client


def test_a_value_in_the_cache(client: VaultClient, vault: Vault, sleep: Sleep) -> None:
    for read in (client.get_secret_cached, client.read_cached):
        read("a", "KEY")
        before = vault.count("read")
        read("a", "KEY")
        assert vault.count("read") == before
        sleep(700.0)
        read("a", "KEY")
        assert vault.count("read") == before + 1


def test_a_stand_in_serves_for_its_time_and_has_its_age(
    client: VaultClient, sleep: Sleep, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    client.read("a")
    sleep(2000.0)
    client.read("a")

    assert vault.asked == ["login", "read t1", "login", "read t2"]


def test_a_lease(client: VaultClient, sleep: Sleep) -> None:
    lease = client.lease(PATH)
    assert lease.current().username == "user-1"
    sleep(1000.0)

    assert lease.current().username == "user-2"


def test_a_connection(sleep: Sleep) -> None:
    """The server may be gone."""
    origin = httpcore.Origin(b"http", b"127.0.0.1", 1)
    connection = _Connection(origin, Resolver(), TlsFiles(Config()))
    connection._http._connection = Idle()  # type: ignore[assignment]  # all that is asked of it
    assert not connection.ended
    sleep(60.0)

    assert connection.ended


class Idle:
    """A connection that is open as far as this side knows."""

    def is_closed(self) -> bool:
        return False

    def has_expired(self) -> bool:
        return False


class Waiting(Background):
    def __init__(self) -> None:
        super().__init__("vault-test", "wait")
        self.looked: threading.Semaphore = threading.Semaphore(0)

    def _step(self) -> float | None:
        self.looked.release()
        return 3600.0


def test_a_thread_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait stands still in a sleep, so the thread wakes now and then to look what is due."""
    monkeypatch.setattr(_errands, "_LOOK_EVERY", 0.01)
    waiting = Waiting()
    waiting.ensure_running()
    try:
        for _ in range(3):
            assert waiting.looked.acquire(timeout=30.0)
    finally:
        waiting.stop()
        waiting.join(30.0)
