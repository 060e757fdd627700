"""What can be done about a connection that is not to be had, by its cause."""

from __future__ import annotations

import errno
import socket
import ssl
from pathlib import Path

import h11

from resilient_vault_client._credentials import told

# What a server of Go's, such as Vault, says to a request that is not encrypted.
SPEAKS_TLS = b"HTTP request to an HTTPS server"

_RUNNING = "does Vault run there, and is VAULT_ADDR right?"
_NO_WAY = "is VAULT_ADDR right, and does a firewall or a missing route stand between?"
_NO_NAME = "is the host in VAULT_ADDR right, and does the name service of this machine know it?"
_NO_TLS = "does it speak TLS? Without that VAULT_ADDR begins with http://"
_NO_HTTP = "is VAULT_ADDR right, and does it begin with https:// where Vault speaks TLS?"

_BY_NUMBER = {
    errno.ECONNREFUSED: _RUNNING,
    errno.EHOSTUNREACH: _NO_WAY,
    errno.ENETUNREACH: _NO_WAY,
    errno.ETIMEDOUT: _NO_WAY,
}

# Codes of OpenSSL, for what is wrong with the server's certificate.
_NOT_TRUSTED = frozenset({18, 19, 20, 21})
_NOT_ITS_TIME = frozenset({9, 10})
_NOT_ITS_NAME = frozenset({62, 64})

# What OpenSSL calls an answer that is no TLS, and what a server says of the client's certificate.
_IS_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_ASKS_FOR_ONE = "CERTIFICATE_REQUIRED"
_REFUSES_OURS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN")


def remedy_for(cause: BaseException, authorities: Path | None) -> str:
    """What was looked at, and what to do; nothing where the cause does not tell.

    Args:
        cause: What a lower library said first.
        authorities: Which ones are trusted; the system's without that.
    """
    if isinstance(cause, socket.gaierror):
        return _NO_NAME
    if isinstance(cause, ssl.SSLCertVerificationError):
        return _of_its_certificate(getattr(cause, "verify_code", 0), authorities)
    if isinstance(cause, ssl.SSLError):
        return _of_tls(getattr(cause, "reason", None) or "")
    if isinstance(cause, h11.RemoteProtocolError):
        return _NO_HTTP
    if isinstance(cause, TimeoutError):
        return _NO_WAY
    return _BY_NUMBER.get(cause.errno or 0, "") if isinstance(cause, OSError) else ""


def _of_its_certificate(code: int, authorities: Path | None) -> str:
    if code in _NOT_TRUSTED:
        if authorities is None:
            return (
                "the system's authorities were looked at: set VAULT_CACERT to a file with the one "
                "that signed Vault's certificate"
            )
        rehash = " (in a directory, by names that `openssl rehash` makes)"
        return (
            f"the authorities in VAULT_CACERT were looked at, {told(authorities)}: the one that "
            f"signed Vault's certificate must be there{rehash if authorities.is_dir() else ''}"
        )
    if code in _NOT_ITS_TIME:
        return "Vault needs another certificate, or the clock of this machine is wrong"
    if code in _NOT_ITS_NAME:
        return "VAULT_ADDR must have a name that is in Vault's certificate"
    return ""


def _of_tls(reason: str) -> str:
    if reason in _IS_NO_TLS:
        return _NO_TLS
    if _ASKS_FOR_ONE in reason:
        return "it asks for a certificate: set VAULT_CLIENT_CERT and VAULT_CLIENT_KEY"
    if reason.endswith(_REFUSES_OURS):
        return "the server does not trust what is in VAULT_CLIENT_CERT"
    return ""
