from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.scenario.conftest import Story
from vault_harness.judge.logs import CommandLines, LogLine, LogWatch, files_with_secrets, leaks
from vault_harness.recorder.secrets import Secrets
from vault_harness.waiting import wait_until

TOKEN, KEY = "s.abcdefghijkl", "-----BEGIN\nKEY-----"


@pytest.fixture
def secrets() -> Secrets:
    known = Secrets()
    known.add("token", TOKEN)
    known.add("secret", KEY, "v1")
    return known


def test_no_leak(story: Story, secrets: Secrets) -> None:
    assert leaks(secrets, story.history, log=[LogLine(1.0, "logged in")], commands="") == []


def test_line_of_a_log(story: Story, secrets: Secrets) -> None:
    """The secret's label is in its place."""
    log = [LogLine(1.0, "logging in"), LogLine(2.5, f"  got {TOKEN}!")]
    (found,) = leaks(secrets, story.history, log=log, commands="")
    assert str(found).startswith("+2.50 s: its log has token-1: got <token-1>! (promised: ")
    assert found.harm


def test_secret_of_several_lines(story: Story, secrets: Secrets) -> None:
    log = [LogLine(1.0, line) for line in f"key: {KEY}".splitlines()]
    (found,) = leaks(secrets, story.history, log=log, commands="")
    assert found.seen == "its log has v1: over several lines"


def test_message(story: Story, secrets: Secrets) -> None:
    """The driver marked it."""
    story.call(3.0, outcome="error", message="cannot use <token-1> [contains token-1]")
    (found,) = leaks(secrets, story.history, log=[], commands="")
    assert (found.at, found.seen) == (
        3.0,
        "a failed read said: cannot use <token-1> [contains token-1]",
    )


@pytest.fixture
def talkative() -> Iterator[subprocess.Popen[bytes]]:
    """Start a process with a child whose command line holds a token."""
    child = "[sys.executable, '-c', 'input()', '--token=' + os.environ['TOKEN']]"
    code = f"import os, subprocess, sys; subprocess.Popen({child}); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "TOKEN": TOKEN},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        yield parent
        parent.communicate(b"", timeout=10)  # both processes end with their input


def test_command_line_of_a_process_that_has_ended(
    story: Story, secrets: Secrets, talkative: subprocess.Popen[bytes]
) -> None:
    """A child's command line counts too."""
    commands = CommandLines()
    commands.look([talkative.pid])
    talkative.communicate(b"", timeout=10)
    commands.look([talkative.pid])
    (found,) = leaks(secrets, story.history, log=[], commands=str(commands))
    assert found.seen == "a command line has token-1"


# The log on the scenario's clock


def test_each_line_has_the_time_at_which_it_came(tmp_path: Path) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    clock = iter([1.0, 2.0, 3.0, 4.0])
    watch = LogWatch(lambda: [first, second], lambda: next(clock))
    watch.look()
    first.write_text("one\n")
    watch.look()
    second.write_text("other\n")
    watch.look()
    with first.open("a") as file:
        file.write("two\nthree\n")
    assert [(line.at, line.text) for line in watch.lines()] == [
        (1.0, "one"),
        (2.0, "other"),
        (3.0, "two"),
        (3.0, "three"),
    ]


def test_log_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read again only after it has grown."""
    file, read_bytes = tmp_path / "1.log", Path.read_bytes
    reads: list[Path] = []

    def noted(path: Path) -> bytes:
        reads.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    watch = LogWatch(lambda: [file], lambda: 1.0)
    file.write_text("one\n")
    watch.lines().clear()  # must not change the watch's own list
    assert [line.text for line in watch.lines()] == ["one"]
    assert reads == [file]
    with file.open("a") as log:
        log.write("two\n")
    assert [line.text for line in watch.lines()] == ["one", "two"]
    assert reads == [file, file]


def test_log_is_watched_while_the_block_runs(tmp_path: Path) -> None:
    """The thread ends with the block."""
    file = tmp_path / "1.log"
    seen: list[float] = []

    def now() -> float:
        seen.append(1.0)
        return 1.0

    before = threading.active_count()
    with LogWatch(lambda: [file], now):
        file.write_text("one\n")
        wait_until(lambda: bool(seen), "the line to be seen", timeout=10)
    assert threading.active_count() == before


@pytest.mark.parametrize("carried", [True, False])
def test_what_an_error_carries(story: Story, secrets: Secrets, *, carried: bool) -> None:
    """It counts only in its own scenario, and is no harm."""
    story.call(3.0, outcome="error", message="no [carries token-1 in __cause__.request.headers]")
    found = leaks(secrets, story.history, log=[], commands="", carried=carried)
    assert [(one.at, one.harm) for one in found] == ([(3.0, False)] if carried else [])


def test_new_file_in_an_old_folder(secrets: Secrets, tmp_path: Path) -> None:
    folder = tmp_path / ".cache" / "client"
    folder.mkdir(parents=True)
    (folder / "token").write_text(TOKEN)
    for one, mode in ((folder / "token", 0o644), (folder, 0o755), (tmp_path / ".cache", 0o755)):
        one.chmod(mode)
    os.utime(folder, (1.0, 1.0))
    os.utime(tmp_path / ".cache", (1.0, 1.0))
    told = files_with_secrets(secrets, [tmp_path], since=2.0)
    assert told == {f"{folder / 'token'} has token-1"}


def test_a_flood_of_lines(tmp_path: Path) -> None:
    file, times = tmp_path / "1.log", iter(range(1, 10_000))
    watch = LogWatch(lambda: [file], lambda: float(next(times)))
    with file.open("a") as log:
        for number in range(5_000):
            log.write(f"{number}\n" * 10)
            log.flush()
            watch.look()
    before = time.process_time()
    lines = watch.lines()
    assert time.process_time() - before < 2.0  # a linear search would take several seconds
    assert [line.at for line in lines] == [float(n // 10 + 1) for n in range(50_000)]


def test_a_new_file_that_all_may_read(secrets: Secrets, tmp_path: Path) -> None:
    """An old or private one is not named."""
    for name, mode in (("all", 0o644), ("mine", 0o600), ("old", 0o644)):
        (tmp_path / name).write_text(TOKEN)
        (tmp_path / name).chmod(mode)
    os.utime(tmp_path / "old", (1.0, 1.0))
    for name, mode in (("open", 0o755), ("closed", 0o700)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(TOKEN)
        (tmp_path / name / "token").chmod(0o644)
        (tmp_path / name).chmod(mode)
    (tmp_path / "link").symlink_to(tmp_path / "closed" / "token")
    assert files_with_secrets(secrets, [tmp_path, tmp_path / "none"], since=2.0) == {
        f"{tmp_path / 'all'} has token-1",
        f"{tmp_path / 'open' / 'token'} has token-1",
    }
