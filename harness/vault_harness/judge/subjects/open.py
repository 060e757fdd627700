"""Starting a client under test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.judge.subjects.agent import AgentSubject
from vault_harness.judge.subjects.agent_config import load_agent
from vault_harness.judge.subjects.command import CommandSubject
from vault_harness.judge.subjects.http import HttpSubject
from vault_harness.judge.subjects.inprocess import InProcessSubject
from vault_harness.judge.subjects.python_object import find_factory
from vault_harness.judge.subjects.shape import Subject, SubjectSpec


def check_subject(spec: SubjectSpec) -> None:
    """Check whether a client can be opened, as far as possible without starting it.

    Raises:
        SettingsError: Its factory cannot be imported, or its configuration cannot be read.
    """
    if spec.kind == "agent":
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
    withhold: Collection[str] = (),
    within: Sequence[str] = (),
) -> Subject:
    """Start a client and ask what it can do.

    Args:
        spec: From `parse_subject`.
        environ: The variables that configure it. A process also inherits the harness's variables,
            except those of Vault clients.
        log: File for its log, in an existing folder.
        timeout: Seconds until it must be ready.
        withhold: Names of secrets' variables that a process must not inherit: it would take them
            for fallbacks.
        within: Program and arguments that start a command by replacing themselves, for an
            environment of its own. Clients in this process or behind a server ignore it.

    Raises:
        SettingsError: Its factory cannot be imported, or its configuration cannot be read.
        SubjectDied: Its process ended, its factory raised, or its server does not answer.
        SubjectHung: It was not ready in time.
        SubjectError: It broke its contract in another way.
    """
    if spec.kind == "command":
        return CommandSubject(
            spec, environ, log=log, timeout=timeout, withhold=withhold, within=within
        )
    if spec.kind == "agent":
        return AgentSubject(spec, environ, log=log, withhold=withhold, within=within)
    if spec.kind == "http":
        return HttpSubject(spec, environ, log=log, timeout=timeout)
    return InProcessSubject(spec, environ, log=log, timeout=timeout)
