"""A host name of Vault that moves while a client runs, for that client's process only.

Every resolver reads ``/etc/hosts``, also Go's and those of static programs. A mount namespace
(Linux) gives one process its own file in that place. It needs no privilege where users may create
namespaces.
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
from vault_harness.judge.verdict import NotClaimed

NAME = "vault.harness.test"
"""Host name of Vault. Names below ``test`` are reserved (RFC 2606)."""

HOSTS, SWITCH = Path("/etc/hosts"), Path("/etc/nsswitch.conf")

NOBODY = """nameserver 127.0.0.253
options timeout:1 attempts:1
"""
"""Resolver configuration without servers, for programs that ignore ``nsswitch.conf``."""

PROBE_SECONDS = 20.0
"""Seconds in which a process in the namespace must have resolved a name."""

_WIDEST = len("255.255.255.255")

# Run in the namespace: mounts the files, then becomes the program.
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
    """Leads `NAME` to changing addresses, for processes that are started with its `command`.

    Attributes:
        address: Where the name leads now.
        port: The port that belongs to the address.
    """

    def __init__(self, directory: Path, kind: str) -> None:
        if kind not in ("command", "agent"):
            raise NotClaimed(
                "a name is led elsewhere for a process that the harness starts, and this subject "
                "is none; a Python object is one by "
                "command:python -m vault_harness.judge.subjects python:MODULE:FACTORY"
            )
        self.address, self.port = "", 0
        self.command: tuple[str, ...] = ()
        self._hosts, self._switch = directory / "hosts", directory / "nsswitch.conf"
        self._resolver = directory / "resolv.conf"

    def begin(self, url: str) -> str:
        """Lead the name to the host of a URL, and return that URL with the name instead."""
        host, self.port = host_and_port(url)
        write_text(self._hosts, _line(host) + _text(HOSTS))
        write_text(self._switch, _files_only(_text(SWITCH)))
        write_text(self._resolver, NOBODY)
        self.address = host
        self.command = self._find_command()
        return base_url(f"{NAME}:{self.port}", tls=url.startswith("https:"))

    def lead_to(self, address: str) -> None:
        """Lead the name to an address."""
        self.address = address
        self._write(_line(address))

    def lead_nowhere(self) -> None:
        """Make the name unknown until it leads somewhere again; `address` stays."""
        self._write(_line("#"))

    def _write(self, line: str) -> None:
        """Overwrite the line in place, since the mount follows the file and not its path."""
        file = os.open(self._hosts, os.O_WRONLY)
        try:
            os.pwrite(file, line.encode(), 0)
        finally:
            os.close(file)

    def _find_command(self) -> tuple[str, ...]:
        """Return the command that starts a process with these names."""
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
        """Return the address that such a process gets for the name, or the error."""
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
    """Return the line of the name, always of the same length, so one write replaces it."""
    return f"{address:<{_WIDEST}} {NAME}\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _files_only(switch: str) -> str:
    """Return a configuration of the C library's resolver that reads files only.

    A daemon such as systemd's answers for the whole machine. A DNS server that is out of reach
    makes an unknown name a temporary failure.
    """
    rest = re.sub(r"(?m)^hosts:.*\n?", "", switch)
    return f"hosts: files\n{rest}"
