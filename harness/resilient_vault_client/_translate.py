"""From what lower libraries and servers say to the client's own errors.

What comes out holds nothing of what went in: an exception of requests carries the request with its
token and its body, and an answer to a failed login can repeat the secret-id.
"""

from __future__ import annotations

import http.client
import json
import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Any

import hvac.exceptions
import requests.exceptions
import urllib3.exceptions

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

# The first line that fits decides, so that the particular stands before the general.
EXCEPTIONS: tuple[tuple[type[BaseException], type[VaultError]], ...] = (
    # requests
    (requests.exceptions.SSLError, TlsFailed),
    (requests.exceptions.ProxyError, VaultUnreachable),
    (requests.exceptions.ConnectTimeout, VaultUnreachable),
    (requests.exceptions.Timeout, VaultTimeout),
    (requests.exceptions.JSONDecodeError, UnexpectedAnswer),
    (requests.exceptions.InvalidProxyURL, ConfigurationError),
    (requests.exceptions.InvalidURL, ConfigurationError),
    (requests.exceptions.InvalidSchema, ConfigurationError),
    (requests.exceptions.MissingSchema, ConfigurationError),
    (requests.exceptions.URLRequired, ConfigurationError),
    (requests.exceptions.InvalidHeader, ConfigurationError),
    (requests.exceptions.UnrewindableBodyError, ConnectionLost),
    (requests.exceptions.ChunkedEncodingError, AnswerTruncated),
    (requests.exceptions.ContentDecodingError, UnexpectedAnswer),
    (requests.exceptions.StreamConsumedError, ConnectionLost),
    (requests.exceptions.RetryError, ServerFailed),
    (requests.exceptions.TooManyRedirects, UnexpectedAnswer),
    (requests.exceptions.HTTPError, UnexpectedAnswer),
    (requests.exceptions.InvalidJSONError, RequestRefused),
    (requests.exceptions.ConnectionError, ConnectionLost),
    (requests.exceptions.RequestException, ConnectionLost),
    (requests.exceptions.RequestsWarning, ConfigurationError),
    # urllib3
    (urllib3.exceptions.SSLError, TlsFailed),
    (urllib3.exceptions.ProxySchemeUnknown, ConfigurationError),
    (urllib3.exceptions.ProxySchemeUnsupported, ConfigurationError),
    (urllib3.exceptions.ProxyError, VaultUnreachable),
    (urllib3.exceptions.NewConnectionError, VaultUnreachable),
    (urllib3.exceptions.ConnectTimeoutError, VaultUnreachable),
    (urllib3.exceptions.TimeoutError, VaultTimeout),
    (urllib3.exceptions.TimeoutStateError, VaultTimeout),
    (urllib3.exceptions.LocationParseError, ConfigurationError),
    (urllib3.exceptions.LocationValueError, ConfigurationError),
    (urllib3.exceptions.DecodeError, UnexpectedAnswer),
    (urllib3.exceptions.InvalidHeader, UnexpectedAnswer),
    (urllib3.exceptions.HeaderParsingError, UnexpectedAnswer),
    (urllib3.exceptions.ResponseNotChunked, UnexpectedAnswer),
    (urllib3.exceptions.BodyNotHttplibCompatible, UnexpectedAnswer),
    (urllib3.exceptions.ResponseError, ServerFailed),
    (urllib3.exceptions.UnrewindableBodyError, ConnectionLost),
    (urllib3.exceptions.IncompleteRead, AnswerTruncated),
    (urllib3.exceptions.InvalidChunkLength, AnswerTruncated),
    (urllib3.exceptions.ProtocolError, ConnectionLost),
    (urllib3.exceptions.PoolError, ConnectionLost),
    (urllib3.exceptions.HTTPWarning, ConfigurationError),
    (urllib3.exceptions.HTTPError, ConnectionLost),
    # hvac
    (hvac.exceptions.InvalidRequest, RequestRefused),
    (hvac.exceptions.Unauthorized, PermissionDenied),
    (hvac.exceptions.Forbidden, PermissionDenied),
    (hvac.exceptions.InvalidPath, SecretNotFound),
    (hvac.exceptions.UnsupportedOperation, RequestRefused),
    (hvac.exceptions.PreconditionFailed, NotReplicated),
    (hvac.exceptions.RateLimitExceeded, RateLimited),
    (hvac.exceptions.InternalServerError, ServerFailed),
    (hvac.exceptions.VaultNotInitialized, NotInitialised),
    (hvac.exceptions.VaultDown, VaultSealed),
    (hvac.exceptions.BadGateway, ServerFailed),
    (hvac.exceptions.ParamValidationError, ConfigurationError),
    (hvac.exceptions.UnexpectedError, UnexpectedAnswer),
    (hvac.exceptions.VaultError, UnexpectedAnswer),
    # the standard library
    (ssl.SSLError, TlsFailed),
    (TimeoutError, VaultTimeout),
    (http.client.HTTPException, ConnectionLost),
    (OSError, ConnectionLost),
)

