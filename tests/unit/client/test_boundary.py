"""No internals leave the client with an error."""

from __future__ import annotations

import copyreg
import inspect
from typing import Any

import pytest

import resilient_vault_client
from resilient_vault_client import Config, InternalError, VaultClient, VaultSealed
from resilient_vault_client._errors import boundary

# These cannot fail, or only call what is behind the boundary.
HARMLESS = {"__enter__", "__exit__", "__repr__", "config"}


@boundary
def read(token: str) -> object:
    return inner(token)


def inner(token: str) -> object:
    """Fail with the token in a frame."""
    try:
        return dict[str, object]()[token]
    except KeyError as error:
        raise VaultSealed("sealed", path="a/b", retry_in=2.0) from error


def test_error_comes_alone() -> None:
    with pytest.raises(VaultSealed, match="sealed") as caught:
        read("s.token")
    error = caught.value

    assert (error.path, error.retry_in) == ("a/b", 2.0)
    assert error.__cause__ is error.__context__ is None
    assert [entry.name for entry in caught.traceback] == ["test_error_comes_alone", "call"]
    assert "s.token" not in repr(caught.traceback[-1].frame.f_locals)


def test_error_comes_alone_where_exceptions_can_be_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """tblib, which Dask uses, makes a copy keep the traceback and the cause."""

    def whole(error: VaultSealed) -> object:
        return pickled, (error.args, error.__dict__, error.__traceback__, error.__cause__)

    def pickled(args: Any, fields: Any, trace: Any, cause: Any) -> VaultSealed:
        error = VaultSealed(*args)
        error.__dict__.update(fields)
        error.__cause__ = cause
        return error.with_traceback(trace)

    monkeypatch.setitem(copyreg.dispatch_table, VaultSealed, whole)
    test_error_comes_alone()


def test_context_of_the_application_stays() -> None:
    def handle() -> None:
        try:
            raise LookupError("the application's")
        except LookupError:
            read("s.token")

    with pytest.raises(VaultSealed) as caught:
        handle()

    assert isinstance(caught.value.__context__, LookupError)


def test_an_internal_error_is_reported_without_its_text() -> None:
    """Its text may hold a secret."""

    @boundary
    def broken(token: str) -> int:
        return int(token)

    with pytest.raises(InternalError, match="ValueError at broken") as caught:
        broken("s.token")
    assert "s.token" not in str(caught.value)


def test_every_public_call_is_behind_the_boundary() -> None:
    methods = {
        name: member.fget if isinstance(member, property) else member
        for name, member in vars(VaultClient).items()
        if name == "__init__" or not name.startswith("_") or name in HARMLESS
    }
    functions = {
        name: member
        for name, member in vars(resilient_vault_client).items()
        if inspect.isfunction(member)
    }
    public = {**methods, **functions, "from_environ": Config.from_environ.__func__}  # type: ignore[attr-defined]  # a class method

    assert {"read", "get_secret_cached", "get_vault_secret", "__init__"} <= set(public)
    bare = {name for name, member in public.items() if not hasattr(member, "__wrapped__")}
    assert bare == HARMLESS
