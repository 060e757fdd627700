from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

from resilient_vault_client import PermissionDenied, VaultClient, VaultSealed, VaultTimeout
from resilient_vault_client._deadline import Deadline, clock
from resilient_vault_client._memory import Memory, Remembered
from resilient_vault_client._session import Denials
from resilient_vault_client.events import Event, Notifier, Recovered, ServedStale


def entry(path: str, *, asked: float = 0.0, fresh: float = 60.0) -> Remembered:
    """It was asked for ``asked`` seconds ago, and is fresh for ``fresh`` seconds more."""
    now = clock()
    return Remembered(path, {"KEY": path}, 1, now - asked, now + fresh)


def test_younger_value_is_kept() -> None:
    """An answer to an earlier request does not replace a later answer."""
    memory = Memory(60.0)
    memory.keep(entry("a", asked=1.0))
    young = memory.fresh("a")
    memory.keep(entry("a", asked=2.0))

    assert memory.fresh("a") is young


def test_a_value_is_there_while_a_younger_one_takes_its_place() -> None:
    """A reader without a lock always finds a value."""
    memory = Memory(60.0)
    memory.keep(entry("a", asked=1.0))
    young = entry("a")
    seen: list[Remembered | None] = []

    def look(*_: object) -> Any:
        seen.append(memory.stand_in("a"))
        return look

    before = sys.gettrace()
    sys.settrace(look)
    try:
        memory.keep(young)
    finally:
        sys.settrace(before)
    assert len(seen) > 5
    assert None not in seen
    assert memory.stand_in("a") is young


def test_old_value_does_not_stand_in() -> None:
    memory = Memory(60.0)
    memory.keep(entry("a", asked=61.0))
    memory.keep(entry("b", asked=1.0, fresh=-0.5))

    assert memory.stand_in("a") is None
    assert memory.stand_in("b") is not None
    assert memory.fresh("b") is None


def test_a_written_value_only_bridges_an_outage() -> None:
    memory = Memory(60.0)
    memory.keep(entry("a"))
    memory.expire("a")

    assert memory.fresh("a") is None
    assert memory.stand_in("a") is not None


def test_an_earlier_read_does_not_replace_a_written_value() -> None:
    memory = Memory(60.0)
    late = entry("a", asked=1.0)
    memory.expire("a")
    memory.keep(late)

    assert memory.fresh("a") is None
    assert memory.stand_in("a") is not None
    memory.keep(entry("a"))
    assert memory.fresh("a") is not None


def test_only_the_latest_written_paths_are_remembered() -> None:
    memory = Memory(60.0, most=10)
    for number in range(100):
        memory.expire(f"path-{number}")

    assert len(memory._written) == 10
    memory.keep(entry("path-99", asked=1.0))
    assert memory.fresh("path-99") is None


def test_memory_is_bounded() -> None:
    """Only the latest paths are remembered."""
    memory = Memory(60.0, most=10)
    for number in range(100):
        memory.keep(entry(f"path-{number}"))
    memory.keep(entry("path-95"))

    assert len(memory.entries) == 10
    assert memory.latest_path == "path-95"
    assert memory.fresh("path-99") is not None
    assert memory.fresh("path-89") is None


def test_useless_values_are_forgotten_first() -> None:
    memory = Memory(60.0, most=2)
    memory.keep(entry("useful", asked=5.0))
    memory.keep(entry("too old", asked=100.0, fresh=-1.0))
    memory.keep(entry("new"))

    assert list(memory.entries) == ["useful", "new"]


def test_locks_of_paths_are_let_go() -> None:
    """It does not matter how the refresh ended."""
    memory = Memory(60.0)
    for number in range(100):
        with memory.refreshing(f"path-{number}", Deadline(1.0)):
            pass
    with memory.refreshing("a", Deadline(1.0)):
        refused: list[VaultTimeout] = []

        def wait() -> None:
            try:
                with memory.refreshing("a", Deadline(0.01)):
                    raise AssertionError("two threads refresh at one time")
            except VaultTimeout as late:
                refused.append(late)

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(10)
    assert [error.path for error in refused] == ["a"]
    assert memory._refreshes == {}


def test_child_has_a_memory_of_its_own() -> None:
    """It has the values, but not the locks of the parent's threads."""
    memory = Memory(60.0)
    memory.keep(entry("a"))
    with memory.refreshing("a", Deadline(1.0)), memory._lock:
        copy = memory.copy()
        with copy.refreshing("a", Deadline(1.0)):
            copy.forget("a")

    assert memory.fresh("a") is not None


def test_denials_are_bounded() -> None:
    denials = Denials()
    for number in range(5000):
        denials.note(f"path-{number}", 60.0)
    denials.note("ended", -1.0)

    assert len(denials._until) <= 1024
    with pytest.raises(PermissionDenied):
        denials.check("path-4999")
    denials.check("path-0")
    denials.check("ended")
    assert "ended" not in denials._until


def test_warnings_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """The callback hears of all, and the next outage warns."""
    heard: list[Event] = []
    notifier = Notifier(heard.append)
    stale = [
        ServedStale(path=f"path-{number}", age=1.0, error=VaultSealed("sealed"))
        for number in range(1000)
    ]
    for event in stale:
        notifier.notify(event)

    assert len(notifier._warned) == caplog.text.count("served_stale") == 100
    assert len(heard) == 1000
    notifier.notify(Recovered(seconds=1.0))
    notifier.notify(stale[-1])
    assert caplog.text.count("served_stale") == 101


def nested() -> Remembered:
    now = clock()
    values = {"HOSTS": ["a", "b"], "LIMITS": {"low": [1]}}
    return Remembered("a", values, 1, now, now + 60.0)


@pytest.mark.parametrize("key", [None, "HOSTS", "LIMITS"])
def test_a_caller_may_change_its_value(key: str | None) -> None:
    """The next caller gets what Vault said."""
    memory = Memory(60.0)
    memory.keep(nested())
    known = memory.fresh("a")
    assert known is not None
    value = known.pick(key)
    spoil(value)

    assert value != known.pick(key)
    assert known.pick(None) == nested().pick(None)


def test_the_lock_free_read_copies_the_value_too() -> None:
    client = VaultClient(environ={"VAULT_ADDR": "http://127.0.0.1:1"}, renew=False, testing=True)
    with client:
        client._session().memory.keep(nested())
        for key in ("HOSTS", "LIMITS"):
            spoil(client.get_secret_cached("a", key))
            assert client.get_secret_cached("a", key) == nested().pick(key)


def spoil(value: Any) -> None:
    if isinstance(value, dict):
        for one in value.values():
            spoil(one)
        value["more"] = 1
    elif isinstance(value, list):
        value.append("more")
