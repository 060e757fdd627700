"""Test a program that renders files, keeps a token or listens, without an adapter.

The suite acts like the application beside it.
"""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote, urlsplit

import requests
import urllib3

from vault_harness import errors
from vault_harness.errors import DeadlineExceeded, named, without_frames
from vault_harness.files import private_directory, write_private
from vault_harness.judge.subjects.agent_config import (
    AgentConfig,
    Placeholders,
    Rendered,
    load_agent,
    secret_in,
)
from vault_harness.judge.subjects.process import (
    ORDINARY,
    Apart,
    Life,
    OfAProcess,
    home_without_token,
    how_ended,
    spawn,
    surroundings,
)
from vault_harness.judge.subjects.protocol import Object
from vault_harness.judge.subjects.python_object import Workers
from vault_harness.judge.subjects.shape import (
    Kind,
    OperationFailed,
    Reading,
    SecretNotServed,
    SubjectHung,
    SubjectSpec,
    log_tail,
)
from vault_harness.waiting import wait_until


class Requests:
    """Reads of a KV engine, version 2, over HTTP.

    A listener has only the suite's time limit, because the program's speed is judged. The program
    takes no part in a request to Vault with a sink's token, and must not be blamed for its delays.
    So that request has its own connection and an early end.

    Args:
        base: Base URL of a listener or of Vault.
        token: A file whose token is sent, read each time.
        authority: A file of the authorities to trust.
        within: Seconds after which a request is given up; None for a listener.
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
        self._session.trust_env = False  # ignore the developer's proxy and netrc
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=64))

    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        if self._within is None or self._within >= timeout:
            return self._workers.run(lambda: self._read(path, key, timeout), "read", timeout)
        within = self._within
        try:
            return self._workers.run(lambda: self._read(path, key, within), "read", within)
        except SubjectHung:  # for example an answer that drips
            raise OperationFailed("unavailable", f"no answer within {within:g} s") from None

    def close(self) -> None:
        self._workers.close()
        self._session.close()

    def _read(self, path: str, key: str, timeout: float) -> Reading:
        # Listeners may require this header, which browsers cannot be made to send.
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
        except (OSError, ValueError) as error:  # another user's file, a folder, or a binary file
            text = f"{self._token.name} cannot be read: {type(error).__name__}"
            raise OperationFailed("unavailable", text) from None


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _value(status: int, answer: dict[str, Any], key: str) -> str:
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


LISTENS_WITHIN = 5.0
"""Seconds to wait for a listener. Reads show if it comes later."""

GIVEN_UP = 2.0
"""Seconds after which a request with a sink's token is given up, if no deadline is set."""

IDS = ("role_id", "secret_id")
"""Each has a placeholder, ``${role_id_file}``."""

OPTIONAL = (
    "VAULT_ROLE_ID",
    "VAULT_SECRET_ID",
    "VAULT_ROLE_ID_FILE",
    "VAULT_SECRET_ID_FILE",
    "VAULT_CACERT",
    "VAULT_CLIENT_CERT",
    "VAULT_CLIENT_KEY",
    "VAULT_NAMESPACE",
    "VAULT_AUTH_MOUNT",
    "VAULT_JWT_FILE",
    "VAULT_JWT_ROLE",
    "VAULT_TOKEN_FILE",
    "VAULT_WRAPPED_SECRET_ID_FILE",
)
"""Placeholders that are empty in scenarios without these variables."""


