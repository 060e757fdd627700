"""Starting a process that cannot outlive the harness."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# The shell forks a watchdog, then becomes the program; the command itself it never interprets. The
# watchdog waits on a pipe whose only writing end is in the harness and never written to: when the
# harness ends, however it ends, the pipe closes, and the watchdog kills the process group, whose
# number is the program's ($$). The pipe comes in the place of standard error, since a program has
# its requests on standard input; the log, which is there already, takes that place again.
_LEASHED = """
exec 3<&2 2>>"$1"
shift
(trap '' HUP INT TERM; read -r _ <&3; kill -9 "-$$") </dev/null >/dev/null 2>&1 &
exec "$@" 3<&-
"""

_NOT_INHERITED = ("VAULT_", "BAO_", "HARNESS_", "PYTEST_")


@dataclass(frozen=True)
class Leashed:
    """A process in a session and a group of its own, and what keeps it alive.

    Attributes:
        process: With unbuffered pipes to its input and output.
        leash: The descriptor whose closing ends the group.
    """

    process: subprocess.Popen[bytes]
    leash: int


def spawn(command: Sequence[str], environ: Mapping[str, str], log: Path) -> Leashed:
    """Start a program, its standard error appended to ``log``."""
    os.close(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    watched, leash = os.pipe()
    try:
        process = subprocess.Popen(
            ["/bin/sh", "-c", _LEASHED, "vault-harness-watchdog", str(log.absolute()), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=watched,
            bufsize=0,
            env=dict(environ),
            start_new_session=True,
        )
    except BaseException:
        os.close(leash)
        raise
    finally:
        os.close(watched)
    return Leashed(process, leash)


def surroundings(environ: Mapping[str, str], withhold: Collection[str] = ()) -> dict[str, str]:
    """The environment of a subject's process.

    A program needs ``PATH``, ``HOME`` and what its language wants, so it inherits what the harness
    has, except everything that configures a Vault client: that comes from ``environ`` alone, lest a
    developer's own Vault is tested, or a secret of the shell taken for a fallback. Loopback is
    exempt from HTTP proxies.

    Args:
        environ: What the client is configured by.
        withhold: More variables that it must not inherit: the names of secrets.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_NOT_INHERITED) and name != "USE_VAULT" and name not in withhold
    }
    for name in ("NO_PROXY", "no_proxy"):
        exempt = [host for host in inherited.get(name, "").split(",") if host]
        inherited[name] = ",".join([*exempt, "127.0.0.1", "localhost"])
    return {**inherited, **environ}
