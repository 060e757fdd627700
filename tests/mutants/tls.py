"""Clients that break the promises of TLS: whom they trust, and how they try again."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.mutants.clients import Mutant
from tests.subjects.lazy_client import LazyClient
from tests.subjects.lazy_wire import Gate, Reply, UnavailableError, Wire


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


MUTANTS: dict[str, Mutant] = {
    "reads-its-ca-file-once": Mutant(ReadsItsFilesOnce, "TLS-01", "no read fails"),
    "logs-in-for-a-new-authority": Mutant(LogsInForANewAuthority, "TLS-01", "the token survives"),
    "reads-its-certificate-once": Mutant(ReadsItsFilesOnce, "TLS-02", "a good read within"),
    "shakes-hands-in-a-loop": Mutant(ShakesHandsInALoop, "TLS-02", "no connection storm"),
    "shakes-hands-with-another-host-in-a-loop": Mutant(
        ShakesHandsInALoop, "TLS-03", "no connection storm"
    ),
    "does-not-look-at-names": Mutant(DoesNotLookAtNames, "TLS-03", "another host"),
    "stops-verifying": Mutant(StopsVerifying, "TLS-03", "another host"),
    "looks-at-names-alone": Mutant(LooksAtNamesAlone, "TLS-03", "no trusted authority"),
}
