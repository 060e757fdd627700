"""Clients that break the promises of TLS: whom they trust, and how they try again."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.mutants import loading, loose_ends, other_styles, unasked, untried
from tests.mutants.clients import REFERENCE, Mutant, Tolerated
from tests.mutants.edges_logins import LogsInInsteadOfRenewing
from tests.mutants.own_pace import AsksOnceItIsOld
from tests.mutants.tempers import StartsInHaste, StartsWithAToken
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import ClientError, Gate, Reply, UnavailableError, Wire, is_whole
from vault_harness.certificates import end_of


class _Once(Wire):
    """The files as they were at the start."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = super()._context()

    def _context(self) -> ssl.SSLContext:
        return self._first


class ReadsItsFilesOnce(LazyClient):
    """Trusts and shows for ever what it trusted and showed at the start."""

    wire_type = _Once


class _NowAndThen(Wire):
    """The files as they were when it last looked, and anew where they do not fit each other."""

    every = 4.5
    _kept: ssl.SSLContext | None = None
    _looked = 0.0

    def _context(self) -> ssl.SSLContext:
        if self._kept is None or time.monotonic() - self._looked >= self.every:
            self._kept = None
            self._kept, self._looked = super()._context(), time.monotonic()
        return self._kept


class LooksAtItsFilesNowAndThen(LazyClient):
    """Takes new files for 4.5 s at the most for the ones that it has: R is 5 s."""

    wire_type = _NowAndThen


class _KnowsTheDate(Wire):
    """Asks for nothing from when its certificate has ended, until there is another one."""

    def _ends(self) -> datetime | None:
        file = self._environ.get("VAULT_CLIENT_CERT")
        return end_of(Path(file)) if file else None

    def send(self, *args: Any, **how: Any) -> Reply:
        ends = self._ends()
        if ends is not None and datetime.now(UTC) >= ends:
            raise UnavailableError("its certificate has ended")
        return super().send(*args, **how)


class KnowsWhenItsCertificateEnds(LazyClient):
    """Shakes no hand with a certificate that has ended, and looks for another one each time."""

    wire_type = _KnowsTheDate


class _KnowsTheFirstDate(_KnowsTheDate):
    """Has looked at it once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = super()._ends()

    def _ends(self) -> datetime | None:
        return self._first


class MournsItsCertificate(LazyClient):
    """Shakes no hand any more once its first certificate has ended, whatever is in the file."""

    wire_type = _KnowsTheFirstDate


class KeepsAndKnowsWhenItsCertificateEnds(AsksOnceItIsOld, KnowsWhenItsCertificateEnds):
    """Answers from memory besides, for a while after its certificate has ended."""


class _RestsWhenItsConnectionEnds(Wire):
    """Keeps a connection, and asks for nothing for a while once that has ended."""

    rests = 15.0

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._turn = threading.Lock()
        self._peer: ssl.SSLSocket | None = None
        self._until = 0.0

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        with self._turn:
            if time.monotonic() < self._until:
                raise ConnectionResetError
            if self._peer is None:
                plain = socket.create_connection((self._host, self._port), timeout=1.0)
                self._peer = self._context().wrap_socket(plain, server_hostname=self._host)
            try:
                return self._over(self._peer, request, deadline)
            except OSError:
                self._peer.close()
                self._peer = None
                self._until = time.monotonic() + self.rests
                raise

    def _over(self, peer: ssl.SSLSocket, request: bytes, deadline: float) -> bytes:
        peer.settimeout(max(0.01, deadline - time.monotonic()))
        peer.sendall(request.replace(b"Connection: close\r\n", b"", 1))
        received = bytearray()
        while not is_whole(received):
            peer.settimeout(max(0.01, deadline - time.monotonic()))
            if not (piece := peer.recv(65536)):
                raise ConnectionResetError
            received += piece
        return bytes(received)


class RestsWhenItsConnectionEnds(LazyClient):
    """Is silent after any end of its connection: what its certificate is, it has not seen by then.

    A silence that looks like that of who knows the date.
    """

    wire_type = _RestsWhenItsConnectionEnds


class _RestsAfterABrokenFile(Wire):
    """Reads its files for each connection, but for a while after they could not be read."""

    rests = 4.5
    _until = 0.0

    def _context(self) -> ssl.SSLContext:
        if time.monotonic() < self._until:
            raise ssl.SSLError("its authorities could not be read")
        try:
            return super()._context()
        except ssl.SSLError:
            self._until = time.monotonic() + self.rests
            raise


class TrustsNobodyForAWhile(LazyClient):
    """Trusts nobody by a CA file that it cannot read, and looks at that again after 4.5 s."""

    wire_type = _RestsAfterABrokenFile


class LogsInForANewAuthority(LazyClient):
    """Takes a new CA file for a new Vault, where its token would be unknown."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._file = Path(environ["VAULT_CACERT"])
        self._seen = self._file.read_bytes()

    def read(self, path: str, key: str) -> str:
        if (now := self._file.read_bytes()) != self._seen:
            self._seen, self._token = now, None
        return super().read(path, key)


