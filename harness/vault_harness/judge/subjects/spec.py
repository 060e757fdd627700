"""Read ``--subject``: which client is tested, and how it is reached and started."""

from __future__ import annotations

import keyword
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from vault_harness.errors import SettingsError, named, without_frames
from vault_harness.judge.subjects.inprocess import InProcessSubject
from vault_harness.judge.subjects.process import ORDINARY, Apart, search_path
from vault_harness.judge.subjects.protocol import Subject
from vault_harness.judge.subjects.python_object import find_factory
from vault_harness.judge.subjects.shape import SubjectSpec

REFERENCE = ("vault_harness.judge.subjects.reference", "factory")

_FORMS = (
    "give one of: reference, python:package.module:factory, command:./my-client --flag, "
    "http://127.0.0.1:9000, agent:CONFIG.toml"
)


def parse_subject(text: str) -> SubjectSpec:
    """Parse ``--subject``, without importing, starting or asking anything.

    A command is split as by a shell, but run without it.
    """
    text = text.strip()
    scheme, _, rest = text.partition(":")
    if text == "reference":
        module, factory = REFERENCE
        return SubjectSpec(text, "in-process", module=module, factory=factory)
    if scheme == "python":
        return _python(text, rest)
    if scheme == "command":
        return _command(text, rest)
    if scheme == "agent":
        return _agent(text, rest)
    if scheme in {"http", "https"}:
        return _http(text)
    raise SettingsError(f"there is no subject {text!r}", looked_at="--subject", remedy=_FORMS)


def _python(text: str, rest: str) -> SubjectSpec:
    module, colon, factory = rest.partition(":")
    if not colon or not _is_dotted_name(module) or not _is_dotted_name(factory):
        raise SettingsError(
            f"{text!r} does not name a module and the factory in it",
            looked_at="--subject",
            remedy="write python:package.module:factory, as it would be imported",
        )
    return SubjectSpec(text, "in-process", module=module, factory=factory)


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))


def _command(text: str, rest: str) -> SubjectSpec:
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise SettingsError(
            f"{text!r} cannot be split into words: {error}",
            looked_at="--subject",
            remedy="close every quotation mark",
        ) from error
    if not words:
        raise SettingsError(
            "the command of the subject is empty",
            looked_at="--subject",
            remedy="write command: and the program that starts the client, then its arguments",
        )
    program = words[0]
    found = shutil.which(program, path=search_path())
    if found is None:
        raise _no_program(program)
    return SubjectSpec(text, "command", command=(str(Path(found).absolute()), *words[1:]))


def _no_program(program: str) -> SettingsError:
    cause = f"the subject's program {program!r} is not there"
    where = str(Path(program).absolute()) if "/" in program else "PATH"
    remedy = "name a program on PATH, or a path from where the suite is started"
    if program.startswith("~") or "$" in program:
        remedy = "write the path out: no shell sees it, so that ~ and $VARIABLE mean nothing"
    elif _is_file(Path(program)):
        if "/" not in program:
            remedy = f"write command:./{program} for the one in this folder: without a slash it is "
            remedy += "looked for on PATH alone"
        else:
            cause = f"the subject's program {program!r} may not be executed"
            remedy = f"chmod +x {shlex.quote(program)} (what is kept between jobs of a CI may lose "
            remedy += "that), or name what runs it: command:java -jar FILE, command:python3 FILE"
    return SettingsError(cause, looked_at=where, remedy=remedy)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # for example a name that is too long
        return False


def _agent(text: str, rest: str) -> SubjectSpec:
    config = Path(rest)
    if not _is_file(config):
        raise SettingsError(
            f"there is no configuration of an agent at {rest!r}",
            looked_at=str(config.absolute()),
            remedy=f"write agent: and the name of a TOML file, see {named('docs', 'how-to/agent')}",
        )
    return SubjectSpec(text, "agent", config=str(config.absolute()))


def _http(text: str) -> SubjectSpec:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise SettingsError(
            f"{text!r} is not a URL: {error}",
            looked_at="--subject",
            remedy="write http://HOST:PORT",
        ) from error
    if not parts.hostname or parts.query or parts.fragment or parts.username or parts.password:
        raise SettingsError(
            "the URL of the subject must be a plain one",
            looked_at=f"host {parts.hostname!r}, port {port}",
            remedy="write http://HOST:PORT, without user, password, query or fragment",
        )
    return SubjectSpec(text, "http", url=text.rstrip("/"))


def check_subject(spec: SubjectSpec) -> None:
    """Check whether a client can be opened, as far as possible without starting it."""
    if spec.kind == "agent":
        from vault_harness.judge.subjects.agent_config import load_agent

        load_agent(Path(spec.config))
    if spec.kind == "in-process":
        find_factory(spec)


@without_frames
def open_subject(
    spec: SubjectSpec,
    environ: Mapping[str, str],
    *,
    log: Path,
    timeout: float = 10.0,
    apart: Apart = ORDINARY,
) -> Subject:
    """Start a client and ask what it can do.

    Args:
        environ: A process also inherits the harness's variables, except those of Vault clients.
        log: In an existing folder.
        timeout: Seconds until it must be ready.
        apart: Only for a process.

    Raises:
        SubjectDied: Its process ended, its factory raised, or its server does not answer.
    """
    # A run has one kind of client, and loads only that one.
    if spec.kind == "command":
        from vault_harness.judge.subjects.command import CommandSubject

        return CommandSubject(spec, environ, log=log, timeout=timeout, apart=apart)
    if spec.kind == "agent":
        from vault_harness.judge.subjects.agent import AgentSubject

        return AgentSubject(spec, environ, log=log, apart=apart)
    if spec.kind == "http":
        from vault_harness.judge.subjects.http import HttpSubject

        return HttpSubject(spec, environ, log=log, timeout=timeout)
    return InProcessSubject(spec, environ, log=log, timeout=timeout)
