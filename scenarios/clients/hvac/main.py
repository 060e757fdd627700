"""hvac as Apache Airflow's provider for Vault uses it: look at the token, log in, read, retry.

Retries are those of "Retrying failed requests" in hvac's documentation (docs/advanced_usage.rst).
The token is looked at before each use, as in Airflow's `_VaultClient.client` (providers/hashicorp,
_internal_client/vault_client.py). hvac renews nothing.
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
from requests import Session
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

MOUNT = os.environ.get("VAULT_MOUNT_POINT", "secret")
TRIES = 4
PAUSES = 0.8  # seconds: three retries wait for 0, 0.2 and 0.4; the rest is for the look before
TIMEOUT = (float(os.environ.get("VAULT_CLIENT_TIMEOUT", "30")) - PAUSES) / TRIES
"""Seconds, so that all tries of a call end in time."""


def credential(name: str) -> str:
    """An id of the AppRole, from the file if there is one."""
    if file := os.environ.get(f"{name}_FILE"):
        return Path(file).read_text(encoding="utf-8").strip()
    return os.environ[name]


def session() -> Session:
    retries = Retry(
        total=TRIES - 1,
        backoff_factor=0.1,
        status_forcelist=[412, 500, 502, 503],
        raise_on_status=False,
    )
    made = Session()
    made.mount("http://", HTTPAdapter(max_retries=retries))
    made.mount("https://", HTTPAdapter(max_retries=retries))
    # A session's own `verify` hides VAULT_CACERT (hvac/adapters.py:97), so Airflow sets it too.
    made.verify = os.environ.get("VAULT_CACERT", True)
    return made


class NoKey(Exception):
    """The secret is there, and the key is not."""


class Source:
    """One client for all threads, and one login at a time."""

    def __init__(self) -> None:
        self.session = session()
        self.lock = threading.Lock()
        self.current: hvac.Client | None = None

    def client(self) -> hvac.Client:
        """The client, or another one if its token is dead."""
        client = self.current
        if client is not None and client.is_authenticated():
            return client
        with self.lock:
            if self.current is client:
                self.current = self.logged_in()
            return self.current

    def logged_in(self) -> hvac.Client:
        """A client with a token. VAULT_ADDR and VAULT_NAMESPACE are hvac's own defaults."""
        client = hvac.Client(session=self.session, timeout=TIMEOUT)
        client.auth.approle.login(credential("VAULT_ROLE_ID"), credential("VAULT_SECRET_ID"))
        return client

    def read(self, path: str, key: str) -> str:
        # The default of hvac 2, which asks for the word by a warning.
        answer = self.client().secrets.kv.v2.read_secret_version(
            path=path, mount_point=MOUNT, raise_on_deleted_version=True
        )
        data = answer["data"]["data"]
        if key not in data:
            raise NoKey(f"{path} has no key {key}")
        return str(data[key])

    def static(self, path: str) -> dict[str, str]:
        """User and password of a static role. hvac keeps neither, so each call asks Vault."""
        mount, _, name = path.partition("/static-creds/")
        database = self.client().secrets.database
        answer = database.get_static_credentials(name=name, mount_point=mount)
        return {name: answer["data"][name] for name in ("username", "password")}

    def close(self) -> None:
        if self.current:
            self.current.logout(revoke_token=True)


def word(error: Exception) -> str:
    """What the harness calls a failure."""
    if isinstance(error, NoKey):
        return "missing"
    answer = getattr(error, "json", None)
    if not isinstance(answer, dict) or not {"errors", "data"} & set(answer):
        return "unavailable"  # not of Vault's shape
    if isinstance(error, exceptions.Forbidden):
        return "denied"
    if isinstance(error, exceptions.InvalidPath):
        return "deleted" if "data" in answer else "missing"
    return "unavailable"


def answer(source: Source, asked: dict[str, Any]) -> dict[str, Any]:
    if asked["op"] == "hello":
        return {"ok": True, "capabilities": ["read", "static", "tls"], "version": version("hvac")}
    if asked["op"] not in ("read", "static"):
        return {"ok": False, "message": f"there is no operation {asked['op']}"}
    try:
        if asked["op"] == "static":
            return {"ok": True, "value": source.static(asked["path"])}
        return {"ok": True, "value": source.read(asked["path"], asked["key"])}
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller is told
        return {"ok": False, "error": word(error), "message": f"{type(error).__name__}: {error}"}


def ended(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM is as good as the end of the input, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise EOFError


def main() -> None:
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
