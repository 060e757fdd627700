"""Errors that leave here carry no frame of what was done, since frames hold secrets.

A traceback keeps every frame that it passed, with all locals: tokens, unseal keys, passwords.
Whatever records locals (error trackers, rich, ``pytest -l``) would print them.
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
    """Let a function raise what it raises, without the frames below it and without causes.

    An error that nobody foresaw gets a note with the places that it passed, since they are all
    that is left to find the mistake by.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- raised again, all of them
            caught: BaseException = error
        del args, kwargs
        if not isinstance(caught, HarnessError) and not hasattr(caught, "__notes__"):
            # The first place is the boundary itself.
            for place in traceback.extract_tb(caught.__traceback__)[1:]:
                caught.add_note(f"  passed {place.filename}:{place.lineno} in {place.name}")
        raise forget_frames(caught)

    return call


def forget_frames(error: BaseException) -> BaseException:
    """Take from an error the frames that it passed, and the errors that it came from."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error
