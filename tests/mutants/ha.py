"""Clients that break the promises of HA: several nodes."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from urllib.parse import urlsplit

from tests.mutants import loose_ends, other_styles, own_pace
from tests.mutants.clients import (
    REFERENCE,
    HasNoTimeout,
    KnocksTooOften,
    Mutant,
    RetriesWithoutAPause,
    TakesASealForADeadToken,
    TakesItsTime,
    Tolerated,
)
from tests.subjects.lazy_client import LazyClient, _secret
from tests.subjects.lazy_wire import (
    Gate,
    MissingError,
    UnavailableError,
    Wire,
    is_whole,
)


class _Follower(Wire):
    """Goes where it is sent."""

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


class FollowsRedirects(LazyClient):
    """Follows a redirect to any host, with all that it would have sent to its own."""

    wire_type = _Follower


class _FollowsOldWays(_Follower):
    statuses = (b"301", b"302")


class FollowsA302Anywhere(LazyClient):
    """Refuses the 307 of a standby, and leaves other redirects to its library: it follows them all.

    Such a library takes ``Authorization`` out for another host, and not ``X-Vault-Token``.
    """

    wire_type = _FollowsOldWays


class _FollowsNewWays(_Follower):
    statuses = (b"308",)


class FollowsA308Anywhere(LazyClient):
    """Refuses all redirects that it knows, and does not know the youngest."""

    wire_type = _FollowsNewWays


class _LooksAtTheFirstHop(Wire):
    """Looks whether the first redirect leads to its own host, and follows all that come of it."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        raw = super()._exchange(request, deadline)
        for hop in range(5):
            line, _, rest = raw.partition(b"\r\n")
            if b" 307 " not in line:
                break
            there = urlsplit(parse_headers(BytesIO(rest))["Location"])
            if hop == 0 and (there.hostname, there.port) != (self._host, self._port):
                break
            with socket.create_connection((there.hostname, there.port), timeout=1.0) as peer:
                peer.sendall(request)
                received = bytearray()
                while not is_whole(received) and (piece := peer.recv(65536)):
                    received += piece
            raw = bytes(received)
        return raw


class FollowsASecondRedirectAnywhere(LazyClient):
    """Follows a redirect to its own host alone, and from there on to any."""

    wire_type = _LooksAtTheFirstHop


class _Patient(_Follower):
    """Has time for the other host, as it has none for its own."""

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
        """Vault said that its leader is there."""


class WaitsForADeadLeader(LazyClient):
    """Follows a redirect, and its deadline does not."""

    wire_type = _Patient


class _PatientToTheEnd(_Patient):
    """Waits there for as long as the call has."""

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        self.patience = max(0.1, deadline - time.monotonic())
        return super()._exchange(request, deadline)


class FollowsRedirectsAtLeisure(TakesItsTime):
    """Waits for its whole deadline where it was sent, and that is ten seconds."""

    wire_type = _PatientToTheEnd


class _Brief(Wire):
    """Asks the other host too, and has little time for it."""

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


class _BriefTwice(_Brief):
    times = 2


class FollowsEachRedirectOnce(LazyClient):
    """One request for one redirect, and it does not wait for long."""

    wire_type = _Brief


class FollowsEachRedirectTwice(LazyClient):
    """Two for one."""

    wire_type = _BriefTwice


class _Faithful(_Patient):
    patience = 0.3

    def told(self, host: str, port: int) -> None:
        self._host, self._port = host, port


class StaysWithADeadLeader(LazyClient):
    """Goes where it was sent once, ever after."""

    wire_type = _Faithful


class _Fuse(Gate):
    """Blows at the first failure."""

    def _enter(self, deadline: float) -> bool:
        if self._failures:
            raise UnavailableError("Vault failed once")
        return super()._enter(deadline)


class GivesUpAtTheFirstFailure(LazyClient):
    """One failed request is the end of it."""

    gate_type = _Fuse


class RemembersWhatIsMissing(LazyClient):
    """Takes a secret that is not there for one that will not be there for eight seconds."""

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


class RemembersForTheRefreshTime(RemembersWhatIsMissing):
    """Nearly five seconds: a secret that is new is seen by then."""

    keeps = 4.5


class TakesAMissingSecretForADeadToken(LazyClient):
    """Logs in anew where a secret is not there."""

    def read_all(self, path: str) -> dict[str, str]:
        try:
            return super().read_all(path)
        except MissingError:
            self._token = None
            raise


