"""Break the network between client and Vault: toxics, a host name that moves, certificates.

Every resolver reads ``/etc/hosts``, also those of Go and static programs. A mount namespace (Linux)
gives one process its own file there, without privilege if users may create namespaces.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from math import inf
from pathlib import Path
from typing import Literal

from vault_harness.addresses import base_url, host_and_port
from vault_harness.certificates import LIFE, NOW, Authority, TlsFiles, server_context
from vault_harness.files import write_text
from vault_harness.judge.verdict import NotClaimed
from vault_harness.local.toxiproxy.client import Proxy
from vault_harness.local.toxiproxy.toxics import (
    Attributes,
    Bandwidth,
    Latency,
    LimitData,
    ResetPeer,
    Slicer,
    Timeout,
)
from vault_harness.recorder.fault import Fault, FaultLog, Signature, noted
from vault_harness.recorder.recorder import Recorder

Stream = Literal["upstream", "downstream"]
"""``upstream`` carries the client's requests, ``downstream`` Vault's answers."""


CUT = Signature(unanswered=True, answers_late=inf)
"""A connection that ends, or on which nothing arrives."""


class NetworkFaults:
    """Break one proxy's connections, also open ones, except by `resets`."""

    def __init__(self, proxy: Proxy, log: FaultLog) -> None:
        self._proxy = proxy
        self._log = log

    @contextmanager
    def down(self) -> Iterator[Fault]:
        """End open connections, and refuse new ones."""
        self._proxy.disable()
        with noted(self._log, "network down", CUT, undo=self._proxy.enable) as fault:
            yield fault

    @contextmanager
    def black_hole(
        self, *, closes_after: float = 0.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Let the bytes of one direction vanish, and end the connections afterwards.

        `closes_after` ends each connection earlier, after that many seconds; 0 means never.
        """
        toxic = Timeout(timeout=int(closes_after * 1000))
        with self._toxic("black hole", toxic, stream) as fault:
            yield fault

    @contextmanager
    def stalled(self, *, stream: Stream = "downstream") -> Iterator[Fault]:
        """Let nothing through; the held bytes arrive afterwards on the same connections."""
        with self._toxic("connection stalled", Bandwidth(rate=0), stream) as fault:
            yield fault

    @contextmanager
    def drip(self, *, pause: float, stream: Stream = "downstream") -> Iterator[Fault]:
        """Send single bytes, `pause` seconds apart, so that no single read times out."""
        toxic = Slicer(average_size=1, size_variation=0, delay=int(pause * 1_000_000))
        with self._toxic("answers drip", toxic, stream) as fault:
            yield fault

    @contextmanager
    def slow(
        self, *, latency: float, jitter: float = 0.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Deliver each chunk `latency` seconds late, plus or minus `jitter`."""
        toxic = Latency(latency=int(latency * 1000), jitter=int(jitter * 1000))
        mark = replace(CUT, late=(latency - jitter) / 2, answers_late=latency + jitter)
        with self._toxic("network slow", toxic, stream, mark) as fault:
            yield fault

    @contextmanager
    def narrow(self, *, rate: int, stream: Stream = "downstream") -> Iterator[Fault]:
        """Limit the rate, in kilobytes a second."""
        with self._toxic("network narrow", Bandwidth(rate=rate), stream) as fault:
            yield fault

    @contextmanager
    def truncated(self, *, after: int, stream: Stream = "downstream") -> Iterator[Fault]:
        """End connections after that many bytes, usually in the middle of an answer."""
        with self._toxic("answers truncated", LimitData(bytes=after), stream) as fault:
            yield fault

    @contextmanager
    def resets(
        self, *, after: float = 0.0, toxicity: float = 1.0, stream: Stream = "downstream"
    ) -> Iterator[Fault]:
        """Reset later connections at their first chunk, or `after` seconds later."""
        toxic = ResetPeer(timeout=int(after * 1000))
        with self._toxic("connections reset", toxic, stream, toxicity=toxicity) as fault:
            yield fault

    def drop_connections(self) -> None:
        """End all open connections once (EOF). This is not noted as a fault."""
        self._proxy.disable()
        self._proxy.enable()

    @contextmanager
    def _toxic(
        self,
        name: str,
        toxic: Attributes,
        stream: Stream,
        mark: Signature = CUT,
        *,
        toxicity: float = 1.0,
    ) -> Iterator[Fault]:
        with ExitStack() as acting:
            live = acting.enter_context(self._proxy.toxic(toxic, stream=stream, toxicity=toxicity))
            signature = replace(mark, toxics=frozenset({live.name}))
            detail = {"toxic": live.name, "stream": stream}
            with noted(self._log, name, signature, detail, undo=acting.close) as fault:
                yield fault


NAME = "vault.harness.test"
"""Names below ``test`` are reserved (RFC 2606)."""

HOSTS, SWITCH = Path("/etc/hosts"), Path("/etc/nsswitch.conf")

NOBODY = """nameserver 127.0.0.253
options timeout:1 attempts:1
"""
"""No servers, for programs that ignore ``nsswitch.conf``."""

PROBE_SECONDS = 20.0

_WIDEST = len("255.255.255.255")

# This runs in the namespace: it mounts the files, then becomes the program.
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
    """Lead `NAME` to changing addresses, for processes that are started with `command`."""

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
        """Lead the name to a URL's host, and return the URL with the name instead."""
        host, self.port = host_and_port(url)
        write_text(self._hosts, _line(host) + _text(HOSTS))
        write_text(self._switch, _files_only(_text(SWITCH)))
        write_text(self._resolver, NOBODY)
        self.address = host
        self.command = self._find_command()
        return base_url(f"{NAME}:{self.port}", tls=url.startswith("https:"))

    def lead_to(self, address: str) -> None:
        self.address = address
        self._write(_line(address))

    def lead_nowhere(self) -> None:
        """Make the name unknown; `address` stays the same."""
        self._write(_line("#"))

    def _write(self, line: str) -> None:
        """Write in place, since the mount shows the file itself and not its path."""
        file = os.open(self._hosts, os.O_WRONLY)
        try:
            os.pwrite(file, line.encode(), 0)
        finally:
            os.close(file)

    def _find_command(self) -> tuple[str, ...]:
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
    """Return the line in a fixed length, so that one write replaces it."""
    return f"{address:<{_WIDEST}} {NAME}\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _files_only(switch: str) -> str:
    """Let the C library's resolver read files only.

    A daemon such as systemd's answers for the whole machine, and an unreachable DNS server makes an
    unknown name a temporary failure.
    """
    rest = re.sub(r"(?m)^hosts:.*\n?", "", switch)
    return f"hosts: files\n{rest}"


class ScenarioTls:
    """The TLS between a subject and the recorder, which can change while both run.

    Attributes:
        trusted: File of the authorities that the subject trusts (``VAULT_CACERT``).
    """

    def __init__(self, directory: Path, *, http2: bool) -> None:
        self.authority = Authority()
        self.trusted = directory / "trusted.pem"
        self.client: TlsFiles | None = None
        self._directory = directory
        self._protocols = ["h2", "http/1.1"] if http2 else ["http/1.1"]
        self._hosts: tuple[str, ...] = ()
        self._number = 0
        self.trust(self.authority)

    def begin(self, recorder: Recorder, *hosts: str) -> None:
        self._recorder, self._hosts = recorder, hosts
        self.serve(self.authority)

    def serve(
        self,
        authority: Authority,
        *hosts: str,
        clients: Authority | None = None,
        life: timedelta = LIFE,
        begins: timedelta = NOW,
    ) -> None:
        """Present another certificate from the next connection on.

        Args:
            clients: Required issuer of client certificates; by default clients need none.
            life: Negative for an expired certificate.
            begins: Start of the certificate's validity, counted from now.
        """
        self._number += 1
        files = authority.issue(
            self._directory / f"server-{self._number}",
            *(hosts or self._hosts),
            life=life,
            begins=begins,
        )
        self._recorder.tls = server_context(
            files,
            protocols=self._protocols,
            clients=clients.certificate.decode() if clients is not None else None,
        )

    def trust(self, *authorities: Authority) -> None:
        """Replace the file of trusted authorities as a whole."""
        write_text(self.trusted, b"".join(a.certificate for a in authorities).decode())

    def half_write(self, authority: Authority) -> None:
        """Leave half of an authority in the file, as a write in place may."""
        whole = authority.certificate.decode()
        self.trusted.write_text(whole[: len(whole) // 2])

    def give_client_certificate(self, authority: Authority, *, life: timedelta = LIFE) -> None:
        self.client = authority.issue(self._directory / "client", "client.test", life=life)

    def environ(self) -> Mapping[str, str]:
        told = {"VAULT_CACERT": str(self.trusted)}
        if self.client is not None:
            told["VAULT_CLIENT_CERT"] = str(self.client.certificate)
            told["VAULT_CLIENT_KEY"] = str(self.client.key)
        return told
