"""The TLS context, built anew when a certificate file changes."""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path

from resilient_vault_client._config import Config
from resilient_vault_client._credentials import told

# What OpenSSL says of a certificate with the key of another one.
_DO_NOT_FIT = frozenset({"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"})

_log = logging.getLogger("resilient_vault_client")

_Stamp = tuple[tuple[int, int, int] | None, ...]


class TlsFiles:
    """CA and client certificate; a rotated file is used from the next connection on."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = threading.RLock()
        self._stamp: _Stamp | None = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """A context by the files as they are now.

        Raises:
            ssl.SSLError: A file cannot be read, or is not what it should be.
        """
        try:
            return self._current()
        except ssl.SSLError:
            raise
        except OSError as error:
            # Nobody can be verified without it, and nothing is sent.
            which = (
                told(Path(error.filename))
                if error.filename
                else "the file of VAULT_CACERT, VAULT_CLIENT_CERT or VAULT_CLIENT_KEY"
            )
            raise ssl.SSLCertVerificationError(f"cannot read {which}: {error.strerror}") from None

    def _current(self) -> ssl.SSLContext:
        config = self._config
        with self._lock:
            stamp = tuple(
                _stamp(p) for p in (config.ca_cert, config.client_cert, config.client_key)
            )
            if self._context is not None and stamp == self._stamp:
                return self._context
            try:
                self._context = _build(config)
            except ssl.SSLError as error:
                if self._context is None or error.reason not in _DO_NOT_FIT:
                    raise
                # One of the two is the next one already: for a moment the last pair has to do, and
                # the files are read again for the next connection.
                _log.warning("vault: VAULT_CLIENT_CERT and VAULT_CLIENT_KEY do not fit (yet?)")
                return self._context
            self._stamp = stamp
            return self._context


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    if path is None:
        return None
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _build(config: Config) -> ssl.SSLContext:
    if config.ca_cert is not None and config.ca_cert.is_dir():
        context = ssl.create_default_context(capath=str(config.ca_cert))
    else:
        context = ssl.create_default_context(cafile=config.ca_cert and str(config.ca_cert))
    if config.client_cert is not None:
        context.load_cert_chain(config.client_cert, config.client_key, _nobody_to_ask)
    if not config.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _nobody_to_ask() -> str:
    """In the place of OpenSSL's own question, which waits at the terminal for ever.

    Raises:
        ssl.SSLError: Always.
    """
    raise ssl.SSLError(
        "the key of the client's certificate is encrypted, and there is nobody to ask for its "
        "passphrase: give it in the clear in VAULT_CLIENT_KEY"
    )
