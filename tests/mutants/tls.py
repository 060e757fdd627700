"""Clients that break TLS: certificates, and connections to another host."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

from tests.mutants.clients import (
    Mutant,
    Tolerated,
    _CallsItSomethingElse,
    by_name,
)
from tests.mutants.login_clients import (
    AsksOnceItIsOld,
    LoadsWhileItIsFirstAsked,
    LogsInInsteadOfRenewing,
    RefusesToStart,
    StartsSlowly,
    StartsWithAToken,
)
from tests.mutants.reference_clients import _WritesByItself
from tests.subjects.lazy_client import LazyClient, Token
from tests.subjects.lazy_wire import (
    ClientError,
    DeniedError,
    Gate,
    Reply,
    UnavailableError,
    Wire,
    is_whole,
)
from vault_harness.certificates import end_of

# TLS-01


class ReadsItsFilesOnce(Wire):
    """Never reads its CA file and certificate again."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = super()._context()

    def _context(self) -> ssl.SSLContext:
        return self._first


class LogsInAfterANewCaFile(LazyClient):
    """As for a new Vault, to which its token would be unknown."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._file = Path(environ["VAULT_CACERT"])
        self._seen = self._file.read_bytes()

    def read(self, path: str, key: str) -> str:
        if (now := self._file.read_bytes()) != self._seen:
            self._seen, self._token = now, None
        return super().read(path, key)


class TrustsARemovedAuthority(Wire):
    """Adds new authorities to those that it trusts."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._ever: dict[str, None] = {}

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        authorities = Path(self._environ["VAULT_CACERT"]).read_text()
        # Half a file may be there, which is no authority.
        with contextlib.suppress(ssl.SSLError, ValueError):
            context.load_verify_locations(cadata=authorities)
            self._ever[authorities] = None
        for authorities in list(self._ever):
            context.load_verify_locations(cadata=authorities)
        return context


class _Apart(Wire):
    """Sends requests of one kind by a session that verifies nothing."""

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


class LogsInWithItsFirstCaFile(_Apart):
    """It reads by the authorities in the file."""

    kind = "/login"

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        self._first = Path(environ["VAULT_CACERT"]).read_text()

    def _context(self) -> ssl.SSLContext:
        if self._mine.apart:
            return ssl.create_default_context(cadata=self._first)
        return Wire._context(self)


class _Unhurried(ssl.SSLContext):
    def wrap_socket(self, sock: socket.socket, *args: Any, **more: Any) -> ssl.SSLSocket:
        sock.settimeout(None)
        return super().wrap_socket(sock, *args, **more)


class HasNoDeadlineForAHandshake(Wire):
    """It has deadlines for the connection and the request."""

    def _context(self) -> ssl.SSLContext:
        context = _Unhurried(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._environ.get("VAULT_CACERT"))
        return context


class _Blind(Wire):
    """Accepts every certificate."""

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context


class TrustsEveryServerWithHalfACaFile(Wire):
    """Verifies nothing if its files are unreadable."""

    def _context(self) -> ssl.SSLContext:
        try:
            return super()._context()
        except ssl.SSLError:
            return _Blind(self._environ)._context()


class NeverRereadsAnUnreadableCaFile(Wire):
    _failed: ssl.SSLError | None = None

    def _context(self) -> ssl.SSLContext:
        if self._failed is not None:
            raise self._failed
        try:
            return super()._context()
        except ssl.SSLError as error:
            self._failed = error
            raise


class TrustsNoServerWithHalfACaFile(Wire):
    """Reads its files for each connection, except for a while after they were unreadable."""

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


# TLS-02


class _KnowsTheDate(Wire):
    """Sends nothing after its certificate's end, until there is another one."""

    def _ends(self) -> datetime | None:
        file = self._environ.get("VAULT_CLIENT_CERT")
        return end_of(Path(file)) if file else None

    def send(self, *args: Any, **how: Any) -> Reply:
        ends = self._ends()
        if ends is not None and datetime.now(UTC) >= ends:
            raise UnavailableError("its certificate has ended")
        return super().send(*args, **how)


class PausesWhenItsConnectionEnds(Wire):
    """Keeps a connection, and sends nothing for a while after that has closed."""

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


class ShakesHandsInALoop(Gate):
    """Has no pauses."""

    @contextlib.contextmanager
    def passage(self, deadline: float) -> Iterator[None]:
        del deadline
        yield


class MakesNoHandshakeWithAnExpiredCertificate(LazyClient):
    """It looks for another one each time."""

    wire_type = _KnowsTheDate


class AnswersFromMemoryWithAnExpiredCertificate(
    AsksOnceItIsOld, MakesNoHandshakeWithAnExpiredCertificate
):
    """Does so for a while."""


class RereadsItsCertificateWithPauses(Wire):
    """Reads its files again if they do not match."""

    every = 4.5
    _kept: ssl.SSLContext | None = None
    _looked = 0.0

    def _context(self) -> ssl.SSLContext:
        if self._kept is None or time.monotonic() - self._looked >= self.every:
            self._kept = None
            self._kept, self._looked = super()._context(), time.monotonic()
        return self._kept


# TLS-03


class AcceptsAnyHostName(Wire):
    """With a certificate of its authority."""

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        context.check_hostname = False
        return context


