"""Starting a process that cannot outlive the harness, without a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

# Runs in a fresh interpreter that then becomes the program, since code between fork and exec is
# not safe in a process with threads. 1 is PR_SET_PDEATHSIG, 9 SIGKILL; where there is no prctl the
# end of standard input is the sign. Python ignores SIGPIPE and SIGXFSZ, and the program must not
# inherit that.
_BECOME = """
import os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2:]
try:
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
except (ImportError, OSError, AttributeError):
    pass
if os.getppid() != parent:
    os._exit(125)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
try:
    os.execv(program[0], program)
except OSError as error:
    sys.stderr.write(f"{program[0]} could not be executed: {error.strerror}\\n")
    os._exit(126)
"""

_NOT_INHERITED = ("VAULT_", "BAO_", "HARNESS_", "PYTEST_")


def spawn(command: Sequence[str], environ: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, with pipes for input and output, errors to ``log``.

    The kernel ends it when **the calling thread** ends, so call this from one that lives as long
    as the program shall.
    """
    become = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), *command]
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            become,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=descriptor,
            bufsize=0,
            env=dict(environ),
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


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
