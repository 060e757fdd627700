"""Use the subject's database credentials as a connection pool would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from vault_harness.judge.database import CREDENTIALS, POLICY, READ_ONLY
from vault_harness.judge.lab import Lab
from vault_harness.judge.subjects import Credential
from vault_harness.judge.verdict import NotExercised

__all__ = ["CREDENTIALS", "POLICY", "READ_ONLY", "Pool", "first_credential", "pool"]

EVERY = 0.1
"""Seconds between two logins at the database."""


def first_credential(lab: Lab, path: str = CREDENTIALS) -> Credential:
    """Return the first credential, which the database accepts."""
    credential = lab.client.lease(path)
    if credential is None:
        last = lab.history.calls("lease")[-1]
        raise NotExercised(f"no credential before any fault: {last.told}")
    if not lab.database.accepts(credential):
        raise NotExercised("the database refused the first credential, before any fault")
    return credential


@dataclass
class Pool:
    """What a pool has seen: every user that the database had at some time."""

    users: set[str] = field(default_factory=set)


@contextmanager
def pool(
    lab: Lab,
    path: str = CREDENTIALS,
    *,
    every: float = EVERY,
    logs_in: bool = True,
    reports: bool = True,
    connections: int = 1,
) -> Iterator[Pool]:
    """Ask for the credential repeatedly, and log in to the database with it.

    Args:
        every: Seconds between two logins.
        logs_in: Whether it logs in to the database, or only asks for the credential.
        reports: Whether the next call reports a refused login, as a good pool does.
        connections: Number of connections that share the credential. When its user is first
            refused, all of them report it at once.
    """
    stop = threading.Event()
    failures: list[BaseException] = []
    seen = Pool()
    told: set[str] = set()

    def ask(failed: str | None) -> Credential | None:
        if failed is None or failed in told:
            return lab.client.lease(path, failed)
        told.add(failed)
        with ThreadPoolExecutor(connections) as callers:
            answers = callers.map(lambda _: lab.client.lease(path, failed), range(connections))
            return list(answers)[-1]

    def use() -> None:
        failed: str | None = None
        due = time.monotonic()
        try:
            while not stop.is_set() and lab.client.subject.is_alive():
                credential = ask(failed)
                failed = None
                if credential is not None and logs_in and not lab.database.accepts(credential):
                    failed = credential.username if reports else None
                seen.users |= lab.database.users()
                due = max(due + every, time.monotonic())
                stop.wait(due - time.monotonic())
        except BaseException as error:  # noqa: BLE001 - raised below: a silent pool proves nothing
            failures.append(error)

    thread = threading.Thread(target=use, name="pool", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join(timeout=lab.client.patience + 1.0)
        if failures:
            raise failures[0]
