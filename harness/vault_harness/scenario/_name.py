"""A name of Vault that moves while a client runs: for its process alone, whatever its language.

Every resolver reads ``/etc/hosts``: the C library's, Go's own, those of programs that are linked
statically. A mount namespace (Linux) gives one process another file in its place, which is written
to while it runs. The machine's own file is left alone, and no privilege is needed where users may
have namespaces.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from vault_harness.addresses import base_url, host_and_port
from vault_harness.files import write_text
from vault_harness.scenario.verdict import NotClaimed

NAME = "vault.harness.test"
"""What Vault is called; nobody is: names below ``test`` are kept free for that (RFC 2606)."""

HOSTS, SWITCH = Path("/etc/hosts"), Path("/etc/nsswitch.conf")

NOBODY = """nameserver 127.0.0.253
options timeout:1 attempts:1
"""
"""The configuration of a resolver that has nobody to ask, for who does not heed the other file."""

PROBE_SECONDS = 20.0
"""Seconds in which a process with a file of its own must have resolved one name."""

_WIDEST = len("255.255.255.255")

# Run in the namespace: it puts the files in their places, and becomes the program.
_FURNISH = """
set -e
mount --bind "$1" /etc/hosts
[ ! -e /etc/nsswitch.conf ] || mount --bind "$2" /etc/nsswitch.conf
[ ! -e /etc/resolv.conf ] || mount --bind "$3" /etc/resolv.conf || true
shift 3
exec "$@"
"""

_LOOK = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"


class MovingName:
    """Leads `NAME` to one address after the other, for the processes started by its `command`.

    Args:
        directory: For its files.
        kind: Of the subject, as its specification says.

    Attributes:
        address: Where the name leads now.
        port: The port that goes with it.

    Raises:
        NotClaimed: The subject is not started by the harness as a process of its own.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        if kind not in ("command", "agent"):
            raise NotClaimed(
                "a name is led elsewhere for a process that the harness starts, and this subject "
                "is none; a Python object is one by "
                "command:python -m vault_harness.subjects python:MODULE:FACTORY"
            )
        self.address, self.port = "", 0
        self.command: tuple[str, ...] = ()
        self._hosts, self._switch = directory / "hosts", directory / "nsswitch.conf"
        self._resolver = directory / "resolv.conf"

    def begin(self, url: str) -> str:
        """Lead the name to where that is; the URL by which a client finds it by its name.

        Raises:
            NotClaimed: No process can have names of its own here.
        """
        host, self.port = host_and_port(url)
        write_text(self._hosts, _line(host) + _text(HOSTS))
        write_text(self._switch, _files_only(_text(SWITCH)))
        write_text(self._resolver, NOBODY)
        self.address = host
        self.command = self._find_command()
        return base_url(f"{NAME}:{self.port}", tls=url.startswith("https:"))

    def lead_to(self, address: str) -> None:
        """Let the name lead to that address from now on."""
        self.address = address
        self._write(_line(address))

    def lead_nowhere(self) -> None:
        """Let nobody know the name until it leads somewhere again; `address` stays what it was."""
        self._write(_line("#"))

    def _write(self, line: str) -> None:
        """Write over the line of the name in its place: what is mounted is the file, not a name."""
        file = os.open(self._hosts, os.O_WRONLY)
        try:
            os.pwrite(file, line.encode(), 0)
        finally:
            os.close(file)

    def _find_command(self) -> tuple[str, ...]:
        """What a process is started by that has these names.

        Raises:
            NotClaimed: Nothing here can do it.
        """
        unshare = shutil.which("unshare")
        if unshare is None:
            raise NotClaimed("a name is led elsewhere by a mount namespace: there is no unshare")
        heard = ""
        for flags in (("--mount",), ("--map-root-user", "--mount")):
            files = map(str, (self._hosts, self._switch, self._resolver))
            command = (unshare, *flags, "/bin/sh", "-c", _FURNISH, "names", *files)
            heard = self._resolved(command)
            if heard == self.address:
                return command
        raise NotClaimed(
            "a name is led elsewhere by a mount namespace, which this machine does not give, or "
            f"whose files its resolver does not ask: {heard or 'nothing'} for {NAME}"
        )

    def _resolved(self, command: tuple[str, ...]) -> str:
        """To what the name leads for a process that is started so, or why to nothing."""
        try:
            done = subprocess.run(
                [*command, sys.executable, "-I", "-S", "-c", _LOOK, NAME],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PROBE_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return type(error).__name__
        last = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()[-1:]
        return "".join(last)


def _line(address: str) -> str:
    """The line of the name, as long for every address: it is written over in one piece."""
    return f"{address:<{_WIDEST}} {NAME}\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _files_only(switch: str) -> str:
    """The configuration of the C library's resolver, which then asks files and nobody else.

    A daemon, as systemd's is, answers for the whole machine; and with a server that nobody can
    reach a name that there is not would be one of which nothing is known.
    """
    rest = re.sub(r"(?m)^hosts:.*\n?", "", switch)
    return f"hosts: files\n{rest}"
