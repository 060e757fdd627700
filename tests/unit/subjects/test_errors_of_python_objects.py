"""What an error of a Python object carries besides its own text."""

from __future__ import annotations

from types import SimpleNamespace

from vault_harness.judge.subjects.python_object import as_failure


def raised(cause: Exception | None, context: Exception | None) -> Exception:
    error = RuntimeError("no secret")
    error.__cause__, error.__context__ = cause, context
    error.__suppress_context__ = cause is not None
    return error


def test_text_of_a_cause() -> None:
    """A traceback prints it."""
    beside = as_failure(raised(ValueError("token s.abc"), None)).beside
    assert beside["__cause__"] == "ValueError: token s.abc"


def test_text_of_a_context() -> None:
    beside = as_failure(raised(None, ValueError("token s.abc"))).beside
    assert beside["__context__"] == "ValueError: token s.abc"


def test_context_that_is_suppressed() -> None:
    error = raised(None, ValueError("token s.abc"))
    error.__suppress_context__ = True
    assert "s.abc" not in str(as_failure(error).beside)


def test_headers_of_a_request() -> None:
    request = SimpleNamespace(headers={"X-Vault-Token": "s.abc"}, body=b"secret_id=x")
    cause = ValueError("timed out")
    cause.response = SimpleNamespace(request=request)  # type: ignore[attr-defined]  # as requests
    beside = as_failure(raised(cause, None)).beside
    assert beside["__cause__.response.request.headers.X-Vault-Token"] == "s.abc"
    assert beside["__cause__.response.request.body"] == "secret_id=x"


def test_object_that_is_no_request() -> None:
    """It is not searched."""
    error = raised(None, None)
    error.client = SimpleNamespace(token="s.abc")  # type: ignore[attr-defined]  # any object
    assert "s.abc" not in str(as_failure(error).beside)


def test_error_that_is_its_own_cause() -> None:
    error = ValueError("no")
    error.__cause__ = error
    assert as_failure(error).beside["args.0"] == "no"


class Broken(dict[str, str]):
    def items(self) -> None:  # type: ignore[override]  # it is broken
        raise LookupError


def test_attribute_that_is_broken() -> None:
    """The error is not hidden."""
    error = raised(None, None)
    error.broken = Broken()  # type: ignore[attr-defined]  # any object
    assert as_failure(error).message == "RuntimeError: no secret"