class _Ajar(Gate):
    """No pauses, and nobody waits for anybody."""

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class ShakesHandsInALoop(LazyClient):
    """Tries again at once as long as a call lasts."""

    gate_type = _Ajar


class _NoNames(Wire):
    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        context.check_hostname = False
        return context


class DoesNotLookAtNames(LazyClient):
    """Any certificate of its authority will do."""

    wire_type = _NoNames


class _AnyAuthority(Wire):
    """Whoever shows a certificate is trusted to have signed it, whatever is in the file."""

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        shown = ssl.get_server_certificate((self._host, self._port), timeout=1.0)
        context.load_verify_locations(cadata=shown)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


class LooksAtNamesAlone(LazyClient):
    """Any certificate of its host will do: a trust manager that trusts all does that in Java."""

    wire_type = _AnyAuthority


class _Resigns(Wire):
    """Verifies, and goes on without where that fails: better than no answer."""

    _verify = True

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        if not self._verify:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def send(
        self, method: str, path: str, *, deadline: float, token: str = "", body: object = None
    ) -> Reply:
        try:
            return super().send(method, path, deadline=deadline, token=token, body=body)
        except UnavailableError as error:
            if "CertVerification" in str(error):
                self._verify = False
            raise


class StopsVerifying(LazyClient):
    """After a failed verification it verifies no more."""

    wire_type = _Resigns


# One kind of request that has a session of its own, which somebody wrote without thinking of TLS


class _Apart(Wire):
    """Sends requests of one kind by a session of their own, which verifies nothing."""

    kind = ""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._mine = threading.local()

    def send(self, method: str, path: str, **rest: Any) -> Reply:
        self._mine.apart = path.endswith(self.kind)
        return super().send(method, path, **rest)

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        if self._mine.apart:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


class _LogsInApart(_Apart):
    kind = "/login"


class _RenewsApart(_Apart):
    kind = "/renew-self"


class _RevokesApart(_Apart):
    kind = "/revoke-self"


class LogsInAtAnybody(LazyClient):
    """Verifies each certificate but that of the server which it gives its secret-id."""

    wire_type = _LogsInApart


class RenewsAtAnybody(LazyClient):
    """Verifies each certificate but that of the server at which it renews its token.

    That session knows of no outage that others have met.
    """

    wire_type = _RenewsApart

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if path.endswith(_RenewsApart.kind):
            return self._wire.send(method, path, deadline=deadline, token=token.value, body=body)
        return super()._ask(method, path, deadline, token, body)


class RevokesAtAnybody(LazyClient):
    """Verifies each certificate but that of the server which it gives its token back."""

    wire_type = _RevokesApart


class _LogsInByTheName(_Apart, _AnyAuthority):
    kind = "/login"

    def _context(self) -> ssl.SSLContext:
        return _AnyAuthority._context(self) if self._mine.apart else Wire._context(self)


class LogsInByTheNameAlone(LazyClient):
    """Gives its secret-id to whoever shows a certificate with the right name."""

    wire_type = _LogsInByTheName


# Authorities that were exchanged


class _TrustsWhatItEverTrusted(Wire):
    """Adds to its authorities whatever is new in the file."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._ever: dict[str, None] = {}

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        authorities = Path(self._environ["VAULT_CACERT"]).read_text()
        # Half a file may be there: what is none stays none of those that it has trusted.
        with contextlib.suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=authorities)
            self._ever[authorities] = None
        for authorities in list(self._ever):
            context.load_verify_locations(cadata=authorities)
        return context


class TrustsAWithdrawnAuthority(LazyClient):
    """Takes new authorities, and none out again: a stolen key is good for as long as it lives."""

    wire_type = _TrustsWhatItEverTrusted


class _LogsInByItsFirst(_Apart):
    kind = "/login"

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = Path(environ["VAULT_CACERT"]).read_text()

    def _context(self) -> ssl.SSLContext:
        if self._mine.apart:
            return ssl.create_default_context(cadata=self._first)
        return Wire._context(self)


class LogsInByItsFirstAuthorities(LazyClient):
    """Reads by the authorities in the file, and logs in by those that were there at its start."""

    wire_type = _LogsInByItsFirst


class RefusesToStart(LazyClient):
    """Logs in before it is there at all, or is not there."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._valid_token(time.monotonic() + self._deadline)


