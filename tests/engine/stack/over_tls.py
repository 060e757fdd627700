"""What tests of a stack over TLS share: the backend's client, whom it trusts, how it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from resilient_vault_client import VaultClient
from vault_harness.stack import LocalStack, service_environment
from vault_harness.waiting import wait_until


@contextmanager
def backend(stack: LocalStack) -> Iterator[VaultClient]:
    """The backend's client, by way of Toxiproxy, with what `env` gives and nothing else."""
    with closing(VaultClient(environ=service_environment(stack, "backend"))) as client:
        yield client


def secret_key(client: VaultClient) -> str:
    """A secret that the backend may read, asked of Vault each time."""
    return str(client.get_secret("backend/django", "SECRET_KEY"))


def own_ca(stack: LocalStack) -> Path:
    """The file with whom its clients trust."""
    found = stack.endpoints().ca_cert
    assert found is not None
    return found


@contextmanager
def read_meanwhile(client: VaultClient, key: str) -> Iterator[list[str]]:
    """Reads all the time; no read may fail.

    Yields:
        What was read so far, for `goes_on`.
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
    """Wait until three reads more have come to an end."""
    wanted = len(seen) + 3
    wait_until(lambda: len(seen) >= wanted, "the client to go on", timeout=30)
