from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from resilient_vault_client import VaultClient
from vault_harness.local.stack.env import service_environment
from vault_harness.local.stack.local import LocalStack
from vault_harness.waiting import wait_until


@contextmanager
def backend(stack: LocalStack) -> Iterator[VaultClient]:
    """Yield the backend's client through Toxiproxy, with only what `env` prints."""
    with closing(VaultClient(environ=service_environment(stack, "backend"))) as client:
        yield client


def secret_key(client: VaultClient) -> str:
    return str(client.get_secret("backend/django", "SECRET_KEY"))


def own_ca(stack: LocalStack) -> Path:
    found = stack.endpoints().ca_cert
    assert found is not None
    return found


@contextmanager
def read_meanwhile(client: VaultClient, key: str) -> Iterator[list[str]]:
    """Read all the time in the block; no read may fail.

    Yields the reads so far, for `goes_on`.
    """
    stop, seen = threading.Event(), list[str]()

    def run() -> None:
        while not stop.is_set():
            try:
                seen.append(secret_key(client))
            except Exception as error:  # noqa: BLE001 -- whatever it is, it is noted
                seen.append(repr(error))

    reader = threading.Thread(target=run)
    reader.start()
    try:
        yield seen
        goes_on(seen)
    finally:
        stop.set()
        reader.join()
    assert set(seen) == {key}


def goes_on(seen: list[str]) -> None:
    wanted = len(seen) + 3
    wait_until(lambda: len(seen) >= wanted, "the client to go on", timeout=30)