class AsksOnceForEachCall(RetriesWithoutAPause):
    """Sends one request for each call, whatever comes of it: no repetition, and no breaker."""

    def read_all(self, path: str) -> dict[str, str]:
        deadline = time.monotonic() + self._deadline * 0.95
        return _secret(self._fetch(path, deadline), path)


MUTANTS: dict[str, Mutant] = {
    "remembers-what-is-missing": Mutant(RemembersWhatIsMissing, "HA-06", "the new value of"),
    "takes-a-missing-secret-for-a-dead-token": Mutant(
        TakesAMissingSecretForADeadToken, "HA-06", "the token survives"
    ),
    "takes-a-step-down-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "HA-01", "the token survives"
    ),
    "never-comes-back-after-a-step-down": Mutant(
        GivesUpAtTheFirstFailure, "HA-01", "a good read within"
    ),
    "takes-a-lost-quorum-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "HA-07", "the token survives"
    ),
    "never-comes-back-after-a-lost-quorum": Mutant(
        GivesUpAtTheFirstFailure, "HA-07", "a good read within"
    ),
    # An election may be over within one call: who counts failures comes back from it.
    "never-comes-back-after-a-failover": Mutant(
        GivesUpAtTheFirstFailure, "HA-02", "a good read within"
    ),
    "takes-a-failover-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "HA-02", "the token survives"
    ),
    "knocks-too-often-at-a-dead-leader": Mutant(KnocksTooOften, "HA-02", "no connection storm"),
    "waits-for-a-silent-leader": Mutant(HasNoTimeout, "HA-03", "every call ends within"),
    "takes-silence-for-a-dead-token": Mutant(
        TakesASealForADeadToken, "HA-03", "the token survives"
    ),
    "waits-for-a-dead-leader": Mutant(WaitsForADeadLeader, "HA-04", "every call ends within"),
    "stays-with-a-dead-leader": Mutant(StaysWithADeadLeader, "HA-04", "requests to it for"),
    "follows-redirects": Mutant(FollowsRedirects, "HA-05", "no token and no secret-id"),
    "follows-a-second-redirect": Mutant(
        FollowsASecondRedirectAnywhere, "HA-05", "no token and no secret-id"
    ),
    "follows-a-302-anywhere": Mutant(FollowsA302Anywhere, "HA-05", "no token and no secret-id"),
    "follows-a-308-anywhere": Mutant(FollowsA308Anywhere, "HA-05", "no token and no secret-id"),
    "follows-each-redirect-twice": Mutant(FollowsEachRedirectTwice, "HA-04", "requests to it for"),
    "follows-a-redirect-with-a-write": Mutant(
        loose_ends.FollowsARedirectWithAWrite, "HA-05", "a write came to", REFERENCE
    ),
    "takes-a-redirect-for-a-write": Mutant(
        loose_ends.TakesARedirectForAWrite, "HA-05", "made no version", REFERENCE
    ),
    "follows-a-redirect-for-a-whole": Mutant(
        loose_ends.FollowsARedirectForAWhole, "HA-05", "a read came to"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "takes-its-time-at-a-leader-that-stands-still": Tolerated(TakesItsTime, "HA-03"),
    "follows-redirects-at-leisure": Tolerated(FollowsRedirectsAtLeisure, "HA-04"),
    "rests-after-a-step-down": Tolerated(other_styles.RestsForFourSeconds, "HA-01"),
    "asks-once-for-each-call-in-a-step-down": Tolerated(AsksOnceForEachCall, "HA-01"),
    "remembers-what-is-missing-for-the-refresh-time": Tolerated(
        RemembersForTheRefreshTime, "HA-06"
    ),
    "follows-each-redirect-once": Tolerated(FollowsEachRedirectOnce, "HA-04"),
    "keeps-what-it-read-past-a-step-down": Tolerated(own_pace.AsksOnceItIsOld, "HA-01"),
    "keeps-what-it-read-past-a-dead-leader": Tolerated(own_pace.AsksOnceItIsOld, "HA-02"),
    "keeps-what-it-read-past-a-silent-leader": Tolerated(own_pace.AsksOnceItIsOld, "HA-03"),
    "keeps-what-it-read-without-a-quorum": Tolerated(own_pace.AsksOnceItIsOld, "HA-07"),
}
