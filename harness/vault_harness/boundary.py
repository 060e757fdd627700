"""Keep frames out of the harness's errors, since frames hold secrets.

A traceback keeps every frame that it passed, with all locals: tokens, unseal keys, passwords. A
tool that records locals (an error tracker, rich, ``pytest -l``) would print them.
"""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from vault_harness.errors import HarnessError

P = ParamSpec("P")
R = TypeVar("R")


def without_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function raise its errors without inner frames and without causes.

    An unexpected error gets a note with the places that it passed, because nothing else is left to
    find the bug.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- all are raised again
            caught: BaseException = error
        del args, kwargs
        if not isinstance(caught, HarnessError) and not hasattr(caught, "__notes__"):
            # The first place is this boundary.
            for place in traceback.extract_tb(caught.__traceback__)[1:]:
                caught.add_note(f"  passed {place.filename}:{place.lineno} in {place.name}")
        raise forget_frames(caught)

    return call


def forget_frames(error: BaseException) -> BaseException:
    """Remove an error's frames and its causes."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error
