from __future__ import annotations

import inspect
import itertools
import json
import socket
import ssl

import h11
import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_vault_client import VaultError, VaultUnavailable, _errors
from resilient_vault_client._network import AnswerCut, AnswerWithoutEnd
from resilient_vault_client._translate import EXCEPTIONS, from_answer, from_exception

# Every exception class of the lower library.
ALL = [
    kind
    for _, kind in inspect.getmembers(httpcore, inspect.isclass)
    if issubclass(kind, BaseException)
]

ADDRESS = "http://vault"


def test_there_is_something_to_walk() -> None:
    assert len(ALL) >= 15


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_mapped(kind: type[BaseException]) -> None:
    """A new exception is not mapped by its parent."""
    assert kind in dict(EXCEPTIONS)
    assert isinstance(from_exception(kind("x"), ADDRESS), VaultError)


def test_particular_before_general() -> None:
    for number, (kind, _) in enumerate(EXCEPTIONS):
        hiding = [above for above, _ in EXCEPTIONS[:number] if issubclass(kind, above)]
        assert hiding == [], kind


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """``raise ... from cause`` leaves an error like this."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected", "sent"),
    [
        (caused(httpcore.ConnectError(), socket.gaierror(-2, "x")), "VaultUnreachable", False),
        (caused(httpcore.ConnectError(), OSError(111, "refused")), "VaultUnreachable", False),
        (caused(httpcore.ConnectTimeout(), TimeoutError()), "VaultUnreachable", False),
        (caused(httpcore.ConnectError(), ssl.SSLError(1, "untrusted")), "TlsFailed", False),
        (caused(httpcore.ReadError(), ssl.SSLError(1, "certificate required")), "TlsFailed", True),
        (caused(httpcore.ReadError(), ssl.SSLEOFError(8, "EOF")), "ConnectionLost", True),
        (caused(httpcore.ReadError(), OSError(104, "reset")), "ConnectionLost", True),
        (httpcore.RemoteProtocolError("no answer"), "ConnectionLost", True),
        (
            caused(httpcore.RemoteProtocolError(), h11.RemoteProtocolError("no status line")),
            "UnexpectedAnswer",
            True,
        ),
        (caused(AnswerCut(), httpcore.RemoteProtocolError()), "AnswerTruncated", True),
        (AnswerWithoutEnd(), "UnexpectedAnswer", True),
        (ssl.SSLCertVerificationError("cannot read /ca.pem"), "TlsFailed", False),
    ],
)
def test_the_cause_decides_the_error(error: BaseException, expected: str, sent: bool) -> None:
    mapped = from_exception(error, ADDRESS)

    assert mapped is not None
    assert type(mapped).__name__ == expected
    assert mapped.sent is sent


def test_a_mistake_in_the_program_is_no_outage() -> None:
    assert from_exception(KeyError("x"), ADDRESS) is None


def test_the_text_holds_nothing_of_the_request() -> None:
    mapped = from_exception(httpcore.LocalProtocolError("bad header value: 's.token'"), ADDRESS)

    assert mapped is not None
    assert "s.token" not in str(mapped)


def test_every_status_with_every_body() -> None:
    bodies = (b"", b"<html>", b'{"errors":["x"]}', b'{"errors":null}', b"[]", b"null", b"\xff")
    for status, body in itertools.product(range(400, 600), bodies):
        error = from_answer(status, body, {}, address="http://vault")
        assert isinstance(error, VaultError)
        assert error.status == status
        assert isinstance(error, VaultUnavailable) or status < 500


def test_json_that_is_nested_beyond_all_sense() -> None:
    """It is not Vault's answer, and no internal error."""
    error = from_answer(500, b"[" * 1_000_000, {}, address="x")

    assert type(error).__name__ == "UnexpectedAnswer"


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (503, "Vault is sealed", "VaultSealed"),
        (503, "node is not active", "ServerFailed"),
        (501, "not initialized", "NotInitialised"),
        (429, "rate limit quota exceeded", "RateLimited"),
        (472, "", "ServerFailed"),
        (473, "", "ServerFailed"),
        (412, "required index state not present", "NotReplicated"),
        (413, "http: request body too large", "RequestTooLarge"),
        (404, "", "SecretNotFound"),
        (404, "no handler for route", "MountMissing"),
        (404, "namespace not found", "MountMissing"),
        (400, "check-and-set parameter did not match the current version", "WriteConflict"),
        (400, "wrapping token is not valid or does not exist", "WrappingTokenSpent"),
        (400, "no data provided", "RequestRefused"),
        (400, "Upgrading from non-versioned to versioned data. This backend", "ServerFailed"),
        (400, "the primary to upgrade from non-versioned to versioned data.", "ServerFailed"),
        (405, "unsupported operation", "RequestRefused"),
        (403, "permission denied", "PermissionDenied"),
    ],
)
def test_each_known_answer_has_its_error(status: int, text: str, expected: str) -> None:
    body = f'{{"errors":["{text}"]}}'.encode()

    assert type(from_answer(status, body, {}, address="x")).__name__ == expected


