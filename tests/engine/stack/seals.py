from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Protocol

from tests.engine.stack import dying
from vault_harness.errors import HarnessError
from vault_harness.local.engine.seal import SealKind, seal_stanza
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord

STEPS = (
    *("began", "keys at hand", "ended Vault", "copied the data", "wrote the stanza"),
    *("started Vault with both seals", "gave the keys", "keyring says what its keys are"),
    *("went over", "proved", "put the old key aside"),
)


class Killed(Protocol):
    """Migrates in a process that dies after a step; returns the printed steps."""

    def __call__(self, target: SealKind, step: str, *, refused: bool = False) -> list[str]:
        """With the option, no node of three migrates."""


def put(stack: LocalStack, value: str) -> None:
    with closing(stack.operator()) as op:
        op.request("POST", "sys/mounts/kept", type="kv", options={"version": "1"})
        op.request("POST", "kept/x", value=value)


def kept(stack: LocalStack) -> object:
    with closing(stack.operator()) as op:
        return op.request("GET", "kept/x")["data"]["value"]


def keep(stack: LocalStack, value: str) -> str:
    """Write a value to Vault; return a token that is not root and reads it."""
    with closing(stack.operator()) as op:
        if "kept/" not in op.request("GET", "sys/mounts")["data"]:
            op.request("POST", "sys/mounts/kept", type="kv", options={"version": "1"})
            op.request(
                "PUT", "sys/policies/acl/reader", policy='path "kept/*" {capabilities = ["read"]}'
            )
        op.request("POST", "kept/x", value=value)
        made = op.request("POST", "auth/token/create-orphan", policies=["reader"], ttl="1h")
        return str(made["auth"]["client_token"])


def read(stack: LocalStack, token: str) -> object:
    with closing(stack.operator()) as op, closing(op.with_token(token)) as reader:
        return reader.request("GET", "kept/x")["data"]["value"]


def all_agree(stack: LocalStack, seal: SealKind) -> None:
    status, keyring = stack.status(), stack.keyring()
    assert (status.state, status.seal, status.migrating_to) == ("ready", seal, None)
    assert StackRecord.load(stack.data_dir).seal == seal
    assert keyring is not None
    assert keyring.kind == ("shamir" if seal == "shamir" else "recovery")
    assert list(seal_stanza(stack.data_dir)) == ([] if seal == "shamir" else [seal])


@contextlib.contextmanager
def deaths() -> Iterator[Killed]:
    """Start the process that lets forks die by SIGKILL, with the current environment."""
    command = [sys.executable, "-P", dying.__file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:

        def killed(target: SealKind, step: str, *, refused: bool = False) -> list[str]:
            assert parent.stdin is not None
            assert parent.stdout is not None
            parent.stdin.write(f"{json.dumps([target, step, refused])}\n")
            parent.stdin.flush()
            told: list[str] = []
            for line in parent.stdout:
                if line.startswith(dying.ENDED):
                    assert line.strip() == f"{dying.ENDED}{-signal.SIGKILL}"
                    return told
                told.append(line.rstrip("\n"))
            raise AssertionError("what lets processes die has ended itself; its traceback is above")

        yield killed


def migrate_and_kill(stack: LocalStack, node: str, moment: float) -> None:
    """Migrate to a static seal, and kill the server `node` while it migrates.

    `moment` counts in seconds from the server's first start with both seals.
    """
    timers: list[threading.Timer] = []

    def checkpoint(step: str) -> None:
        if step == "started Vault with both seals" and not timers:
            pid = StackRecord.load(stack.data_dir).services[node]["pid"]
            timers.append(threading.Timer(moment, os.kill, (pid, signal.SIGKILL)))
            timers[0].start()

    with contextlib.suppress(HarnessError):
        stack.migrate_seal("static", checkpoint=checkpoint)
    timers[0].join()
