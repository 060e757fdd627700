from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator

import pytest

from vault_harness.local.toxiproxy.server import addresses
from vault_harness.local.toxiproxy.server.addresses import AddressError, Resolver

FOUND = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))]


class Names:
    """The system's lookup; names that begin with "slow" hang."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answer = threading.Event()

    def getaddrinfo(self, host: str, *_: object, **__: object) -> list[object]:
        self.asked[host] += 1
        if host.startswith("slow"):
            self.answer.wait()
        return [*FOUND]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    yield names
    names.answer.set()


def test_names_that_hang_hold_up_no_other(names: Names) -> None:
    async def run() -> list[str]:
        resolver = Resolver()
        hanging = [
            asyncio.create_task(resolver.addresses(f"slow{number}.test")) for number in range(100)
        ]
        await asyncio.sleep(0)  # the lookups have begun
        found = await resolver.addresses("quick.test")
        assert not any(task.done() for task in hanging)
        names.answer.set()
        await asyncio.gather(*hanging)
        return found

    assert asyncio.run(run()) == ["192.0.2.7"]


def test_lookups_of_one_name_share_a_thread(names: Names) -> None:
    """A later lookup asks again."""

    async def run() -> None:
        resolver = Resolver()
        tasks = [asyncio.create_task(resolver.addresses("slow.test")) for _ in range(50)]
        await asyncio.sleep(0)  # the lookups have begun
        names.answer.set()
        assert await asyncio.gather(*tasks) == [["192.0.2.7"]] * 50
        assert names.asked == {"slow.test": 1}
        await resolver.addresses("slow.test")
        assert names.asked == {"slow.test": 2}

    asyncio.run(run())


def test_a_name_that_hangs_is_given_up(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has Go's words, and the late end does no harm."""

    async def run() -> None:
        resolver = Resolver()
        with monkeypatch.context() as patch:
            patch.setattr(addresses, "RESOLVE_TIMEOUT", 0.01)
            with pytest.raises(AddressError, match=r"^lookup slow\.test: i/o timeout$"):
                await resolver.addresses("slow.test")
        names.answer.set()
        assert await resolver.addresses("slow.test") == ["192.0.2.7"]

    asyncio.run(run())


def test_a_machine_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only that lookup fails."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def run() -> None:
        resolver = Resolver()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(AddressError, match="no such host"):
                await resolver.addresses("quick.test")
        monkeypatch.setattr(socket, "getaddrinfo", Names().getaddrinfo)
        assert await resolver.addresses("quick.test") == ["192.0.2.7"]

    asyncio.run(run())