# What requests hides in an argument: the connection never came about, so nothing was sent.
_NOT_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    ssl.SSLCertVerificationError,
)

# What Vault says to a failed login without repeating any part of it.
_HARMLESS = re.compile(
    r"invalid role or secret ID|missing (role|secret)_id"
    r"|source address \S+ unauthorized through CIDR restrictions.*"
)

# A server that asks for more than this does not know what it says.
_LONGEST_WAIT = 900.0

# Text of an answer that goes into a message; longer is a stack trace or a web page.
_TEXT_LIMIT = 200


def from_exception(error: BaseException, address: str) -> VaultError | None:
    """The client's error for one of a lower library; None if that is not about talking to Vault."""
    reason = _reason(error)
    if isinstance(reason, urllib3.exceptions.NewConnectionError):
        return VaultUnreachable(f"no connection to {address}: {_system_text(reason)}", sent=False)
    if isinstance(reason, TimeoutError):
        # The deadline was over before the first byte: urllib3 takes that for a broken connection.
        return VaultTimeout(_WORDS[VaultTimeout].format(address=address))
    for kind, ours in EXCEPTIONS:
        if isinstance(error, kind):
            sent = not isinstance(reason, _NOT_SENT)
            return ours(
                _WORDS.get(ours, "it failed: {what}").format(
                    address=address, what=_system_text(reason)
                ),
                sent=sent,
            )
    return None


_WORDS: dict[type[VaultError], str] = {
    VaultTimeout: "{address} did not answer in time",
    VaultUnreachable: "no connection to {address} in time",
    ConnectionLost: "the connection to {address} broke: {what}",
    AnswerTruncated: "the answer of {address} was cut short: {what}",
    TlsFailed: "no secure connection to {address}: {what}",
    UnexpectedAnswer: "what {address} answered is not an answer of Vault: {what}",
    ConfigurationError: "{address} cannot be asked: {what}",
}


def _reason(error: BaseException) -> BaseException:
    """The lowest exception that was wrapped, as far as it is told in arguments."""
    for _ in range(4):
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        if inner is None:
            break
        error = inner
    return error


def _system_text(error: BaseException) -> str:
    """A short text that cannot hold anything of the request."""
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "the name does not resolve"
    if isinstance(error, urllib3.exceptions.NewConnectionError):
        return str(error).rpartition(": ")[2]
    if isinstance(error, ssl.SSLError):
        told = getattr(error, "verify_message", "") or getattr(error, "reason", "")
        return told if isinstance(told, str) and told else str(error.args[-1])
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
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
    retry_after = _retry_after(headers)
    if words is None and status not in (413, 429):
        return UnexpectedAnswer(
            f"{address} answered {status}, but not as Vault does: is that a load balancer's page?",
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
            return MountMissing(f"nothing is mounted there: {shown}")
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
        case 400 if "check-and-set parameter" in text:
            return WriteConflict("somebody else wrote first: read again, then write")
        case 400 if "wrapping token" in text:
            return WrappingTokenSpent(
                "the wrapping token was used before, has expired, or never was one; if nobody of "
                "yours used it, treat what it held as stolen"
            )
        case _ if status < 500 and status not in (472, 473):
            return RequestRefused(f"Vault does not accept the request: {shown}")
        case _:
            failed: VaultUnavailable = ServerFailed(f"{address} failed: {shown}")
            failed.everywhere = status in (502, 503, 504)
            return failed


def server_words(body: bytes) -> list[str] | None:
    """The errors that Vault lists, or None if the body is not of Vault's form."""
    try:
        parsed: Any = json.loads(body)
    except ValueError:
        return None
    if not isinstance(parsed, dict):
        return None
    errors = parsed.get("errors") or parsed.get("warnings") or []
    return [str(error) for error in errors] if isinstance(errors, list) else [str(errors)]


def _shown(text: str, hide: Iterable[str]) -> str:
    text = " ".join(text.split())
    for secret in hide:
        if secret:
            text = text.replace(secret, "[hidden]")
    return text if len(text) <= _TEXT_LIMIT else text[:_TEXT_LIMIT] + "..."


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a ``Retry-After`` header; a date is not obeyed: it is of a wall clock."""
    value = next((v for k, v in headers.items() if k.lower() == "retry-after"), "").strip()
    return min(float(value), _LONGEST_WAIT) if value.isdecimal() else None
