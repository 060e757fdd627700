"""Clients that break HA: several nodes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from urllib.parse import urlsplit

from tests.mutants.clients import (
    HasATenSecondDeadline,
    HasNoTimeout,
    Mutant,
    RetriesWithoutAPause,
    Tolerated,
    TreatsASealAsADeadToken,
    _Reconnects,
    by_name,
)
from tests.mutants.login_clients import AsksOnceItIsOld, PausesForFourSeconds, TriesTwiceInEachCall
from tests.mutants.reference_clients import _WritesByItself
from tests.subjects.lazy_client import LazyClient, _secret
from tests.subjects.lazy_wire import Gate, MissingError, UnavailableError, Wire, is_whole

# HA-01


class GivesUpAtTheFirstFailure(Gate):
    """Blows at the first failure."""

    def _enter(self, deadline: float) -> bool:
        if self._failures:
            raise UnavailableError("Vault failed once")
        return super()._enter(deadline)


class AsksOnceForEachCallInAStepDown(RetriesWithoutAPause):
    """Without a retry or a breaker."""

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        return _secret(self._fetch(path, deadline), path)


# HA-04


class _Follower(Wire):
    statuses: tuple[bytes, ...] = (b"307",)

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        line, _, rest = raw.partition(b"\r\n")
        if line[9:12] not in self.statuses:
            return raw
        headers: HTTPMessage = parse_headers(BytesIO(rest))
        there = urlsplit(headers["Location"])
        with socket.create_connection((there.hostname, there.port), timeout=1.0) as peer:
            peer.sendall(request)
            received = bytearray()
            while not is_whole(received) and (piece := peer.recv(65536)):
                received += piece
        return bytes(received)


class WaitsForADeadLeader(_Follower):
    """Has no deadline for the other host."""

    patience: float | None = None

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = Wire._exchange(self, request, deadline)
        line, _, rest = raw.partition(b"\r\n")
        if b" 307 " not in line:
            return raw
        there = urlsplit(parse_headers(BytesIO(rest))["Location"])
        self.told(there.hostname or "", there.port or 80)
        with socket.create_connection((there.hostname, there.port), timeout=1.0) as peer:
            peer.settimeout(self.patience)
            peer.sendall(request)
            return peer.recv(65536)

    def told(self, host: str, port: int) -> None:
        """Note where Vault says that its leader is."""


class KeepsGoingToADeadLeader(WaitsForADeadLeader):
    """Keeps going where it was redirected once."""

    patience = 0.3

    def told(self, host: str, port: int) -> None:
        self._host, self._port = host, port


class FollowsEachRedirectOnce(Wire):
    """Asks the other host too, with little time."""

    times = 1

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        line, _, rest = raw.partition(b"\r\n")
        if b" 307 " not in line:
            return raw
        there = urlsplit(parse_headers(BytesIO(rest))["Location"])
        for _ in range(self.times):
            with (
                contextlib.suppress(TimeoutError),
                socket.create_connection((there.hostname, there.port), timeout=0.3) as peer,
            ):
                peer.sendall(request)
                return peer.recv(65536)
        raise TimeoutError


class _PatientToTheEnd(WaitsForADeadLeader):
    """Waits there as long as the call may take."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        self.patience = max(0.1, deadline - time.monotonic())
        return super()._exchange(request, deadline)


class HasATenSecondDeadlineForRedirects(HasATenSecondDeadline):
    wire_type = _PatientToTheEnd


# HA-05


class RefusesRedirects(Wire):
    """So a standby that cannot forward is useless to it."""

    def _leader(self, raw: bytes) -> Wire | None:
        del raw
        return None


class TreatsARedirectAsASuccessfulWrite(_WritesByItself):
    """Follows no redirect, and takes every status that is no error for success."""

    def done(self, status: int) -> bool:
        return status < 400


# HA-06


class CachesA404(LazyClient):
    """Keeps it for eight seconds."""

    keeps = 8.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._missing: dict[str, float] = {}

    def read_all(self, path: str) -> dict[str, str]:
        asked = time.monotonic()
        if asked - self._missing.get(path, float("-inf")) < self.keeps:
            raise MissingError(f"there was no {path}")
        try:
            return super().read_all(path)
        except MissingError:
            self._missing[path] = asked
            raise


