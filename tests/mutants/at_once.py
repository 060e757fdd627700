"""Two hundred clients of one process that log in at the same moment, on a slow machine as well."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import ClassVar

from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import ClientError, Gate, UnavailableError, Wire, is_whole

LONG = 20.0
"""Seconds for a login that no call waits for."""

COMES_BACK = "comes back"
"""The name of each thread that logs in."""


class _Starter:
    """Sends all logins that it was given at one moment.

    One thread does it: two hundred that wake up at once take as long as the machine needs for them,
    and so do two hundred connections, which would spread what is to come at one moment.
    """

    def __init__(self, wait: Callable[[Wire], None]) -> None:
        self._wait = wait
        self._changed = threading.Condition()
        self._ready: list[tuple[socket.socket, bytes]] = []
        self._runs = False

    def send(self, wire: Wire, peer: socket.socket, request: bytes) -> None:
        """Have it sent when the moment has come."""
        with self._changed:
            self._ready.append((peer, request))
            self._changed.notify()
            if not self._runs:
                self._runs = True
                threading.Thread(target=self._run, args=(wire,), daemon=True).start()

    def _run(self, wire: Wire) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready)
            self._wait(wire)
            with self._changed:
                ready, self._ready = self._ready, []
            usual = sys.getswitchinterval()
            sys.setswitchinterval(1e-5)  # whoever is answered would take the others' turn
            for peer, request in ready:
                with contextlib.suppress(OSError):
                    peer.sendall(request)
            sys.setswitchinterval(usual)


def _until_the_second_is_whole(_: Wire) -> None:
    time.sleep(1.0 - time.time() % 1.0)


def _until_vault_serves(wire: Wire) -> None:
    while True:
        with contextlib.suppress(UnavailableError):
            wire.send("GET", "sys/health", deadline=time.monotonic() + 1.0)
            return
        time.sleep(0.25)


class _AtOnce(Wire):
    """Has its connection first; its login is sent when those of its sisters are."""

    starter: ClassVar[_Starter]

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        if b"/login HTTP" not in request:
            return super()._exchange(request, deadline)
        left = deadline - time.monotonic()
        with socket.create_connection((self._host, self._port), timeout=left) as peer:
            self.starter.send(self, peer, request)
            received = bytearray()
            while not is_whole(received) and (piece := peer.recv(65536)):
                received += piece
            return bytes(received)


class _ByTheClock(_AtOnce):
    starter = _Starter(_until_the_second_is_whole)


class _AfterOneProbe(_AtOnce):
    starter = _Starter(_until_vault_serves)


class _OpenForWhoComesBack(Gate):
    """Holds up callers; who logs in waits for the common moment alone."""

    def _enter(self, deadline: float) -> bool:
        if threading.current_thread().name == COMES_BACK:
            return False
        return super()._enter(deadline)


class _ComesBackAtOnce(LazyClient):
    """Once Vault was away it logs in when all its sisters do, whoever waits for it."""

    gate_type = _OpenForWhoComesBack
    _comes_back: threading.Thread | None = None

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except UnavailableError:
            with self._timing:
                if self._comes_back is None:
                    self._comes_back = threading.Thread(
                        target=self._come_back, name=COMES_BACK, daemon=True
                    )
                    self._comes_back.start()
            raise

    def _come_back(self) -> None:
        while not self._closed:
            with contextlib.suppress(ClientError), self._changing:
                self._log_in(time.monotonic() + LONG)
                break
        self._comes_back = None


class LogsInByTheClock(_ComesBackAtOnce):
    """When the second is whole, whether Vault serves or not."""

    wire_type = _ByTheClock


class LeavesTheProbeToOne(_ComesBackAtOnce):
    """When the one of them that asks whether Vault serves is told so."""

    wire_type = _AfterOneProbe
