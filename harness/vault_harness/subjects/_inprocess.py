"""A client under test that is a Python object in this process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from vault_harness import errors
from vault_harness.boundary import without_frames
from vault_harness.subjects._capture import Capture
from vault_harness.subjects._python_object import (
    as_credential,
    as_failure,
    as_flag,
    as_reading,
    as_whole,
    describe,
    find_factory,
    in_words,
    passed,
)
from vault_harness.subjects._shape import (
    Credential,
    Kind,
    OperationFailed,
    Reading,
    SubjectSpec,
    Whole,
    log_text,
)
from vault_harness.subjects._workers import Workers


class InProcessSubject:
    """A Python object with ``read``, ``close`` and what else it claims.

    Every operation runs on a thread of the harness's own, which is abandoned when the client does
    not return. What is logged while the subject is open goes to its log file.

    Args:
        spec: Which factory to call.
        environ: What the factory is called with.
        log: Where to write what is logged.
        timeout: Seconds that the factory may take.
    """

    kind: Kind = "in-process"
    pid: int | None = None
    exit_code: int | None = None
    leaves: Collection[str] = ()

    @without_frames
    def __init__(
        self, spec: SubjectSpec, environ: Mapping[str, str], *, log: Path, timeout: float = 10.0
    ) -> None:
        self.name = spec.text
        self._log = log
        self._told = False
        self._workers = Workers(spec.text)
        factory = find_factory(spec)
        self._capture = Capture(log)
        try:
            self._client = self._make(factory, dict(environ), timeout)
            said = describe(self._client)
        except BaseException:
            self.kill()
            raise
        self.capabilities = said.capabilities
        self.declares = said.declares
        self.version = said.version

    def __repr__(self) -> str:
        return f"<{self.name}>"

    @property
    def tells_outcomes(self) -> bool:
        """Whether it has claimed, or shown by now, that it tells one failure from another."""
        return self._told or "outcomes" in self.capabilities

    @without_frames
    def read(self, path: str, key: str, *, timeout: float) -> Reading:
        """One key of the secret at ``path``."""
        return as_reading(self._call("read", timeout, path, key))

    @without_frames
    def read_cached(self, path: str, key: str, *, timeout: float) -> Reading:
        """The same, from the client's cache if it likes."""
        return as_reading(self._call("read_cached", timeout, path, key))

    @without_frames
    def read_all(self, path: str, *, timeout: float) -> Whole:
        """All keys of the secret at ``path``, as one version has them."""
        return as_whole(self._call("read_all", timeout, path))

    @without_frames
    def read_all_and_change_it(self, path: str, *, timeout: float) -> None:
        """All keys of a secret, for a caller who gives each another value in what it was given.

        A program's answer is a copy in any case.

        Raises:
            SubjectError: It was not given in time.
            OperationFailed: It gives none.
        """
        given = self._call("read_all", timeout, path)
        values = given if isinstance(given, Mapping) else getattr(given, "value", None)
        if isinstance(values, MutableMapping):
            with suppress(Exception):  # it may refuse to be changed, in a way of its own
                for key in list(values):
                    values[key] = "changed by a caller"

    @without_frames
    def write(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Store a new version of the secret at ``path``."""
        self._call("write", timeout, path, dict(data))

    @without_frames
    def lease(self, path: str, failed: str | None = None, *, timeout: float) -> Credential:
        """The credential of ``path`` that works now; ``failed`` names a user that was refused."""
        return as_credential(self._call("lease", timeout, path, failed))

    @without_frames
    def update(self, path: str, data: Mapping[str, str], *, timeout: float) -> None:
        """Change these keys of the secret at ``path``, and keep the others as they are."""
        self._call("update", timeout, path, dict(data))

    @without_frames
    def fork(
        self, path: str, key: str, *, seconds: float, every: float, timeout: float
    ) -> Sequence[Reading | OperationFailed]:
        """Not here: the process is the suite's own.

        Raises:
            SubjectError: Always.
        """
        del path, key, seconds, every, timeout
        raise self._needs_a_process("cannot be forked")

    @without_frames
    def herd(self, clients: int, *, timeout: float) -> None:
        """Not here: the process is the suite's own, which would be in the herd's way.

        Raises:
            SubjectError: Always.
        """
        del clients, timeout
        raise self._needs_a_process("cannot be a herd")

    @without_frames
    def read_by(self, client: int, path: str, key: str, *, timeout: float) -> Reading:
        """Not here, see `herd`.

        Raises:
            SubjectError: Always.
        """
        del client, path, key, timeout
        raise self._needs_a_process("cannot be a herd")

    def _needs_a_process(self, cannot: str) -> errors.SubjectError:
        return errors.SubjectError(
            f"a client in the suite's own process {cannot}",
            looked_at=self.name,
            remedy=f"run it as 'command:python -m vault_harness.subjects {self.name}'",
        )

    @without_frames
    def health(self, *, timeout: float) -> bool:
        """Whether the client says that it is well."""
        return as_flag(self._call("health", timeout))

    @without_frames
    def close(self, *, timeout: float, beyond: float = 0.0) -> None:
        """Call its ``close``.

        Raises:
            SubjectHung: It did not return in time.
            OperationFailed: It raised.
        """
        if self._workers.closed:
            return
        try:
            self._call("close", timeout + beyond)
        finally:
            self.kill()

    @without_frames
    def read_once_closed(self, path: str, key: str, *, timeout: float) -> Reading:
        """One key, asked of a client that is closed: a caller who comes a moment too late.

        Raises:
            SubjectHung: It did not return in time.
            OperationFailed: It gives none, as it should.
        """
        workers = Workers(self.name)
        try:
            return as_reading(workers.run(lambda: self._client.read(path, key), "read", timeout))
        except errors.SubjectError:
            raise
        except Exception as error:
            raise as_failure(error) from error
        finally:
            workers.close()

    def kill(self) -> None:
        """Let go of it without ``close``. Threads of its own live on: Python cannot end them."""
        self._workers.close()
        self._capture.close()

    def logs(self) -> str:
        """What was logged while it was open."""
        return log_text(self._log)

    def is_alive(self) -> bool:
        """Whether it is not closed."""
        return not self._workers.closed

    def _make(self, factory: Callable[..., Any], environ: dict[str, str], timeout: float) -> Any:
        try:
            return self._workers.run(lambda: factory(environ), "start", timeout)
        except errors.SubjectError:
            raise
        except Exception as error:
            raise errors.SubjectDied(
                f"the factory of the subject raised {in_words(error)}",
                looked_at=f"{self.name}{passed(error)}",
                remedy="call the factory by hand with the same environment",
            ) from error

    def _call(self, op: str, timeout: float, *arguments: object) -> object:
        if self._workers.closed:
            raise errors.SubjectDied(
                f"the subject is closed, so it cannot be asked to {op}",
                looked_at=self.name,
                remedy="open it again",
            )
        method = getattr(self._client, op, None)
        if not callable(method):
            raise errors.SubjectError(
                f"the subject has no method {op!r}",
                looked_at=f"its class {type(self._client).__qualname__}",
                remedy="leave out the capability that it does not have",
            )
        try:
            return self._workers.run(lambda: method(*arguments), op, timeout)
        except errors.SubjectError:
            raise
        except Exception as error:
            failure = as_failure(error)
            self._told = self._told or failure.outcome is not None
            raise failure from error
