"""Where the client ends and the application begins: no frame of the inside gets out.

A frame of the inside holds what a request is made of: a token, a secret-id, a value. Whatever
records the local variables of a traceback (an error tracker, ``rich``, ``pytest -l``) would print
them. So an error leaves the client without the frames that it came through and without the errors
that led to it; its message and its attributes say what happened.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from resilient_vault_client._errors import InternalError, VaultError

P = ParamSpec("P")
R = TypeVar("R")

# Whose exceptions can hold what they failed on. What an application raises in the middle of a call
# (a time limit in a signal handler, say) is its own, and passes as it is.
_INSIDE = frozenset({"builtins", "ssl", "socket", "json", "httpcore", "h11"})


def boundary(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``function`` be called from outside.

    A `VaultError` comes out as a copy with nothing behind it, a mistake of the client itself as an
    `InternalError`, and what is not an error (a Ctrl-C, say) without the frames of the inside.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - it is raised again below, whatever it is
            failure = from_outside(error)
        # The arguments may be secrets too, and `self` holds all that the client knows.
        del args, kwargs
        try:
            raise failure
        finally:
            del failure  # it holds this frame, which must not hold it

    return call


def where(error: BaseException) -> str:
    """What an error is and where it came from, without its text, which may repeat anything."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return type(error).__name__
    last = frames[-1]
    return f"{type(error).__name__} at {last.name}:{last.lineno}"


def from_outside(error: BaseException) -> BaseException:
    """The error as an application may see it."""
    if isinstance(error, VaultError):
        return error.again()
    inner = error.__traceback__.tb_next if error.__traceback__ is not None else None
    mistake = isinstance(error, Exception) and type(error).__module__ in _INSIDE
    # Without a frame of the inside it is the caller's: a call with wrong arguments.
    if mistake and inner is not None:
        return InternalError(f"a mistake in the client: {where(error)}")
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)
