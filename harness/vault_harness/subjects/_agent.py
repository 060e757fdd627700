"""A program under test that renders files, keeps a token or listens: nobody writes an adapter.

The suite does what an application beside it would do: it reads the file, or sends a request.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from vault_harness import errors
from vault_harness.boundary import without_frames
from vault_harness.commands import named
from vault_harness.errors import DeadlineExceeded
from vault_harness.files import private_directory, write_private
from vault_harness.subjects._agent_config import (
    AgentConfig,
    Leaves,
    Placeholders,
    Rendered,
    load_agent,
    secret_in,
)
from vault_harness.subjects._agent_requests import Requests
from vault_harness.subjects._home import home_without_token
from vault_harness.subjects._process import Life, how_ended, spawn, surroundings
from vault_harness.subjects._shape import (
    Kind,
    OperationFailed,
    Reading,
    SecretNotServed,
    SubjectHung,
    SubjectSpec,
    log_tail,
    log_text,
)
from vault_harness.waiting import wait_until

LISTENS_WITHIN = 5.0
"""Seconds for which a listener is waited for; one that comes later, reads tell of."""

GIVEN_UP = 2.0
"""Seconds after which a request with a sink's token is given up, where no deadline is told."""

IDS = ("role_id", "secret_id")
"""What an AppRole logs in with: placeholders ``${role_id_file}`` and ``${secret_id_file}``."""

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
"""Variables of some scenarios only; as placeholders they are empty in the others."""


class AgentSubject:
    """A program that a configuration describes.

    It is ready as soon as it runs, and listens if that is what it does: whether there is anything
    to read yet, reads tell.

    Args:
        spec: Which configuration.
        environ: What the program is configured by, also the values of placeholders.
        log: Where its output goes; a folder beside it is made for the program's files.
        withhold: Names of variables that it must not inherit.
        within: What starts it, and becomes it.
    """

    kind: Kind = "agent"

    @without_frames
    def __init__(
        self,
        spec: SubjectSpec,
        environ: Mapping[str, str],
        *,
        log: Path,
        withhold: Collection[str] = (),
        within: Sequence[str] = (),
    ) -> None:
        self.name = spec.text
        self._log = log
        self._closing = False
        config = load_agent(Path(spec.config))
        said = config.claims()
        self.capabilities, self.declares, self.version = (
            said.capabilities,
            said.declares,
            said.version,
        )
        self.leaves: frozenset[Leaves] = config.leaves
        directory = private_directory(log.with_suffix(".agent"))
        fill = Placeholders(_known(environ, directory, spec.config), spec.config).fill
        for name, text in config.files.items():
            write_private(directory / name, fill(text))
        self._rendered = {
            one.path: (Path(directory, fill(one.file)), one) for one in config.rendered
        }
        self._requests = _requests(config, environ, directory, fill)
        command = [*within, config.command[0], *map(fill, config.command[1:])]
        around = surroundings({**home_without_token(log), **environ}, withhold)
        leashed = spawn(command, around, log, cwd=directory, talks=False)
        self._life = Life(leashed, lambda _: None)
        if config.listener is not None:
            self._await(fill(config.listener.url))

    def __repr__(self) -> str:
        return f"<{self.name}, pid {self.pid}>"

    @property
    def pid(self) -> int | None:
        """Its process."""
        return self._life.process.pid

    @property
    def cpu(self) -> float:
        """Seconds of processor time that it has used, once it has ended."""
        return self._life.cpu

    @property
    def exit_code(self) -> int | None:
        """How its process ended, negative by a signal; None while it lives."""
        return self._life.code

    @property
    def tells_outcomes(self) -> bool:
        """Whether it tells one failure from another: a listener does, a file does not."""
        return "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """What is in the file now, or what a request is answered.

        Raises:
            SecretNotServed: No file of this secret is configured.
        """
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
        """The same: a rendered file is a cache."""
        return self.read(path, key, timeout=timeout)

    def read_all(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("read_all")

    def write(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("write")

    def lease(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("lease")

    def update(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("update")

    def fork(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("fork")

    def herd(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("herd")

    def read_by(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("herd")

    def health(self, *_: object, **__: object) -> NoReturn:
        """It cannot."""
        self._cannot("health")

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """SIGTERM, as a service manager would.

        Raises:
            SubjectHung: It had to be killed.
        """
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
        """SIGKILL to it and its children; returns when it is gone."""
        self._closing = True
        try:
            self._life.end()
        finally:
            if self._requests is not None:
                self._requests.close()

    def logs(self) -> str:
        """What it wrote to its standard output and standard error so far."""
        return log_text(self._log)

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return not self._life.ended.is_set()

    def _await(self, url: str) -> None:
        """Wait until somebody listens there, or the program has ended, or for `LISTENS_WITHIN`."""
        parts = urlsplit(url)
        where = (parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80))

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(where, timeout=1.0):
                return True
            return not self.is_alive()

        with suppress(DeadlineExceeded):
            wait_until(listens, "the agent to listen", timeout=LISTENS_WITHIN)

    def _look(self, file: Path, rendered: Rendered, key: str) -> Reading:
        """The value in a file; that nobody keeps it up to date any more is not told by a file."""
        self._must_live("render")
        try:
            value = secret_in(file.read_bytes().decode("utf-8"), key, rendered)
        except FileNotFoundError:
            raise OperationFailed(None, f"{file.name} is not there") from None
        except (OSError, ValueError, RecursionError) as error:
            # No JSON, or no UTF-8: half a file, say; or a folder, or somebody else's file.
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

    def _cannot(self, op: str) -> NoReturn:
        raise errors.SubjectError(
            f"an agent cannot be asked to {op}",
            looked_at=self.name,
            remedy=f"see {named('docs', 'subjects')}",
        )


def _requests(
    config: AgentConfig, environ: Mapping[str, str], directory: Path, fill: Callable[[str], str]
) -> Requests | None:
    """Who asks in the application's place; None where there are files to be read."""
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
    """The placeholders, by name; ids that came by value are put into files first."""
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
    """A port of the loopback that nobody listens on. Another may take it before the program."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
