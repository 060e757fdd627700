"""hvac as people use it: is the token still good, else log in again; then read. Nothing more.

It is how Apache Airflow's provider for Vault holds its client, for one. hvac has no renewal of its
own, and its documentation shows none.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Any

import hvac
from hvac import exceptions

MOUNT = os.environ.get("VAULT_MOUNT_POINT", "secret")


def credential(name: str) -> str:
    """An id of the AppRole, from the file if there is one."""
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ[name]


class Source:
    """One client for all threads."""

    def __init__(self) -> None:
        # VAULT_ADDR, VAULT_CACERT, VAULT_CLIENT_CERT and VAULT_NAMESPACE are hvac's own defaults.
        self.client = hvac.Client(timeout=float(os.environ.get("VAULT_CLIENT_TIMEOUT", "30")))

    def read(self, path: str, key: str) -> str:
        """One key of a secret."""
        if not self.client.is_authenticated():
            self.client.auth.approle.login(
                credential("VAULT_ROLE_ID"), credential("VAULT_SECRET_ID")
            )
        # True is what hvac 2 does unasked, with a warning that asks for the word: one InvalidPath
        # for a secret that is deleted and for one that never was.
        answer = self.client.secrets.kv.v2.read_secret_version(
            path=path, mount_point=MOUNT, raise_on_deleted_version=True
        )
        return str(answer["data"]["data"][key])

    def close(self) -> None:
        """Give the token back."""
        if self.client.token:
            self.client.logout(revoke_token=True)


def word(error: Exception) -> str:
    """What the harness calls a failure; hvac itself tells them apart by type."""
    if isinstance(error, exceptions.Forbidden):
        return "denied"
    if isinstance(error, exceptions.InvalidPath | KeyError):
        return "missing"
    return "unavailable"


def answer(source: Source, asked: dict[str, Any]) -> dict[str, Any]:
    """What is said to one request."""
    if asked["op"] == "hello":
        return {"ok": True, "capabilities": ["read", "tls"], "version": version("hvac")}
    if asked["op"] != "read":
        return {"ok": False, "message": f"there is no operation {asked['op']}"}
    try:
        return {"ok": True, "value": source.read(asked["path"], asked["key"])}
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
        return {"ok": False, "error": word(error), "message": f"{type(error).__name__}: {error}"}


def ended(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM is as good as the end of the input, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise EOFError


def main() -> None:
    """Answer requests until the end."""
    signal.signal(signal.SIGTERM, ended)
    source, lock = Source(), threading.Lock()

    def serve(asked: dict[str, Any]) -> None:
        said = json.dumps({"id": asked["id"], **answer(source, asked)})
        with lock:
            print(said, flush=True)  # noqa: T201 - the protocol

    with ThreadPoolExecutor(max_workers=64) as pool:
        answering = []
        try:
            for line in sys.stdin:
                asked = json.loads(line)
                if asked["op"] == "close":
                    break
                answering.append(pool.submit(serve, asked))
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is leaving
        except EOFError:
            pass
        wait(answering)
    try:
        source.close()
    except Exception as error:  # noqa: BLE001 - nothing can be done about it
        logging.getLogger("subject").warning("the token was not revoked: %s", type(error).__name__)


if __name__ == "__main__":
    main()