class AgentSubject(OfAProcess):
    """A program that a configuration describes.

    Args:
        environ: Also the values of placeholders.
        log: A folder beside it is made for the program's files.
    """

    kind: Kind = "agent"

    @without_frames
    def __init__(
        self,
        spec: SubjectSpec,
        environ: Mapping[str, str],
        *,
        log: Path,
        apart: Apart = ORDINARY,
    ) -> None:
        super().__init__(spec.text, log)
        self._closing = False
        config = load_agent(Path(spec.config))
        self._introduced(config.claims())
        directory = private_directory(log.with_suffix(".agent"))
        fill = Placeholders(_known(environ, directory, spec.config), spec.config).fill
        for name, text in config.files.items():
            write_private(directory / name, fill(text))
        self._rendered = {
            one.path: (Path(directory, fill(one.file)), one) for one in config.rendered
        }
        self._requests = _requests(config, environ, directory, fill)
        command = [*apart.within, config.command[0], *map(fill, config.command[1:])]
        around = surroundings({**home_without_token(log), **environ}, apart.withhold)
        leashed = spawn(command, around, log, cwd=directory, talks=False)
        self._life = Life(leashed, lambda _: None)
        if config.listener is not None:
            self._await(fill(config.listener.url))

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """Return the value in the file now, or from the answer to a request."""
        if self._requests is not None:
            self._must_live("read")
            return self._requests.read(path, key, timeout=timeout)
        if path not in self._rendered:
            raise SecretNotServed(
                f"the agent does not render {path}",
                looked_at=f"{self.name}: {', '.join(self._rendered)}",
                remedy="add it to [[rendered]], and to what the program is configured to render",
            )
        return self._look(*self._rendered[path], key)

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        return self.read(path, key, timeout=timeout)

    def _exchange(self, op: str, fields: Object, timeout: float) -> NoReturn:
        """Refuse every operation that is not a read."""
        del fields, timeout
        raise errors.SubjectError(
            f"an agent cannot be asked to {op}",
            looked_at=self.name,
            remedy=f"see {named('docs', 'how-to/agent')}",
        )

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """Send SIGTERM, as a service manager would."""
        if self._closing:
            return
        self._closing = True
        self._life.signal(signal.SIGTERM)
        hung = not self._life.ended.wait(timeout + beyond)
        self.kill()
        if hung:
            raise SubjectHung(
                f"the agent did not end within {timeout + beyond:g} s",
                looked_at=f"pid {self.pid}, after SIGTERM",
                remedy="give a bound to what it does at its end, revoking its token too",
            )

    def kill(self) -> None:
        self._closing = True
        try:
            self._life.end()
        finally:
            if self._requests is not None:
                self._requests.close()

    def is_alive(self) -> bool:
        return not self._life.ended.is_set()

    def _await(self, url: str) -> None:
        parts = urlsplit(url)
        where = (parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80))

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(where, timeout=1.0):
                return True
            return not self.is_alive()

        with suppress(DeadlineExceeded):
            wait_until(listens, "the agent to listen", timeout=LISTENS_WITHIN)

    def _look(self, file: Path, rendered: Rendered, key: str) -> Reading:
        """A file cannot say that it is no longer updated."""
        self._must_live("render")
        try:
            value = secret_in(file.read_bytes().decode("utf-8"), key, rendered)
        except FileNotFoundError:
            raise OperationFailed(None, f"{file.name} is not there") from None
        except (OSError, ValueError, RecursionError) as error:
            # It is half a file, not JSON or not UTF-8, a folder, or another user's.
            message = f"{file.name} cannot be read: {type(error).__name__}"
            raise OperationFailed(None, message) from None
        if value is None:
            raise OperationFailed(None, f"{file.name} has no {key}")
        return Reading(value)

    def _must_live(self, op: str) -> None:
        if (code := self._life.code) is None:
            return
        tail = log_tail(self._log)
        raise errors.SubjectDied(
            f"the agent {how_ended(code)}, so it does not {op} any more",
            looked_at="its output" + (f", which ends:\n{tail}" if tail else ", which is empty"),
            remedy="start it by hand with the same environment, and see why it does not stay",
        )


def _requests(
    config: AgentConfig, environ: Mapping[str, str], directory: Path, fill: Callable[[str], str]
) -> Requests | None:
    """Return None if the application reads files."""
    mount, authority = environ.get("VAULT_MOUNT_POINT", "secret"), environ.get("VAULT_CACERT")
    if config.listener is not None:
        return Requests(fill(config.listener.url), mount)
    if config.sink is not None:
        token = Path(directory, fill(config.sink.file))
        within = float(environ.get("VAULT_CLIENT_TIMEOUT", GIVEN_UP))
        return Requests(
            environ["VAULT_ADDR"], mount, token=token, authority=authority, within=within
        )
    return None


def _known(environ: Mapping[str, str], directory: Path, config: str) -> dict[str, str]:
    """Return the placeholders; ids that came by value are written to files first."""
    known = {
        **dict.fromkeys(OPTIONAL, ""),
        **environ,
        "dir": str(directory),
        "config": str(Path(config).absolute().parent),
        "port": str(_free_port()),
    }
    for name in IDS:
        given = environ.get(f"VAULT_{name.upper()}_FILE", str(directory / name))
        if (value := environ.get(f"VAULT_{name.upper()}")) is not None:
            write_private(Path(given), value)
        known[f"{name}_file"] = given
    return known


def _free_port() -> int:
    """Another program may take the port first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