class TreatsAMissingSecretAsADeadToken(LazyClient):
    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except MissingError:
            self._token = None
            raise


# HA-08


class FollowsRedirectsWithoutALimit(Wire):
    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        while b" 307 " in raw.partition(b"\r\n")[0]:
            raw = super()._exchange(request, deadline)
        return raw


class RepeatsAWriteAfterA302(_WritesByItself):
    """Refuses redirects of reads, and follows those of writes to any host."""

    def post(self, url: str, token: str, body: bytes) -> tuple[int, str]:
        status, there = super().post(url, token, body)
        return super().post(there, token, body) if there else (status, there)


MUTANTS = by_name(
    Mutant(TreatsASealAsADeadToken, "HA-01", "the token survives").called(
        "treats-a-step-down-as-a-dead-token"
    ),
    Mutant(GivesUpAtTheFirstFailure, "HA-01", "a good read within").called(
        "never-recovers-after-a-step-down"
    ),
    Mutant(GivesUpAtTheFirstFailure, "HA-02", "a good read within").called(
        "never-recovers-after-a-failover"
    ),
    Mutant(TreatsASealAsADeadToken, "HA-02", "the token survives").called(
        "treats-a-failover-as-a-dead-token"
    ),
    Mutant(_Reconnects, "HA-02", "no connection storm").called(
        "reconnects-too-often-to-a-dead-leader", pause=0.01
    ),
    Mutant(HasNoTimeout, "HA-03", "every call ends within").called("waits-for-a-silent-leader"),
    Mutant(TreatsASealAsADeadToken, "HA-03", "the token survives").called(
        "treats-silence-as-a-dead-token"
    ),
    Mutant(WaitsForADeadLeader, "HA-04", "every call ends within"),
    Mutant(KeepsGoingToADeadLeader, "HA-04", "requests to it for"),
    Mutant(FollowsEachRedirectOnce, "HA-04", "requests to it for").called(
        "follows-each-redirect-twice", times=2
    ),
    Mutant(RefusesRedirects, "HA-05", "no read fails"),
    Mutant(TreatsARedirectAsASuccessfulWrite, "HA-05", "made no version"),
    Mutant(CachesA404, "HA-06", "the new value of"),
    Mutant(TreatsAMissingSecretAsADeadToken, "HA-06", "the token survives"),
    Mutant(TreatsASealAsADeadToken, "HA-07", "the token survives").called(
        "treats-a-lost-quorum-as-a-dead-token"
    ),
    Mutant(GivesUpAtTheFirstFailure, "HA-07", "a good read within").called(
        "never-recovers-after-a-lost-quorum"
    ),
    Mutant(FollowsRedirectsWithoutALimit, "HA-08", "requests in one second"),
    Mutant(RepeatsAWriteAfterA302, "HA-08", "the write was sent to"),
)


TOLERATED = by_name(
    Tolerated(PausesForFourSeconds, "HA-01").called("pauses-after-a-step-down"),
    Tolerated(AsksOnceForEachCallInAStepDown, "HA-01"),
    Tolerated(AsksOnceItIsOld, "HA-01").called("keeps-what-it-read-past-a-step-down"),
    Tolerated(TriesTwiceInEachCall, "HA-02").called("tries-twice-in-each-call-of-a-dead-leader"),
    Tolerated(HasATenSecondDeadline, "HA-03").called(
        "has-a-ten-second-deadline-at-a-frozen-leader"
    ),
    Tolerated(TriesTwiceInEachCall, "HA-04").called("tries-twice-in-each-redirected-call"),
    Tolerated(HasATenSecondDeadlineForRedirects, "HA-04"),
    Tolerated(FollowsEachRedirectOnce, "HA-04"),
    Tolerated(CachesA404, "HA-06").called("caches-a-404-for-the-refresh-time", keeps=4.5),
    Tolerated(AsksOnceItIsOld, "HA-07").called("keeps-what-it-read-without-a-quorum"),
)
