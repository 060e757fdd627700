"""A client that is a Python object: how it is found, what it claims, what its methods give."""

from __future__ import annotations

import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from vault_harness import errors
from vault_harness.subjects import _claims
from vault_harness.subjects._shape import (
    Credential,
    OperationFailed,
    Reading,
    SubjectSpec,
    Whole,
    outcome_of,
)


def find_factory(spec: SubjectSpec) -> Callable[..., Any]:
    """Import what ``python:module:factory`` names; modules of the working directory are found too.

    Raises:
        SettingsError: There is no such module, or no such factory in it, or it is nothing to call.
    """
    here = str(Path.cwd())
    try:
        with _found_first(here):
            found: Any = importlib.import_module(spec.module)
        for part in spec.factory.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise errors.SettingsError(
            f"the subject {spec.text} cannot be imported: {error}",
            looked_at=f"module {spec.module}, factory {spec.factory}, from {here}",
            remedy="write python:package.module:factory, and start where the package is found",
        ) from error
    except (Exception, SystemExit) as error:  # a program that ends itself would end us too
        raise errors.SettingsError(
            f"the import of {spec.module} raised {type(error).__name__}: {error}",
            looked_at=f"module {spec.module}, from {here}",
            remedy=f"python -c 'import {spec.module}' shows where",
        ) from error
    if not callable(found):
        raise errors.SettingsError(
            f"the factory of {spec.text} is {type(found).__name__}, not something to call",
            looked_at=f"module {spec.module}",
            remedy="name a function or a class that takes the environment as a mapping",
        )
    return found  # type: ignore[no-any-return]  # callable() tells no more of an Any


@contextmanager
def _found_first(folder: str) -> Iterator[None]:
    """Look for modules in a folder first, and after the block last.

    What is tested is what lies there, not what was installed some time ago; and yet a file of the
    name of a module of Python's own must not be taken for it by all that is imported later.
    """
    if "" in sys.path:
        yield
        return
    sys.path.insert(0, folder)  # also if it is there already: at the end, what is installed wins
    try:
        yield
    finally:
        with suppress(ValueError):  # the subject may do with it what it likes
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def describe(client: object) -> _claims.Hello:
    """What a Python client says of itself.

    Raises:
        SubjectError: It claims what nobody knows, or what it has no method for, or one that would
            have to be awaited: nobody does, so that a ``close`` or a ``write`` would look done.
    """
    said = _claims.claims(
        getattr(client, "capabilities", ["read"]),
        getattr(client, "declares", {}),
        getattr(client, "auth", ()),
    )
    needs = {word: word for word in ("read", "read_all", "write", "update", "health", "lease")}
    needs["cached"] = "read_cached"
    wanted = [needs[word] for word in sorted(said.capabilities) if word in needs] + ["close"]
    missing = [method for method in wanted if not callable(getattr(client, method, None))]
    if missing:
        raise errors.SubjectError(
            f"the subject has no method {' and no method '.join(missing)}",
            looked_at=f"its class {type(client).__qualname__}, and what it claims",
            remedy="add the method, or leave out the capability",
        )
    awaited = [name for name in wanted if inspect.iscoroutinefunction(getattr(client, name))]
    if awaited:
        raise errors.SubjectError(
            f"the subject has coroutines for methods: {', '.join(awaited)}",
            looked_at=f"its class {type(client).__qualname__}; its methods are called from threads",
            remedy="run its event loop in a thread, and return from each method "
            "asyncio.run_coroutine_threadsafe(..., loop).result(); "
            "or let it speak the line protocol (command:)",
        )
    return replace(said, version=_claims.version_of(getattr(client, "version", None)))


def as_reading(value: object) -> Reading:
    """What a Python client returned: a string, or something with ``value`` and ``stale``."""
    text = value if isinstance(value, str) else getattr(value, "value", None)
    if not isinstance(text, str):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not a string",
            looked_at="what read or read_cached returned",
            remedy="return the value of the one key that was asked for",
        )
    return Reading(str.__str__(text), bool(getattr(value, "stale", False)))


def as_whole(value: object) -> Whole:
    """What a Python client's ``read_all`` returned: strings by their keys, ``stale`` or not.

    A mapping, or something with a mapping as its ``value``.
    """
    values = value if isinstance(value, Mapping) else getattr(value, "value", None)
    if not isinstance(values, Mapping) or not all(
        isinstance(word, str) for pair in values.items() for word in pair
    ):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not strings by their keys",
            looked_at="what read_all returned",
            remedy="return a dictionary of every key of the secret and its value",
        )
    return Whole(dict(values), bool(getattr(value, "stale", False)))


def as_credential(value: object) -> Credential:
    """What a Python client leased: a mapping, or something with ``username`` and ``password``."""
    if isinstance(value, Mapping):
        username, password = value.get("username"), value.get("password")
    else:
        username, password = getattr(value, "username", None), getattr(value, "password", None)
    if not isinstance(username, str) or not isinstance(password, str):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not a username and a password",
            looked_at="what lease returned",
            remedy="return both, as attributes or as the keys of a dictionary",
        )
    return Credential(username, password)


def as_flag(value: object) -> bool:
    """What a Python client's ``health`` returned."""
    if not isinstance(value, bool):
        raise errors.SubjectError(
            f"the subject returned {type(value).__name__}, not a bool",
            looked_at="what health returned",
            remedy="return True when it can serve, False when it cannot",
        )
    return value


def as_failure(error: BaseException) -> OperationFailed:
    """What a Python client's exception says."""
    return OperationFailed(outcome_of(getattr(error, "outcome", None)), in_words(error))


def passed(error: BaseException) -> str:
    """Where an exception of a foreign client came from, since its frames are not kept."""
    places = traceback.extract_tb(error.__traceback__)
    return f", at {places[-1].filename}:{places[-1].lineno}" if places else ""


def in_words(error: BaseException) -> str:
    """An exception of a client's, which may be broken in any way itself."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - as above
        text = "(its text cannot be had)"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