GATEWAYS: tuple[dict[str, object], ...] = (
    {"message": "no Route matched with those values"},
    {"kind": "Status", "status": "Failure", "message": "not found", "code": 404},
    {"error": "Forbidden", "path": "/v1/secret/data/a"},
    {"errors": {"route": "none"}},
    {"errors": None},
    {},
)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
@pytest.mark.parametrize("body", GATEWAYS)
def test_json_of_a_gateway_is_neither_denial_nor_missing(status: int, body: object) -> None:
    """Vault's own errors are a list."""
    error = from_answer(status, json.dumps(body).encode(), {}, address="x")

    assert type(error).__name__ == "UnexpectedAnswer"
    assert error.status == status


def test_a_missing_secret_may_have_a_warning() -> None:
    """A 404 with a warning is still an answer of Vault."""
    body = {"request_id": "7a2f", "data": None, "warnings": ["invalid path for a versioned engine"]}
    error = from_answer(404, json.dumps(body).encode(), {}, address="x")

    assert type(error).__name__ == "SecretNotFound"


@pytest.mark.parametrize(
    ("text", "doubtful"),
    [
        ("permission denied", True),
        ('permission denied","invalid token', True),
        ("1 error occurred:\\n\\t* permission denied\\n\\n", False),
    ],
)
def test_two_kinds_of_403(text: str, doubtful: bool) -> None:
    """A list of errors comes from a policy; the bare words may mean a dead token."""
    error = from_answer(403, f'{{"errors":["{text}"]}}'.encode(), {}, address="x")

    assert isinstance(error, _errors.PermissionDenied)
    assert error.doubtful is doubtful


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("0", 0.0), ("Wed, 21 Oct", None), ("-1", None), ("", None)]
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """A date is ignored, since it needs a wall clock."""
    error = from_answer(429, b"", {"retry-after": value}, address="x")

    assert error.retry_in == seconds


def test_the_tree_is_drawn_as_it_is() -> None:
    """The module's docstring names every error, each below its parent."""
    drawn: dict[str, int] = {}
    for line in (_errors.__doc__ or "").splitlines():
        name = line.strip("│├└─ ").split(" ")[0]
        if name and hasattr(_errors, name):
            drawn[name] = line.index(name)
    classes = {
        name: kind
        for name, kind in vars(_errors).items()
        if isinstance(kind, type) and issubclass(kind, VaultError)
    }
    assert set(drawn) == set(classes)
    for name, kind in classes.items():
        if kind is not VaultError:
            assert drawn[name] == drawn[kind.__mro__[1].__name__] + 4


def test_an_outcome_where_it_applies() -> None:
    known = {"unavailable", "denied", "missing", "deleted", None}
    for kind in vars(_errors).values():
        if isinstance(kind, type) and issubclass(kind, VaultError):
            assert kind.outcome in known


PEM = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA\r\n\tsecond line\n-----END KEY-----\n"


@pytest.mark.parametrize(
    ("said", "hide", "shown"),
    [
        (f"cannot parse {PEM}", (PEM,), "cannot parse [hidden]"),
        ("cannot parse a  b", ("a \n b",), "cannot parse [hidden]"),
        (f"cannot parse {json.dumps(PEM)}", (PEM,), 'cannot parse "[hidden]"'),
        ("bad user app-9f3c", ("app", "app-9f3c"), "bad user [hidden]"),
        ("bad user app-9f3c", ("app-9f3c", "app"), "bad user [hidden]"),
        ("app is hidden", ("app", "hidden", "", " \n"), "[hidden] is [hidden]"),
        ("nothing is said", ("app",), "nothing is said"),
    ],
)
def test_a_secret_that_a_server_repeats_is_hidden(
    said: str, hide: tuple[str, ...], shown: str
) -> None:
    body = json.dumps({"errors": [said]}).encode()
    error = from_answer(400, body, {}, address="x", hide=hide)

    assert str(error) == f"Vault does not accept the request: {shown}"


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(secrets=st.lists(TEXTS, min_size=1, max_size=4), around=TEXTS)
def test_no_secret_is_repeated(secrets: list[str], around: str) -> None:
    hide = [f"{number}>{secret}<{number}" for number, secret in enumerate(secrets)]
    for said in (*hide, *(" ".join(secret.split()) for secret in hide)):
        body = json.dumps({"errors": [f"{around} {said} {around}"]}).encode()
        shown = str(from_answer(400, body, {}, address="x", hide=[around, *hide]))
        assert " ".join(said.split()) not in shown
        assert "[hidden]" in shown
