"""What becomes of an exception that ends a task: a text, an exit code, and no traceback."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vault_harness.cli._console import complain, swallow_output
from vault_harness.commands import named
from vault_harness.interrupts import Ended, EndedHalfWay

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 and the number of SIGINT, as shells have it."""

MISTAKE = 70
"""Exit code of a mistake in vault-harness itself, as ``sysexits.h`` has it (EX_SOFTWARE)."""

_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO}
)
"""What the machine lacks, whichever file it was noticed at."""

_NO_TEMPORARY = "No usable temporary directory"
"""What Python says where nothing can be written to any of them: it names no file with it."""

_PACKAGE = Path(__file__).resolve().parents[1]


WRONG_USAGE, BROKE_DOWN = 4, 3
"""Exit codes of tasks that judge, where 1 and 2 are verdicts: `vault_harness.report.outcome`."""


@contextmanager
def guarded(*, debug: bool = False, judging: bool = False) -> Iterator[None]:
    """Turn exceptions of the block into a text on stderr and a `SystemExit`.

    No frame of the block stays with what comes out: the bodies of tasks hold tokens and keys.

    Args:
        debug: Print the traceback too.
        judging: Whether 1 and 2 say something of a client, and no error may end with them.
    """
    try:
        with _told(debug=debug, judging=judging):
            yield
    except SystemExit as ending:
        from vault_harness.boundary import forget_frames  # as below

        if ending.__context__ is not None:
            forget_frames(ending.__context__)
        forget_frames(ending)
        raise SystemExit(ending.code) from None


@contextmanager
def _told(*, debug: bool, judging: bool) -> Iterator[None]:
    from vault_harness.errors import HarnessError, SettingsError  # listing tasks needs neither

    try:
        yield
    except HarnessError as error:
        _trace(debug)
        complain(str(error))
        judged = WRONG_USAGE if isinstance(error, SettingsError) else BROKE_DOWN
        raise SystemExit(judged if judging else error.exit_code) from None
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
        # Whoever read our output (head, less) has seen enough.
        swallow_output()
        raise SystemExit(0) from None
    except Exception as error:  # noqa: BLE001 -- a person gets a line, --debug shows the rest
        if isinstance(error.__cause__, KeyboardInterrupt):
            # Python 3.11 wraps one that comes while a class is made, within an import.
            complain("interrupted before anything was done")
            raise SystemExit(INTERRUPTED) from None
        if told := _of_the_machine(error, judging=judging):
            _trace(debug)
            complain(told)
            raise SystemExit(BROKE_DOWN if judging else 1) from None
        raise _mistake(error, debug) from None


def _of_the_machine(error: Exception, *, judging: bool) -> str:
    """What is told of something that is for a person to mend here; empty if it is none of these."""
    if _is_of_limits(error):
        return _of_limits(error)
    if not isinstance(error, OSError):
        return ""
    return _of_a_file(error, judging=judging) if _has_a_file(error) else _of_a_folder(error)


def _is_of_limits(error: BaseException) -> bool:
    """Whether a process, a thread or memory was wanted that this user or container does not get."""
    no_thread = isinstance(error, RuntimeError) and "start new thread" in str(error)
    # A fork that is refused names no file; a pipe that takes no more tells it in other words.
    no_process = isinstance(error, BlockingIOError) and (
        (error.filename, error.strerror) == (None, os.strerror(errno.EAGAIN))
    )
    return no_thread or no_process or isinstance(error, MemoryError)


def _of_limits(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        cause, limit = "there is no memory left", "free, of a container its memory limit"
    else:
        cause = "no more processes and threads are given to this user"
        limit = "ulimit -u, of a container its limit of pids"
    return (
        f"{cause}\n  looked at: {_place(error)}\n"
        f"  what to do: end what is not needed, or raise the limit ({limit}), and run it again"
    )


def _stdout_is_gone() -> bool:
    """Whether nobody reads our output any more: else it was a connection that broke."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except (OSError, ValueError, AttributeError):
        return False


def _of_a_folder(error: OSError) -> str:
    """What is told of a folder that Python does not name; empty if it is none of these."""
    if error.errno == errno.ENOENT and _NO_TEMPORARY in str(error):
        return (
            "no folder for temporary files can be written to\n"
            "  what to do: make room on that disk, or let TMPDIR name a folder elsewhere"
        )
    try:
        Path.cwd()
    except FileNotFoundError:  # another shell has removed it
        return (
            "the folder that this was called in is not there any more\n"
            "  what to do: cd to one that is, and run it again"
        )
    return ""


def _has_a_file(error: OSError) -> bool:
    """A full disk, a folder of somebody else: for a person to mend.

    Errors of HTTP libraries are OSErrors too, without a file; so is a mistake of ours that uses a
    closed socket.
    """
    return error.errno in _MACHINE or (error.errno is not None and error.filename is not None)


def _of_a_file(error: OSError, *, judging: bool = False) -> str:
    lines = [str(error.strerror or error)]
    if error.filename is not None:
        lines = [f"{error.filename}: {error.strerror}", f"  looked at: {error.filename}"]
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        lines.append("  what to do: make room on that disk, and run it again")
    elif judging:  # no data directory has a part in it
        lines.append("  what to do: name a file or a folder that you may write to")
    elif error.errno == errno.EROFS:
        lines.append(
            "  what to do: that disk can only be read, as one that broke: see why (dmesg), mount "
            "it anew, or let HARNESS_DATA_DIR name a folder elsewhere"
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


def _mistake(error: BaseException, debug: bool) -> SystemExit:
    """An exception that nobody foresaw: its kind and place, and its text if it can hold no secret.

    What requests and docker say of a connection are addresses; other texts may quote a value.
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
    """The last line of ours that the exception passed."""
    place = "the command line"
    for frame, line in traceback.walk_tb(error.__traceback__):
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(_PACKAGE):
            place = f"{path.relative_to(_PACKAGE.parent)}:{line}"
    return place


def _trace(debug: bool) -> None:
    if debug and sys.exc_info()[0] is not None:
        complain(traceback.format_exc().rstrip())
