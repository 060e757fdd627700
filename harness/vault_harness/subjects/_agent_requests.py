"""What an application would send, to a listener or with a sink's token; the suite does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
import urllib3

from vault_harness.subjects._shape import OperationFailed, Reading, SubjectHung
from vault_harness.subjects._workers import Workers


class Requests:
    """Reads of a KV engine, version 2, over HTTP.

    A listener has no time limit but the suite's own: how long a call takes is up to the program
    under test, and judged. Where Vault itself is asked, with a sink's token, nothing on the way is
    the program's: each request has a connection of its own and ends in time, or the suite would
    find its own faults with it.

    Args:
        base: Base URL, of a listener or of Vault.
        mount: Mount point of the engine.
        token: A file whose token is sent, read anew each time; without one none is sent.
        authority: A file of the authorities to trust, for https.
        within: Seconds in which each request is given up; none for a listener's.
    """

    def __init__(
        self,
        base: str,
        mount: str,
        *,
        token: Path | None = None,
        authority: str | None = None,
        within: float | None = None,
    ) -> None:
        self._base = base.rstrip("/")
        self._mount = mount
        self._token = token
        self._verify = authority or True
        self._within = within
        self._workers = Workers("agent's listener")
        self._session = requests.Session()
        self._session.trust_env = False  # neither a proxy nor a netrc of the developer's
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=64))

    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """One key of the secret at ``path``.

        Raises:
            OperationFailed: With an outcome: what was answered, or that nothing was.
            SubjectHung: Nothing was within ``timeout`` seconds.
        """
        if self._within is None or self._within >= timeout:
            return self._workers.run(lambda: self._read(path, key, timeout), "read", timeout)
        within = self._within
        try:
            return self._workers.run(lambda: self._read(path, key, within), "read", within)
        except SubjectHung:  # an answer that drips, say
            raise OperationFailed("unavailable", f"no answer within {within:g} s") from None

    def close(self) -> None:
        """Let go of the connections."""
        self._workers.close()
        self._session.close()

    def _read(self, path: str, key: str, timeout: float) -> Reading:
        # Listeners may ask for this header, so that no browser can be made to send a request.
        headers = {"X-Vault-Request": "true"}
        if self._token is not None:
            headers["X-Vault-Token"] = self._its_token()
            headers["Connection"] = "close"
        url = f"{self._base}/v1/{quote(self._mount)}/data/{quote(path)}"
        try:
            answer = self._session.get(
                url, headers=headers, timeout=timeout, verify=self._verify, allow_redirects=False
            )
            content = answer.content
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise OperationFailed("unavailable", f"no answer: {type(error).__name__}") from None
        return Reading(_value(answer.status_code, _parsed(content), key))

    def _its_token(self) -> str:
        assert self._token is not None
        try:
            return self._token.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            raise OperationFailed("unavailable", f"{self._token.name} is not there") from None
        except (OSError, ValueError) as error:  # somebody else's, a folder, or no text
            text = f"{self._token.name} cannot be read: {type(error).__name__}"
            raise OperationFailed("unavailable", text) from None


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _value(status: int, answer: dict[str, Any], key: str) -> str:
    """The value of a key in an answer, or the word for why there is none."""
    data = answer.get("data")
    data = data if isinstance(data, dict) else {}
    if status == 200:
        inner = data.get("data")
        if not isinstance(inner, dict):
            raise OperationFailed("unavailable", "the answer is no secret")
        value = inner.get(key)
        if not isinstance(value, str):
            raise OperationFailed("missing", f"there is no {key} in it")
        return value
    if status == 404:
        raise OperationFailed("deleted" if "metadata" in data else "missing", "answered 404")
    raise OperationFailed("denied" if status == 403 else "unavailable", f"answered {status}")
