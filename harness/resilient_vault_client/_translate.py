"""Translate libraries' exceptions and servers' answers into the client's errors.

These hold nothing of the request: an answer to a failed login can repeat the secret-id.
"""

from __future__ import annotations

import errno
import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h11
import httpcore

from resilient_vault_client._credentials import told
from resilient_vault_client._errors import (
    AnswerTruncated,
    ConfigurationError,
    ConnectionLost,
    MountMissing,
    NotInitialised,
    NotReplicated,
    PermissionDenied,
    RateLimited,
    RequestRefused,
    RequestTooLarge,
    SecretNotFound,
    ServerFailed,
    TlsFailed,
    UnexpectedAnswer,
    VaultError,
    VaultSealed,
    VaultTimeout,
    VaultUnavailable,
    VaultUnreachable,
    WrappingTokenSpent,
    WriteConflict,
)
from resilient_vault_client._network import MOST_BYTES, AnswerCut, AnswerWithoutEnd

# A Go server's answer, such as Vault's, to a request without TLS.
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

# OpenSSL's codes for a bad server certificate.
_NOT_TRUSTED = frozenset({18, 19, 20, 21})
_NOT_ITS_TIME = frozenset({9, 10})
_NOT_ITS_NAME = frozenset({62, 64})

# OpenSSL's names for an answer without TLS, and the server's for a bad client certificate.
_IS_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_ASKS_FOR_ONE = "CERTIFICATE_REQUIRED"
_REFUSES_OURS = ("UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_EXPIRED", "CERTIFICATE_UNKNOWN")


def remedy_for(cause: BaseException, authorities: Path | None) -> str:
    """Return which setting to check, or "".

    For ``authorities``, a file or folder, None means the system's.
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


# The first match decides, so a subclass stands before its parent.
EXCEPTIONS: tuple[tuple[type[BaseException], type[VaultError]], ...] = (
    (AnswerCut, AnswerTruncated),
    (AnswerWithoutEnd, UnexpectedAnswer),
    (httpcore.ConnectTimeout, VaultUnreachable),
    (httpcore.PoolTimeout, VaultTimeout),
    (httpcore.ReadTimeout, VaultTimeout),
    (httpcore.WriteTimeout, VaultTimeout),
    (httpcore.TimeoutException, VaultTimeout),
    (httpcore.ConnectError, VaultUnreachable),
    (httpcore.ReadError, ConnectionLost),
    (httpcore.WriteError, ConnectionLost),
    (httpcore.NetworkError, ConnectionLost),
    (httpcore.RemoteProtocolError, ConnectionLost),
    (httpcore.LocalProtocolError, ConfigurationError),
    (httpcore.ProtocolError, ConnectionLost),
    (httpcore.ProxyError, VaultUnreachable),
    (httpcore.UnsupportedProtocol, ConfigurationError),
    (httpcore.ConnectionNotAvailable, ConnectionLost),
    # An unusable certificate file, found before there is a connection.
    (ssl.SSLError, TlsFailed),
)

# Nothing has been sent before these.
_NOT_SENT = (
    httpcore.ConnectTimeout,
    httpcore.ConnectError,
    httpcore.LocalProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
)

# Older versions of Vault say this, with a 400, to a login if no method is mounted.
NO_LOGIN = "missing client token"

# An engine that is being upgraded to version 2 says this for a moment, with a 400.
_UPGRADES = "from non-versioned to versioned data"

# Vault's words for a failed login that repeat nothing of the request.
_HARMLESS = re.compile(
    r"invalid role or secret ID|missing (role|secret)_id"
    r"|source address \S+ unauthorized through CIDR restrictions.*"
    r"|(service account name|namespace) not authorized"
    rf"|{NO_LOGIN}"
)

# Statuses that count only in Vault's answer: a gateway's "no such route" is not a missing secret,
# and its denial says nothing about the token.
_NOT_EVERYBODYS = frozenset({400, 401, 403, 404})

# Seconds; a longer wait is not plausible.
_LONGEST_WAIT = 900.0

# Characters; a longer text is a stack trace or a web page.
_TEXT_LIMIT = 200


def from_exception(
    error: BaseException, address: str, authorities: Path | None = None
) -> VaultError | None:
    """Translate a library's exception; return None if it is not about talking to Vault."""
    ours = next((ours for kind, ours in EXCEPTIONS if isinstance(error, kind)), None)
    if ours is None:
        return None
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    what = _system_text(cause)
    if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
        ours = TlsFailed
    elif isinstance(cause, h11.RemoteProtocolError) and ours is ConnectionLost:
        ours, what = UnexpectedAnswer, "it is not HTTP"
    text = _WORDS[ours].format(address=address, what=what)
    if ours in _REMEDIED:
        remedy = remedy_for(cause, authorities)
        text = f"{text.rstrip('.')}; {remedy}" if remedy else text
    return ours(text, sent=not isinstance(error, _NOT_SENT))


def silence(address: str) -> VaultTimeout:
    return VaultTimeout(_WORDS[VaultTimeout].format(address=address))


_WORDS: dict[type[VaultError], str] = {
    VaultTimeout: "{address} did not answer in time",
    VaultUnreachable: "no connection to {address}: {what}",
    ConnectionLost: "the connection to {address} broke: {what}",
    AnswerTruncated: "the answer of {address} was cut short: {what}",
    TlsFailed: "no secure connection to {address}: {what}",
    UnexpectedAnswer: "{address} answered, but not as Vault does: {what}",
    ConfigurationError: "{address} cannot be asked: {what}",
}


