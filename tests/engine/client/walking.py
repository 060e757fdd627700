"""Everything that a holder of an error can reach: its frames, its causes, and so on.

An error tracker prints the locals of each frame, some levels deep. This walk goes deeper.
"""

from __future__ import annotations

import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path

import resilient_vault_client

_PACKAGE = Path(resilient_vault_client.__file__).parent
_LIBRARIES = Path(sysconfig.get_paths()["purelib"])
_STANDARD = Path(sysconfig.get_paths()["stdlib"])


def chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo:
        one = todo.pop()
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [one.__context__, one.__cause__, *one.args, *vars(one).values()]


def frames(error: BaseException) -> list[types.FrameType]:
    """Return the frames of the error and its causes that are not the application's own."""
    found = []
    for one in chain(error):
        trace = one.__traceback__
        while trace is not None:
            file = Path(trace.tb_frame.f_code.co_filename)
            inside = (_PACKAGE, _LIBRARIES, _STANDARD)
            if any(file.is_relative_to(place) for place in inside):
                found.append(trace.tb_frame)
            trace = trace.tb_next
    return found


def texts(*roots: object) -> Iterator[str]:
    """Return every text within reach: attributes, items, closures, and reprs."""
    seen: set[int] = set()
    keep: list[object] = []  # keeps objects alive, so that no id is reused
    todo: list[object] = list(roots)
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type | types.ModuleType | types.CodeType):
            continue
        seen.add(id(one))
        keep.append(one)
        if isinstance(one, str):
            yield one
        elif isinstance(one, bytes | bytearray | memoryview):
            yield bytes(one).decode("latin-1")
        else:
            yield repr(one)
            todo += _parts(one)


def exposed(error: BaseException) -> Iterator[str]:
    for one in chain(error):
        yield f"{one!r} {one}"
        yield from texts(one.args, vars(one))
    for frame in frames(error):
        yield from texts(frame.f_locals)


def _parts(one: object) -> Iterator[object]:
    if isinstance(one, dict):
        yield from [*one.keys(), *one.values()]
    elif isinstance(one, list | tuple | set | frozenset):
        yield from one
    elif isinstance(one, types.FunctionType):
        for cell in one.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:
                continue  # an empty cell
    elif isinstance(one, types.MethodType):
        yield from (one.__self__, one.__func__)
    elif isinstance(one, types.FrameType):
        yield one.f_locals
    elif isinstance(one, types.TracebackType):
        yield from (one.tb_frame, one.tb_next)
    yield getattr(one, "__dict__", None)
    for kind in type(one).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(one, name, None)
