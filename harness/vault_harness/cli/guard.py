"""Turn an exception that ends a task into a text and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault_harness.cli.printing import complain, swallow_output
from vault_harness.errors import HarnessError, SettingsError, forget_frames, named
from vault_harness.files import closed_to_owner
from vault_harness.interrupts import Ended, EndedHalfWay

INTERRUPTED = 130
"""After Ctrl-C: 128 and the number of SIGINT, as in shells."""

MISTAKE = 70
"""A bug in vault-harness, as in ``sysexits.h`` (EX_SOFTWARE)."""

_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
)
"""Whichever file they appear at."""

_NO_TEMPORARY = "No usable temporary directory"
"""Python's message, which names no file."""

_PACKAGE = Path(__file__).resolve().parents[1]


BROKE_DOWN = 3
"""Of judging tasks, whose 1 and 2 are verdicts."""


@contextmanager
def guarded(*, debug: bool = False, judging: bool = False) -> Iterator[None]:
    """Turn exceptions of the block into a text on stderr and a `SystemExit`.

    No frame of the block stays with the exit, because tasks hold tokens and keys. With ``judging``
    no error exits with 1 or 2, which are verdicts.
    """
    try:
        with _told(debug=debug, judging=judging):
            yield
    except SystemExit as ending:
        if ending.__context__ is not None:
            forget_frames(ending.__context__)
        forget_frames(ending)
        raise SystemExit(ending.code) from None


@contextmanager
def _told(*, debug: bool, judging: bool) -> Iterator[None]:
    try:
        yield
    except HarnessError as error:
        _trace(debug)
        complain(str(error))
        broke_down = judging and not isinstance(error, SettingsError)
        raise SystemExit(BROKE_DOWN if broke_down else error.exit_code) from None
    except KeyboardInterrupt as error:
        _trace(debug)
        number = error.number if isinstance(error, Ended) else signal.SIGINT
        how = "interrupted" if number == signal.SIGINT else f"ended by {error}"
        if judging:
            complain(f"{how}: nothing was judged, and this is no pass")
        elif isinstance(error, EndedHalfWay):
            complain(f"{how}; {error.left}")
        else:
            complain(f"{how}; nothing is half-written: {named('status')} says how far it came")
        raise SystemExit(128 + number) from None
    except BrokenPipeError as error:
        if not _stdout_is_gone():
            raise _mistake(error, debug) from None
        # The reader of our output (head, less) is gone.
        swallow_output()
        raise SystemExit(0) from None
    except Exception as error:  # noqa: BLE001 -- a person gets a line, --debug shows the rest
        if isinstance(error.__cause__, KeyboardInterrupt):
            # Python 3.11 wraps an interrupt while a class is made, during an import.
            complain("interrupted before anything was done")
            raise SystemExit(INTERRUPTED) from None
        if told := _of_the_machine(error, judging=judging):
            _trace(debug)
            complain(told)
            raise SystemExit(BROKE_DOWN if judging else 1) from None
        raise _mistake(error, debug) from None


def _of_the_machine(error: Exception, *, judging: bool) -> str:
    """Describe what a person can fix at the machine; "" for other errors."""
    if _is_of_limits(error):
        return _of_limits(error)
    if not isinstance(error, OSError):
        return ""
    return _of_a_file(error, judging=judging) if _has_a_file(error) else _of_a_folder(error)


def _is_of_limits(error: BaseException) -> bool:
    no_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    # A refused fork names no file; a full pipe has another message.
    no_process = isinstance(error, BlockingIOError) and (
        (error.filename, error.strerror) == (None, os.strerror(errno.EAGAIN))
    )
    return no_thread or no_process or isinstance(error, MemoryError)


def _of_limits(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        cause, limit = "there is no memory left", "free, or a container's memory limit"
    else:
        cause = "this user cannot start more processes or threads"
        limit = "ulimit -u, or a container's limit of pids"
    return (
        f"{cause}\n  looked at: {_place(error)}\n"
        f"  what to do: end what is not needed, or raise the limit ({limit}), and run it again"
    )


def _stdout_is_gone() -> bool:
    """Return whether our output has no reader; otherwise another connection broke."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _of_a_folder(error: OSError) -> str:
    """Describe a folder that Python does not name; "" for other errors."""
    if error.errno == errno.ENOENT and _NO_TEMPORARY in str(error):
        return (
            "no folder for temporary files is writable\n"
            "  what to do: make room on that disk, or let TMPDIR name a folder elsewhere"
        )
    try:
        Path.cwd()
    except FileNotFoundError:  # another shell removed it
        return (
            "the current folder does not exist any more\n"
            "  what to do: cd to one that does, and run it again"
        )
    return ""


def _has_a_file(error: OSError) -> bool:
    """Return whether the error is about a file or disk.

    Errors of HTTP libraries are OSErrors too, without a file; so is a bug that uses a closed
    socket.
    """
    return error.errno in _MACHINE or (error.errno is not None and error.filename is not None)


def _of_a_file(error: OSError, *, judging: bool = False) -> str:
    lines = [str(error.strerror or error)]
    if error.filename is not None:
        lines = [f"{error.filename}: {error.strerror}", f"  looked at: {error.filename}"]
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        lines.append("  what to do: make room on that disk, and run it again")
    elif judging:  # the data directory plays no part
        lines.append("  what to do: name a file or a folder that you may write to")
    elif error.errno == errno.EROFS:
        lines.append(
            "  what to do: that disk is read-only, perhaps after a failure: see why (dmesg), mount "
            "it again, or let HARNESS_DATA_DIR name a folder elsewhere"
        )
    elif error.errno in {errno.EACCES, errno.EPERM} and (closed := _closed_by_mode(error)):
        mode = "700" if closed.is_dir() else "600"
        lines.append(
            f"  what to do: chmod {mode} {shlex.quote(str(closed))}, whose mode keeps you out; "
            f"{named('doctor')} finds others"
        )
    elif error.errno in {errno.EACCES, errno.EPERM}:
        lines.append(
            "  what to do: run it as the owner of that file, or let HARNESS_DATA_DIR name a "
            "folder of your own"
        )
    else:
        lines.append(
            "  what to do: see whether that path is what you meant (HARNESS_DATA_DIR names the "
            "data directory), and run it again"
        )
    return "\n".join(lines)


def _closed_by_mode(error: OSError) -> Path | None:
    """Return the first part of a path that we own and whose mode keeps us out."""
    path = Path(os.fsdecode(error.filename)).absolute()
    for each in reversed((path, *path.parents)):
        with contextlib.suppress(OSError):
            if closed_to_owner(each) and each.stat().st_uid == os.geteuid():
                return each
    return None


def _mistake(error: BaseException, debug: bool) -> SystemExit:
    """Report an unexpected exception, with its text if that holds no secret.

    The texts of requests and docker hold addresses; other texts may quote a value.
    """
    where = _place(error)
    told = f": {_line(error)}" if isinstance(error, OSError) else ""
    complain(f"a mistake in vault-harness itself: {type(error).__name__}{told}")
    complain(f"  looked at: {where}")
    if debug:
        _trace(debug)
    else:
        complain("  what to do: run it again with --debug to see where it comes from, report it")
    return SystemExit(MISTAKE)


def _line(error: OSError) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:300]} ..."


def _place(error: BaseException) -> str:
    """Return this package's last line that the exception passed."""
    place = "the command line"
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_PACKAGE):
            place = f"{path.relative_to(_PACKAGE.parent)}:{line}"
    return place


def _trace(debug: bool) -> None:
    if debug and sys.exc_info()[0] is not None:
        complain(traceback.format_exc().rstrip())
