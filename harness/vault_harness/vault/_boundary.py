"""Errors that leave the operator's side carry no frame of it, since frames hold secrets.

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
        raise _bare(caught)

    return call


def _bare(error: BaseException) -> BaseException:
    if not isinstance(error, HarnessError) and not hasattr(error, "__notes__"):
        passed = traceback.extract_tb(error.__traceback__)[1:]  # the first is the boundary itself
        for place in passed:
            error.add_note(f"  passed {place.filename}:{place.lineno} in {place.name}")
    error.__traceback__ = error.__cause__ = error.__context__ = None
    error.__suppress_context__ = True
    return error