# The cause of these tells what can be done.
_REMEDIED = (VaultUnreachable, TlsFailed, UnexpectedAnswer)


def _system_text(error: BaseException) -> str:
    """Return a short text with nothing of the request."""
    if isinstance(error, socket.gaierror):
        return "the name does not resolve"
    if isinstance(error, TimeoutError):
        return "not in time"
    if isinstance(error, ssl.SSLError):
        told = getattr(error, "verify_message", "") or getattr(error, "reason", "")
        return told if isinstance(told, str) and told else str(error.args[-1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, AnswerWithoutEnd):
        return f"it has more than {MOST_BYTES >> 20} MiB"
    if isinstance(error, httpcore.RemoteProtocolError | h11.RemoteProtocolError):
        return "the other side ended it"
    return type(error).__name__


def from_answer(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    address: str,
    hide: Iterable[str] = (),
    login: bool = False,
) -> VaultError:
    """Translate an answer with a status of 400 or more.

    Args:
        hide: Secrets that the text could repeat.
        login: It answers a login; then only words known to be harmless are quoted.
    """
    words = server_words(body)
    if status in _NOT_EVERYBODYS and not _is_vaults(body):
        words = None
    retry_after = _retry_after(headers)
    if words is None and status not in (413, 429):
        doubt = "does VAULT_ADDR lead to Vault, or is that a load balancer's page?"
        if SPEAKS_TLS in body:
            doubt = "it speaks TLS: VAULT_ADDR must begin with https://"
        return UnexpectedAnswer(
            f"{address} answered {status}, but not as Vault does: {doubt}",
            status=status,
            retry_in=retry_after,
        )
    text = "; ".join(words or ())
    quoted = text and (not login or _HARMLESS.fullmatch(text))
    shown = _shown(text, hide) if quoted else f"status {status}"
    error = _by_status(status, text, shown, address)
    error.status = status
    error.retry_in = retry_after
    # After a gateway's 5xx Vault may have acted; after a refusal it has not.
    error.sent = status >= 500 and not isinstance(error, VaultSealed | NotInitialised)
    return error


def _by_status(status: int, text: str, shown: str, address: str) -> VaultError:
    match status:
        case 401 | 403:
            denied = PermissionDenied(f"permission denied: {shown}")
            # For a living token without a capability Vault sends a list, "1 error occurred: ...";
            # for a dead one the bare words.
            denied.doubtful = "error occurred" not in text
            return denied
        case 404 if "no handler for route" in text or "namespace not found" in text:
            return MountMissing(
                f"nothing is mounted there: {shown}; is the mount's name right (VAULT_MOUNT_POINT "
                "for secrets, VAULT_AUTH_MOUNT for a login), and is VAULT_NAMESPACE?"
            )
        case 404:
            return SecretNotFound("there is no such secret")
        case 412:
            return NotReplicated("this node lags behind what was written")
        case 413:
            return RequestTooLarge("the request is over the server's size limit")
        case 429:
            return RateLimited(f"too many requests: {shown}")
        case 501:
            return NotInitialised(f"the Vault at {address} was never initialised")
        case 503 if "sealed" in text:
            return VaultSealed(f"the Vault at {address} is sealed")
        case 400:
            return _bad_request(text, shown)
        case _ if status < 500 and status not in (472, 473):
            return RequestRefused(f"Vault does not accept the request: {shown}")
        case _:
            failed: VaultUnavailable = ServerFailed(f"{address} failed: {shown}")
            failed.everywhere = status in (502, 503, 504)
            return failed


def _bad_request(text: str, shown: str) -> VaultError:
    if _UPGRADES in text:
        return ServerFailed(f"the secrets engine is being upgraded: {shown}")
    if "check-and-set parameter" in text:
        return WriteConflict("another client wrote first: read again, then write")
    if "wrapping token" in text:
        return WrappingTokenSpent(
            "the wrapping token was used before, has expired, or never was one; if you did "
            "not use it, treat its content as stolen"
        )
    return RequestRefused(f"Vault does not accept the request: {shown}")


def server_words(body: bytes) -> list[str] | None:
    """Return the errors that Vault lists, or None if the body is no JSON object."""
    parsed = _parsed(body)
    if parsed is None:
        return None
    errors = parsed.get("errors") or parsed.get("warnings") or []
    return [str(error) for error in errors] if isinstance(errors, list) else [str(errors)]


def _is_vaults(body: bytes) -> bool:
    """Return whether the body has a list of errors, or is an empty answer of Vault."""
    parsed = _parsed(body) or {}
    return isinstance(parsed.get("errors"), list) or "request_id" in parsed


def _parsed(body: bytes) -> dict[str, Any] | None:
    parsed = parse(body)
    return parsed if isinstance(parsed, dict) else None


def parse(body: bytes) -> Any:
    """Return None if the body is no JSON, or nested too deeply."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _shown(text: str, hide: Iterable[str]) -> str:
    """Return the text on one line, with [hidden] for every secret."""
    text = " ".join(text.split())
    repeated = {way for secret in hide for way in _written(secret) if way and way in text}
    if repeated:
        # Longest first: a shorter secret may be a part of it, and would leave the rest.
        longest_first = sorted(repeated, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "[hidden]", text)
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + "..."


def _written(secret: str) -> Iterator[str]:
    """Yield the forms of a secret that a server may repeat on one line."""
    for way in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield " ".join(way.split())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the header's seconds; a date is ignored, since clocks differ."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "").strip()
    return min(float(value), _LONGEST_WAIT) if value.isdecimal() else None
