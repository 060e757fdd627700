"""Use the subject's database credentials as a pool would."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vault_harness.judge.database import (
    BY_HAND,
    CREDENTIALS,
    POLICY,
    READ_ONLY,
    SCHEDULED,
    Password,
)
from vault_harness.judge.driver import beside, paced
from vault_harness.judge.lab import Lab
from vault_harness.judge.oracles import none_of
from vault_harness.judge.subjects import Credential
from vault_harness.judge.verdict import NotExercised

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "BY_HAND",
    "CREDENTIALS",
    "POLICY",
    "READ_ONLY",
    "SCHEDULED",
    "LOGS_IN_EVERY",
    "Connections",
    "Password",
    "Pool",
    "connections",
    "first_credential",
    "first_password",
    "pool",
]

EVERY = 0.1
"""Seconds between logins at the database."""

LOGS_IN_EVERY = 0.25
"""The same where nobody waits for one of them."""


def first_credential(lab: Lab, path: str = CREDENTIALS) -> Credential:
    credential = lab.client.lease(path)
    if credential is None:
        last = lab.history.calls("lease")[-1]
        raise NotExercised(f"no credential before any fault: {last.told}")
    if not lab.database.accepts(credential):
        raise NotExercised("the database refused the first credential, before any fault")
    return credential


@dataclass
class Pool:
    """Every user that the database had at some time."""

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
        reports: Whether the next call reports a refused login, as a good pool does.
        connections: Connections that share the credential. When its user is first refused, all of
            them report it at once.
    """
    stop = threading.Event()
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
        for _ in paced(stop, every):
            if not lab.client.subject.is_alive():
                return
            credential = ask(failed)
            failed = None
            if credential is not None and logs_in and not lab.database.accepts(credential):
                failed = credential.username if reports else None
            seen.users |= lab.database.users()

    with beside(use, name="pool", stop=stop, patience=lab.client.patience + 1.0):
        yield seen


def first_password(lab: Lab, path: str) -> Password:
    credential = lab.client.static(path)
    if credential is None:
        last = lab.history.calls("static")[-1]
        raise NotExercised(f"no password before any fault: {last.told}")
    _note_stranger(lab, path, credential)
    if not lab.database.accepts(credential):
        raise NotExercised("the database refused the first password, before any fault")
    return lab.database.password(path)


@dataclass
class Connections:
    """What connections to the database have seen.

    Attributes:
        lost: Kind and time of each connection error.
        kept: When an older connection was still good.
    """

    lost: dict[str, float] = field(default_factory=dict)
    kept: list[float] = field(default_factory=list)


@contextmanager
def connections(
    lab: Lab, path: str, *, count: int = 1, every: float = EVERY, reports: bool = True
) -> Iterator[Connections]:
    """Open connections repeatedly, each with the credential that the subject then returns.

    A connection stays open until the next one is there, and is tried before it is closed.

    Args:
        count: Connections at a time; each has its own caller.
    """
    stop = threading.Event()
    seen = Connections()

    def use() -> None:
        failed: str | None = None
        due = time.monotonic()
        with ExitStack() as stack:
            while not stop.is_set() and lab.client.subject.is_alive():
                told, failed = failed, None
                credential = lab.client.static(path, told)
                if credential is not None:
                    _note_stranger(lab, path, credential)
                    opened = lab.database.connect(credential)
                    if opened is not None:
                        stack.close()  # closes the earlier connection
                        stack.callback(_try_and_close, lab, opened, seen)
                    elif reports:
                        failed = credential.password
                        if told is None:
                            continue  # a pool tries once more at once
                due = max(due + every, time.monotonic())
                stop.wait(due - time.monotonic())

    patience = lab.client.patience + 1.0
    with beside(*[use] * count, name="pool", stop=stop, patience=patience, apart=every / count):
        yield seen


def _note_stranger(lab: Lab, path: str, credential: Credential) -> None:
    """Note a finding if the credential has the user of another role."""
    if credential.username != lab.database.user(path):
        text, now = f"another user is given for {path}", lab.history.now()
        lab.ask(none_of("a role gives its own user", {text: now}, harm=True))


def _try_and_close(lab: Lab, opened: psycopg.Connection[Any], seen: Connections) -> None:
    import psycopg

    now = lab.history.now()
    try:
        with opened:
            opened.execute("SELECT 1")
        seen.kept.append(now)
    except psycopg.Error as error:
        seen.lost[type(error).__name__] = now
