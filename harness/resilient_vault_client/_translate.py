"""From what lower libraries and servers say to the client's own errors.

What comes out holds nothing of what went in: an answer to a failed login can repeat the secret-id.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h11
import httpcore

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
from resilient_vault_client._network import MOST_BYTES, AnswerWithoutEnd
from resilient_vault_client._pool import AnswerCut
from resilient_vault_client._remedies import SPEAKS_TLS, remedy_for

# The first line that fits decides, so that the particular stands before the general.
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
    # A certificate file that cannot be used, which is found out before there is a connection.
    (ssl.SSLError, TlsFailed),
)

# Errors after which nothing has been sent.
_NOT_SENT = (
    httpcore.ConnectTimeout,
    httpcore.ConnectError,
    httpcore.LocalProtocolError,
    httpcore.UnsupportedProtocol,
    ssl.SSLError,
)

# What older versions of Vault say, with a 400, to a login where no method is mounted.
NO_LOGIN = "missing client token"

# What an engine says, with a 400, that is being made one of version 2: for a moment, it adds.
_UPGRADES = "from non-versioned to versioned data"

# What Vault says to a failed login without repeating any part of it.
_HARMLESS = re.compile(
    r"invalid role or secret ID|missing (role|secret)_id"
    r"|source address \S+ unauthorized through CIDR restrictions.*"
    r"|(service account name|namespace) not authorized"
    rf"|{NO_LOGIN}"
)

# What these mean is Vault's to say: a gateway's "no such route" is no missing secret, and what it
# denies is no word about the token.
_NOT_EVERYBODYS = frozenset({400, 401, 403, 404})

# A server that asks for more than this does not know what it says.
_LONGEST_WAIT = 900.0

# Text of an answer that goes into a message; longer is a stack trace or a web page.
_TEXT_LIMIT = 200


def from_exception(
    error: BaseException, address: str, authorities: Path | None = None
) -> VaultError | None:
    """The client's error for one of a lower library; None if that is not about talking to Vault.

    Args:
        error: What was raised.
        address: Whom the client asked.
        authorities: Which ones it trusts; the system's without that.
    """
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
    """The error for an answer that has not come yet."""
    return VaultTimeout(_WORDS[VaultTimeout].format(address=address))


_WORDS: dict[type[VaultError], str] = {
    VaultTimeout: "{address} did not answer in time",
    VaultUnreachable: "no connection to {address}: {what}",
    ConnectionLost: "the connection to {address} broke: {what}",
    AnswerTruncated: "the answer of {address} was cut short: {what}",
    TlsFailed: "no secure connection to {address}: {what}",
    UnexpectedAnswer: "what {address} answered is not an answer of Vault: {what}",
    ConfigurationError: "{address} cannot be asked: {what}",
}


# Errors of which the cause tells what can be done about them.
_REMEDIED = (VaultUnreachable, TlsFailed, UnexpectedAnswer)


def _system_text(error: BaseException) -> str:
    """A short text that cannot hold anything of the request."""
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
    """The client's error for an answer that is not a success.

    Args:
        status: HTTP status, 400 or more.
        body: The body as it came.
        headers: Header names in any case.
        address: Whom the client asked.
        hide: Secrets that the text could repeat.
        login: Whether it answers a login, in which case only words that are known to be harmless
            are quoted.
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
    # A gateway's own 5xx says nothing about what Vault did; a refusal says that it did nothing.
    error.sent = status >= 500 and not isinstance(error, VaultSealed | NotInitialised)
    return error


def _by_status(status: int, text: str, shown: str, address: str) -> VaultError:
    match status:
        case 401 | 403:
            denied = PermissionDenied(f"permission denied: {shown}")
            # A live token that lacks a capability gets a list, "1 error occurred: ..."; a dead one
            # the bare words.
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
        return WriteConflict("somebody else wrote first: read again, then write")
    if "wrapping token" in text:
        return WrappingTokenSpent(
            "the wrapping token was used before, has expired, or never was one; if nobody of yours "
            "used it, treat what it held as stolen"
        )
    return RequestRefused(f"Vault does not accept the request: {shown}")


def server_words(body: bytes) -> list[str] | None:
    """The errors that Vault lists, or None if the body is no JSON object."""
    parsed = _parsed(body)
    if parsed is None:
        return None
    errors = parsed.get("errors") or parsed.get("warnings") or []
    return [str(error) for error in errors] if isinstance(errors, list) else [str(errors)]


def _is_vaults(body: bytes) -> bool:
    """Whether the body is of Vault's form: a list of errors, or an answer with nothing in it."""
    parsed = _parsed(body) or {}
    return isinstance(parsed.get("errors"), list) or "request_id" in parsed


def _parsed(body: bytes) -> dict[str, Any] | None:
    """The JSON object that a body is, if it is one."""
    parsed = parse(body)
    return parsed if isinstance(parsed, dict) else None


def parse(body: bytes) -> Any:
    """What a body says in JSON; None if it is none, or one that is nested beyond all sense."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _shown(text: str, hide: Iterable[str]) -> str:
    """The text on one line, without what is to be hidden, in whatever lines that was repeated."""
    text = " ".join(text.split())
    repeated = {way for secret in hide for way in _written(secret) if way and way in text}
    if repeated:
        # The longest first: a short one may be a part of it, and would leave the rest.
        longest_first = sorted(repeated, key=len, reverse=True)
        text = re.sub("|".join(map(re.escape, longest_first)), "[hidden]", text)
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + "..."


def _written(secret: str) -> Iterator[str]:
    """How a server may repeat it on one line: as it is, or as a text of a program's."""
    for way in (secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]):
        yield " ".join(way.split())


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header; a date is not obeyed: it is of a wall clock."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "").strip()
    return min(float(value), _LONGEST_WAIT) if value.isdecimal() else None