class WaitsForVaultAtItsStart(LazyClient):
    """Is not there before it has logged in, however long that takes."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        while self._token is None:
            with contextlib.suppress(ClientError):
                self._valid_token(time.monotonic() + self._deadline)


MUTANTS: dict[str, Mutant] = {
    "reads-its-ca-file-once": Mutant(ReadsItsFilesOnce, "TLS-01", "no read fails"),
    "logs-in-for-a-new-authority": Mutant(LogsInForANewAuthority, "TLS-01", "the token survives"),
    "trusts-a-withdrawn-authority": Mutant(
        TrustsAWithdrawnAuthority, "TLS-01", "an authority that was withdrawn"
    ),
    "logs-in-by-its-first-authorities": Mutant(
        LogsInByItsFirstAuthorities, "TLS-01", "a new login within"
    ),
    "shakes-hands-at-leisure": Mutant(
        untried.ShakesHandsAtLeisure, "TLS-01", "every call ends within 2 s"
    ),
    "reads-its-certificate-once": Mutant(ReadsItsFilesOnce, "TLS-02", "a good read within"),
    "mourns-its-certificate": Mutant(MournsItsCertificate, "TLS-02", "a good read within"),
    "rests-when-its-connection-ends": Mutant(
        RestsWhenItsConnectionEnds, "TLS-02", "a good read within"
    ),
    "shakes-hands-in-a-loop": Mutant(ShakesHandsInALoop, "TLS-02", "no connection storm"),
    "shakes-hands-with-another-host-in-a-loop": Mutant(
        ShakesHandsInALoop, "TLS-03", "no connection storm"
    ),
    "does-not-look-at-names": Mutant(DoesNotLookAtNames, "TLS-03", "another host"),
    "stops-verifying": Mutant(StopsVerifying, "TLS-03", "another host"),
    "looks-at-names-alone": Mutant(LooksAtNamesAlone, "TLS-03", "no trusted authority"),
    "logs-in-at-anybody": Mutant(LogsInAtAnybody, "TLS-03", "a login was sent to another host"),
    "logs-in-by-the-name-alone": Mutant(
        LogsInByTheNameAlone, "TLS-03", "a login was sent to a host whom no trusted authority"
    ),
    "renews-at-anybody": Mutant(RenewsAtAnybody, "TLS-03", "a renew was sent to another host"),
    "shakes-hands-in-haste-at-its-start": Mutant(StartsInHaste, "TLS-03", "no connection storm"),
    "revokes-at-anybody": Mutant(RevokesAtAnybody, "TLS-03", "a revoke was sent to another host"),
    "writes-at-anybody": Mutant(
        loose_ends.WritesAtAnybody, "TLS-03", "a write was sent to another host", REFERENCE
    ),
    "reads-wholes-at-anybody": Mutant(
        loose_ends.ReadsWholesAtAnybody, "TLS-03", "a read was sent to another host"
    ),
    "takes-a-certificate-that-has-ended": Mutant(
        unasked.TakesACertificateThatHasEnded, "TLS-03", "to a host whose certificate has ended"
    ),
    "takes-a-certificate-that-is-not-good-yet": Mutant(
        unasked.TakesACertificateThatIsNotGoodYet,
        "TLS-03",
        "to a host whose certificate is not good yet",
    ),
    "takes-a-certificate-for-a-denial": Mutant(
        unasked.TakesACertificateForADenial, "TLS-03", "a failure then is unavailable"
    ),
    "trusts-anybody-by-half-a-file": Mutant(
        unasked.TrustsAnybodyByHalfAFile, "TLS-01", "sent to a stranger, beside half a CA file"
    ),
    "reads-half-a-file-for-good": Mutant(
        unasked.ReadsHalfAFileForGood, "TLS-01", "a good read within"
    ),
}

TOLERATED: dict[str, Tolerated] = {
    "outlives-its-certificate-at-its-start": Tolerated(other_styles.StartsVerySlowly, "TLS-02"),
    "knows-when-its-certificate-ends": Tolerated(KnowsWhenItsCertificateEnds, "TLS-02"),
    "keeps-and-knows-when-its-certificate-ends": Tolerated(
        KeepsAndKnowsWhenItsCertificateEnds, "TLS-02"
    ),
    "looks-at-its-certificate-now-and-then": Tolerated(LooksAtItsFilesNowAndThen, "TLS-02"),
    "trusts-nobody-for-a-while": Tolerated(TrustsNobodyForAWhile, "TLS-01"),
    "refuses-to-start-at-another-host": Tolerated(RefusesToStart, "TLS-03"),
    "loads-at-another-host": Tolerated(loading.LoadsWhileItIsFirstAsked, "TLS-03"),
    "waits-for-vault-at-its-start": Tolerated(WaitsForVaultAtItsStart, "TLS-03"),
    "starts-with-a-token-at-a-stranger": Tolerated(StartsWithAToken, "TLS-03"),
    "logs-in-instead-of-renewing-at-another-host": Tolerated(LogsInInsteadOfRenewing, "TLS-03"),
}
