from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests

from tests.walking import places
from vault_harness import errors
from vault_harness.cli.guard import guarded
from vault_harness.cli.printing import table
from vault_harness.local.engine.folders import run_directory
from vault_harness.settings import Settings


def ended(error: BaseException, *, debug: bool = False) -> object:
    with pytest.raises(SystemExit) as caught, guarded(debug=debug):
        raise error
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.SettingsError("wrong setting"), 4),
        (errors.PortTaken("port taken"), 3),
        (errors.NotUp("not up"), 5),
        (errors.KeyringMissing("no keyring"), 5),
        (errors.VaultIsSealed("sealed"), 6),
    ],
)
def test_an_error_is_its_text_and_code(
    error: errors.HarnessError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error) == code
    assert capsys.readouterr() == ("", f"{error}\n")


def test_a_removed_current_folder_is_not_reported_as_a_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another shell may remove it."""
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(SystemExit) as caught, guarded():
        Settings.from_environment(data_dir="vault-data")
    monkeypatch.chdir(tmp_path)
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("the current folder does not exist any more\n")


def test_no_place_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "nothing")])
    with pytest.raises(SystemExit) as caught, guarded(), run_directory():
        pytest.fail("there was one")
    assert caught.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("no folder for temporary files is writable\n")
    assert "TMPDIR" in said


def test_ctrl_c_within_an_import(capsys: pytest.CaptureFixture[str]) -> None:
    """Python wraps it in another exception."""
    wrapped = RuntimeError("Error calling __set_name__")
    wrapped.__cause__ = KeyboardInterrupt()
    assert ended(wrapped) == 130
    assert "mistake" not in capsys.readouterr().err


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(KeyboardInterrupt()) == 130
    assert "invoke status" in capsys.readouterr().err


def test_ctrl_c_while_a_client_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, guarded(judging=True):
        raise KeyboardInterrupt
    assert caught.value.code == 130
    said = capsys.readouterr().err
    assert "this is no pass" in said
    assert "status" not in said


def test_a_file_of_a_judging_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught, guarded(judging=True):
        raise OSError(13, "Permission denied", "/there/score.json")
    assert caught.value.code == 3
    said = capsys.readouterr().err
    assert "/there/score.json: Permission denied" in said
    assert "HARNESS_DATA_DIR" not in said


def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(OSError(28, "No space left on device", "/data/init.json")) == 1
    said = capsys.readouterr().err
    assert said.startswith("/data/init.json: No space left on device\n")
    assert "make room" in said


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "ulimit -u"),
        (RuntimeError("can't start new thread"), "limit of pids"),
        (MemoryError(), "memory limit"),
    ],
    ids=["no process", "no thread", "no memory"],
)
def test_a_limit_of_the_container_is_no_bug(
    error: Exception, limit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(error) == 1
    told = capsys.readouterr().err
    assert "mistake" not in told
    assert limit in told


def test_a_disk_that_can_only_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Another owner could not write there either."""
    assert ended(OSError(errno.EROFS, "Read-only file system", "/data/lock")) == 1
    assert "is read-only" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("HTTPConnectionPool(host='127.0.0.1', port=1): refused"),
        requests.Timeout("read timed out"),
        docker.errors.APIError("500 Server Error"),
        OSError("out of nowhere"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_of_http_is_no_file(error: OSError, capsys: pytest.CaptureFixture[str]) -> None:
    """Errors of requests and docker are OSErrors."""
    assert ended(error) == 70
    said = capsys.readouterr().err
    assert type(error).__name__ in said
    assert "no file named" not in said
    assert "--debug" in said


def test_a_mistake_of_ours_names_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    """Its text may hold a value."""
    assert ended(KeyError("s.aVeryPrivateValue")) == 70
    said = capsys.readouterr().err
    assert "KeyError" in said
    assert "aVeryPrivateValue" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("ending", [errors.NotUp("x"), KeyError("x"), SystemExit(1)], ids=repr)
def test_no_frame_of_a_task_is_kept(ending: BaseException) -> None:
    """A frame would hold the task's variables."""
    code = "def body(guarded, token):\n with guarded():\n  inner(token)\n"
    code += "def inner(token):\n raise ending\n"
    namespace: dict[str, Any] = {"ending": ending}
    exec(compile(code, "elsewhere", "exec"), namespace)  # noqa: S102 -- a frame of another file
    with pytest.raises(SystemExit) as caught:
        namespace["body"](guarded, "s.token-4711")
    found = places(caught.value, {"s.token-4711"}, of=__file__)
    assert [place for place in found if " body " not in place] == []


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(ZeroDivisionError("by zero"), debug=True) == 70
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_where_an_error_was_raised(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(errors.NotUp("not up"), debug=True) == 5
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.endswith("not up\n")


def test_a_broken_socket_is_an_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only a broken pipe at stdout ends well."""
    assert ended(BrokenPipeError(32, "Broken pipe")) == 70
    assert "BrokenPipeError" in capsys.readouterr().err


def test_columns_line_up() -> None:
    assert table([("a", "long", ""), ("bb", "c", "d")]) == "  a   long\n  bb  c     d"
