"""Starting a client under test."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from vault_harness.boundary import without_frames
from vault_harness.subjects._agent import AgentSubject
from vault_harness.subjects._agent_config import load_agent
from vault_harness.subjects._command import CommandSubject
from vault_harness.subjects._http import HttpSubject
from vault_harness.subjects._inprocess import InProcessSubject
from vault_harness.subjects._python_object import find_factory
from vault_harness.subjects._shape import Subject, SubjectSpec


def check_subject(spec: SubjectSpec) -> None:
    """See whether a client can be opened at all, as far as that shows without starting it.

    Raises:
        SettingsError: Its factory cannot be imported, or its configuration not be read.
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
    """Start a client and let it say what it can do.

    Args:
        spec: Which client; from `parse_subject`.
        environ: The variables that configure it. A process of its own sees them beside what it
            inherits from the harness, of which nothing configures a Vault client.
        log: Where its log goes; its directory must be there.
        timeout: Seconds until it must be ready.
        withhold: Names of variables that a process of its own must not inherit: the names of
            secrets, which it would take for fallbacks.
        within: A program and its arguments that start the command of one that is a command, and
            become it: for surroundings of its own. Of the others it changes nothing.

    Raises:
        SettingsError: Its factory cannot be imported, or its configuration not be read.
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
