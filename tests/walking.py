"""All texts in an exception: messages, notes, causes, and locals of its frames."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Collection, Iterator

_DEEPEST = 6

_OPAQUE = (type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType)


def places(error: BaseException, secrets: Collection[str], *, of: str) -> list[str]:
    """Return the places where one of these secrets can be read.

    Frames of the file `of` do not count, since a test knows the secrets.
    """
    return [place for place, text in _texts(error, of) if any(secret in text for secret in secrets)]


def _texts(error: BaseException, of: str) -> Iterator[tuple[str, str]]:
    walked: set[int] = set()
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        one = errors.pop()
        if one is None or id(one) in walked:
            continue
        walked.add(id(one))
        yield f"{type(one).__name__}", f"{one!s} {one!r} {getattr(one, '__notes__', ())}"
        for attributes in (vars(one), one.args):
            yield from _held(f"{type(one).__name__}", attributes, seen, errors, 0)
        errors += [one.__cause__, one.__context__]
        traceback = one.__traceback__
        while traceback is not None:
            frame = traceback.tb_frame
            where = f"{frame.f_code.co_filename}:{traceback.tb_lineno} {frame.f_code.co_name}"
            if frame.f_code.co_filename != of:
                yield from _held(where, frame.f_locals, seen, errors, 0)
            traceback = traceback.tb_next


def _held(
    where: str, value: object, seen: set[int], errors: list[BaseException | None], depth: int
) -> Iterator[tuple[str, str]]:
    """Yield the texts in a value, and add the errors in it to `errors`."""
    if isinstance(value, str | bytes):
        yield where, value if isinstance(value, str) else value.decode(errors="replace")
        return
    if isinstance(value, BaseException):
        errors.append(value)
        return
    if depth > _DEEPEST or isinstance(value, _OPAQUE) or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        inner: list[tuple[object, object]] = list(value.items())
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(enumerate(value))
    else:
        yield where, repr(value)
        inner = list(getattr(value, "__dict__", {}).items())
        if dataclasses.is_dataclass(value):
            inner += [(f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value)]
    for name, held in inner:
        yield from _held(f"{where} {name}", held, seen, errors, depth + 1)