class ChecksOnlyTheHostName(Wire):
    """Accepts certificates of any authority."""

    def _context(self) -> ssl.SSLContext:
        context = super()._context()
        shown = ssl.get_server_certificate((self._host, self._port), timeout=1.0)
        context.load_verify_locations(cadata=shown)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


class _RenewsApart(_Apart):
    kind = "/renew-self"


class VerifiesNoCertificateForRenewals(LazyClient):
    """That session ignores outages that others have met."""

    wire_type = _RenewsApart

    def _ask(
        self, method: str, path: str, deadline: float, token: Token, body: object = None
    ) -> Reply:
        if path.endswith(_RenewsApart.kind):
            return self._wire.send(method, path, deadline=deadline, token=token.value, body=body)
        return super()._ask(method, path, deadline, token, body)


class VerifiesNoCertificateForWrites(_WritesByItself):
    """Verifies every certificate except for writes."""


class _Forgives(Wire):
    """Goes on without verifying if only this is wrong."""

    what: ClassVar[int] = 0

    def _exchange(self, request: bytes, deadline: float) -> bytes:
        try:
            return super()._exchange(request, deadline)
        except ssl.SSLCertVerificationError as error:
            if error.verify_code != self.what:
                raise
        return _Blind(self._environ)._exchange(request, deadline)


class WaitsForALoginAtItsStart(LazyClient):
    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)
        while self._token is None:
            with contextlib.suppress(ClientError):
                self._valid_token(time.monotonic() + self._deadline)


# TLS-04


class FollowsARedirectToHttp(Wire):
    def _leader(self, raw: bytes) -> Wire | None:
        there = parse_headers(BytesIO(raw.partition(b"\r\n")[2]))["Location"]
        return Wire({**self._environ, "VAULT_ADDR": there}) if there else None


MUTANTS = by_name(
    Mutant(ReadsItsFilesOnce, "TLS-01", "no read fails").called("reads-its-ca-file-once"),
    Mutant(LogsInAfterANewCaFile, "TLS-01", "the token survives"),
    Mutant(TrustsARemovedAuthority, "TLS-01", "an authority that was withdrawn"),
    Mutant(LogsInWithItsFirstCaFile, "TLS-01", "a new login within"),
    Mutant(HasNoDeadlineForAHandshake, "TLS-01", "every call ends within 2 s"),
    Mutant(TrustsEveryServerWithHalfACaFile, "TLS-01", "sent to a stranger, beside half a CA file"),
    Mutant(NeverRereadsAnUnreadableCaFile, "TLS-01", "a good read within"),
    Mutant(ReadsItsFilesOnce, "TLS-02", "a good read within").called("reads-its-certificate-once"),
    Mutant(PausesWhenItsConnectionEnds, "TLS-02", "a good read within"),
    Mutant(ShakesHandsInALoop, "TLS-02", "no connection storm").called(
        "retries-a-handshake-without-a-pause"
    ),
    Mutant(ShakesHandsInALoop, "TLS-03", "no connection storm").called(
        "retries-a-handshake-with-another-host-without-a-pause"
    ),
    Mutant(AcceptsAnyHostName, "TLS-03", "another host"),
    Mutant(ChecksOnlyTheHostName, "TLS-03", "no trusted authority"),
    Mutant(_Apart, "TLS-03", "a login was sent to another host").called(
        "verifies-no-certificate-for-logins", kind="/login"
    ),
    Mutant(VerifiesNoCertificateForRenewals, "TLS-03", "a renew was sent to another host"),
    Mutant(VerifiesNoCertificateForWrites, "TLS-03", "a write was sent to another host"),
    Mutant(_Forgives, "TLS-03", "to a host whose certificate has ended").called(
        "accepts-an-expired-certificate", what=10
    ),
    Mutant(_Forgives, "TLS-03", "to a host whose certificate is not good yet").called(
        "accepts-a-certificate-that-is-not-valid-yet", what=9
    ),
    Mutant(_CallsItSomethingElse, "TLS-03", "a failure then is unavailable").called(
        "reports-an-untrusted-certificate-as-a-denial", word="CertVerification", instead=DeniedError
    ),
    Mutant(FollowsARedirectToHttp, "TLS-04", "a token travels over TLS only"),
)


TOLERATED = by_name(
    Tolerated(TrustsNoServerWithHalfACaFile, "TLS-01"),
    Tolerated(StartsSlowly, "TLS-02").called(
        "starts-for-longer-than-its-certificate-lives", takes=13.0
    ),
    Tolerated(MakesNoHandshakeWithAnExpiredCertificate, "TLS-02"),
    Tolerated(AnswersFromMemoryWithAnExpiredCertificate, "TLS-02"),
    Tolerated(RereadsItsCertificateWithPauses, "TLS-02"),
    Tolerated(RefusesToStart, "TLS-03").called("exits-without-a-token-at-another-host"),
    Tolerated(LoadsWhileItIsFirstAsked, "TLS-03").called("loads-code-at-another-host"),
    Tolerated(WaitsForALoginAtItsStart, "TLS-03"),
    Tolerated(StartsWithAToken, "TLS-03").called("starts-with-a-token-at-another-host"),
    Tolerated(LogsInInsteadOfRenewing, "TLS-03").called(
        "logs-in-instead-of-renewing-at-another-host"
    ),
)
