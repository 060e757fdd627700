from __future__ import annotations

import atexit
import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from resilient_vault_client import (
    ClientClosed,
    ConfigurationError,
    InvalidPath,
    VaultClient,
    _client,
)
from resilient_vault_client._session import Session
from tests.unit.client.conftest import ENVIRON


def make() -> VaultClient:
    """Make a client and keep no reference to it."""
    return VaultClient(environ=ENVIRON)


def finalizers() -> int:
    gc.collect()
    return len(weakref.finalize._registry)  # type: ignore[attr-defined]  # no other way to count


def test_thousand_forgotten_clients_leave_nothing() -> None:
    make()
    hooks, before = atexit._ncallbacks(), finalizers()
    clients = [make() for _ in range(1000)]
    for client in clients:
        client._session()
    references = [weakref.ref(client) for client in clients]
    del client
    clients.clear()

    assert finalizers() == before
    assert {reference() for reference in references} == {None}
    assert atexit._ncallbacks() == hooks


def test_closed_clients_leave_nothing() -> None:
    """The application still holds them."""
    make()
    before = finalizers()
    clients = [make() for _ in range(10)]
    for client in clients:
        client._session()
        client.close()
    assert finalizers() == before
    assert [client._sessions for client in clients] == [{}] * 10


def locks(session: Session) -> list[Any]:
    parts = [session, *vars(session).values(), session.authenticator._errands]
    kinds = (type(threading.Lock()), type(threading.RLock()), threading.Condition)
    return [
        value
        for part in parts
        if hasattr(part, "__dict__")
        for value in vars(part).values()
        if isinstance(value, kinds)
    ]


@pytest.mark.parametrize("running", [True, False], ids=["with-thread", "without-thread"])
def test_finalizer_takes_no_lock(running: bool) -> None:
    """Garbage collection in a locked section would hang."""
    clients = [make()]
    session = clients[0]._session()
    if running:
        session.renewer.ensure_running()
    held = locks(session)
    for lock in held:
        lock.acquire()
    try:
        # In another thread, since a thread may take some of these locks twice.
        thread = threading.Thread(target=clients.clear, daemon=True)
        thread.start()
        thread.join(10)
        assert not thread.is_alive()
    finally:
        for lock in held:
            lock.release()

    assert len(held) >= 4
    assert session.closed
    session.renewer.join(10)
    assert not session.renewer.alive


def test_closed_while_its_first_call_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    client, made = make(), []

    class Late(Session):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as they came
            made.append(self)
            client.close()  # as another thread would at this moment

    monkeypatch.setattr(_client, "Session", Late)
    with pytest.raises(ClientClosed):
        client.get_secret("a/b")
    assert client._sessions == {}
    assert [session.closed for session in made] == [True]


def test_threads_that_begin_together_share_one_session(monkeypatch: pytest.MonkeyPatch) -> None:
    client, together = make(), threading.Barrier(8)

    class Slow(Session):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as they came
            together.wait(10)

    monkeypatch.setattr(_client, "Session", Slow)
    found: list[Session] = []
    threads = [threading.Thread(target=lambda: found.append(client._session())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert len(found) == 8
    assert len(set(found)) == 1
    client.close()
    assert found[0].closed


def test_unknown_setting_is_named() -> None:
    with pytest.raises(ConfigurationError, match="did you mean timeout") as caught:
        VaultClient(environ=ENVIRON, time_out=5.0)  # type: ignore[call-arg]  # on purpose

    assert "mount_point" in str(caught.value)
    assert "time_out" in str(caught.value)


@pytest.mark.parametrize("value", ["5", True, float("nan"), float("inf"), 1e12])
@pytest.mark.parametrize("call", ["read", "read_cached", "put", "unwrap", "health", "current"])
def test_time_of_a_call_that_is_no_number(call: str, value: Any) -> None:
    client = VaultClient(environ=ENVIRON, renew=False)
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: client.read("a", timeout=value),
        "read_cached": lambda: client.read_cached("a", timeout=value),
        "put": lambda: client.put_secret("a", {}, timeout=value),
        "unwrap": lambda: client.unwrap("w", timeout=value),
        "health": lambda: client.health(timeout=value),
        "current": lambda: client.lease("database/creds/a").current(timeout=value),
    }
    with pytest.raises(ConfigurationError, match="timeout is"):
        calls[call]()
    with pytest.raises(ConfigurationError, match="timeout is"):
        client.close(timeout=value)
    client.close()


@pytest.mark.parametrize("value", [None, 7, b"a"])
def test_path_that_is_no_text(value: Any) -> None:
    with VaultClient(environ=ENVIRON, renew=False) as client:
        for call in (client.read, client.read_cached, client.lease):
            with pytest.raises(InvalidPath, match="must be a string"):
                call(value)


@pytest.mark.parametrize("value", ["5", True, float("nan"), -1.0, 1e12])
def test_time_that_is_no_number(value: object) -> None:
    with pytest.raises(ConfigurationError, match="timeout"):
        VaultClient(environ=ENVIRON, timeout=value)  # type: ignore[arg-type]  # on purpose
