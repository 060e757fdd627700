from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from vault_harness.errors import SubjectDied, SubjectError
from vault_harness.judge.subjects import (
    Credential,
    OperationFailed,
    Reading,
    Subject,
    SubjectHung,
    Whole,
)
from vault_harness.judge.subjects.process import Apart, why_not_started

Open = Callable[..., Subject]
Program = Callable[[str], str]

EVERYTHING = """
    stored = {}
    for request in requests():
        number, op = request["id"], request["op"]
        if greet(request, capabilities=["cached", "read_all", "health", "write", "outcomes",
                                        "lease", "static", "update"], declares={"deadline": 2},
                 leaves=["token"]):
            continue
        if op in ("read", "read_cached"):
            key = stored.get(request["path"], os.environ).get(request["key"])
            if key is None:
                say(id=number, ok=False, error="missing", message="no such key")
            else:
                say(id=number, ok=True, value=key, stale=op == "read_cached")
        elif op == "read_all":
            say(id=number, ok=True, value=stored[request["path"]])
        elif op == "write":
            stored[request["path"]] = request["data"]
            say(id=number, ok=True)
        elif op == "update":
            stored[request["path"]] |= request["data"]
            say(id=number, ok=True)
        elif op == "health":
            say(id=number, ok=True, value=True)
        elif op in ("lease", "static"):
            name = "after-" + request["failed"] if "failed" in request else "first"
            value = {"username": name, "password": request["path"]}
            say(id=number, ok=True, value=value, stale=op == "static")
        elif op == "close":
            print("goodbye", file=sys.stderr)
            say(id=number, ok=True)
            sys.exit(7)
"""


def await_end(process: psutil.Process) -> None:
    """Wait until the process has ended or is a zombie, which an orphan may stay for a while."""
    deadline = time.monotonic() + 20
    while psutil.pid_exists(process.pid) and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{process} still runs"
        time.sleep(0.01)


def test_a_whole_client(subject: Open, program: Program) -> None:
    one = subject(program(EVERYTHING), {"SECRET": "s3cr3t"})
    assert isinstance(one, Subject)
    assert one.kind == "command"
    assert one.capabilities == {
        *("read", "cached", "read_all", "health", "write", "outcomes", "lease", "static", "update")
    }
    assert one.declares == {"deadline": 2.0}
    assert one.leaves == {"token"}
    assert one.reports_outcomes
    assert one.read("p", "SECRET", timeout=20) == Reading("s3cr3t")
    assert one.read_cached("p", "SECRET", timeout=20) == Reading("s3cr3t", stale=True)
    one.write("p", {"K": "ü\n\u2028x"}, timeout=20)
    one.update("p", {"L": "too"}, timeout=20)
    assert one.read("p", "K", timeout=20).value == "ü\n\u2028x"
    assert one.read("p", "L", timeout=20).value == "too"
    assert one.read_all("p", timeout=20) == Whole({"K": "ü\n\u2028x", "L": "too"})
    assert one.health(timeout=20) is True
    assert one.lease("db/creds/a", timeout=20) == Credential("first", "db/creds/a")
    assert one.lease("db/creds/a", "x", timeout=20).username == "after-x"
    assert one.static("db/static-creds/a", "x", timeout=20) == Credential(
        "after-x", "db/static-creds/a", stale=True
    )
    with pytest.raises(OperationFailed, match="no such key") as caught:
        one.read("p", "NONE", timeout=20)
    assert caught.value.outcome == "missing"
    assert one.pid is not None
    assert psutil.pid_exists(one.pid)
    assert one.is_alive()
    one.close(timeout=20)
    one.close(timeout=20)
    assert one.exit_code == 7
    assert "goodbye" in one.logs()
    assert not psutil.pid_exists(one.pid)


def test_it_is_configured_by_its_environment_alone(
    subject: Open, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The developer's Vault variables and secrets are withheld; PATH is handed down."""
    monkeypatch.setenv("VAULT_TOKEN", "the developer's")
    monkeypatch.setenv("SECRET_KEY", "the shell's")
    monkeypatch.setenv("USE_VAULT", "false")
    monkeypatch.setenv("VIRTUAL_ENV", "the developer's")
    one = subject(
        program(EVERYTHING), {"VAULT_ADDR": "http://vault"}, apart=Apart(withhold={"SECRET_KEY"})
    )
    assert one.read("p", "VAULT_ADDR", timeout=20).value == "http://vault"
    assert one.read("p", "PATH", timeout=20).value == os.environ["PATH"]
    exempt = one.read("p", "NO_PROXY", timeout=20).value.split(",")
    assert {"127.0.0.1", "vault"} <= set(exempt)
    for name in ("VAULT_TOKEN", "SECRET_KEY", "USE_VAULT"):
        with pytest.raises(OperationFailed):
            one.read("p", name, timeout=20)


@pytest.mark.parametrize(
    ("kept", "theirs"),
    [(Path(sys.prefix) / "compiled", (None, "1")), (Path("elsewhere"), ("elsewhere", None))],
    ids=["dev's own", "the developer's"],
)
def test_whether_compiled_code_is_kept(
    subject: Open,
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
    kept: Path,
    theirs: tuple[str | None, str | None],
) -> None:
    """The developer's setting counts, not the harness's."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(kept))
    one = subject(program(EVERYTHING), {})
    for name, value in zip(("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE"), theirs, strict=True):
        if value is None:
            with pytest.raises(OperationFailed):
                one.read("p", name, timeout=20)
        else:
            assert one.read("p", name, timeout=20).value == value


@pytest.mark.parametrize("left", [True, False], ids=["a token", "none"])
def test_it_finds_no_token_of_the_developers_at_home(
    subject: Open, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bool
) -> None:
    """A ``.vault-token`` is hidden; other files at home are there."""
    home = tmp_path / "mine"
    (home / ".config").mkdir(parents=True)
    if left:
        (home / ".vault-token").write_text("hvs.of-another-vault")
    monkeypatch.setenv("HOME", str(home))
    text = program(
        """
        for request in requests():
            if not greet(request):
                found = os.listdir(os.path.expanduser("~"))
                say(id=request["id"], ok=True, value=",".join(found))
        """
    )
    for one in (subject(text), subject(text)):
        assert one.read("p", "k", timeout=20).value == ".config"


def test_a_home_that_is_closed_to_its_user(
    subject: Open, program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is used as it is."""

    def closed(self: Path, **_: object) -> bool:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(Path, "exists", closed)
    one = subject(program(EVERYTHING))
    assert one.read("p", "HOME", timeout=20).value == str(tmp_path)


def test_a_client_that_does_not_know_hello_can_read(subject: Open, program: Program) -> None:
    one = subject(
        program("""
            for request in requests():
                if request["op"] == "read":
                    say(id=request["id"], ok=True, value="v")
                else:
                    say(id=request["id"], ok=False, message="unknown")
        """)
    )
    assert one.capabilities == {"read"}
    assert one.read("p", "k", timeout=20).value == "v"
    assert not one.reports_outcomes
    one.close(timeout=20)  # its "unknown" is no failed close


def test_answers_come_in_any_order(subject: Open, program: Program) -> None:
    one = subject(
        program("""
            held = []
            for request in requests():
                if greet(request):
                    continue
                held.append(request)
                if len(held) == 20:
                    for one in reversed(held):
                        say(id=one["id"], ok=True, value=one["key"] * 1000)
        """)
    )
    with ThreadPoolExecutor(20) as pool:
        readings = pool.map(lambda key: one.read("p", key, timeout=20).value, map(str, range(20)))
        assert list(readings) == [str(key) * 1000 for key in range(20)]


def test_values_may_be_huge_in_both_directions(subject: Open, program: Program) -> None:
    one = subject(program(EVERYTHING))
    huge = "x" * 1_000_000
    one.write("p", {"K": huge}, timeout=30)
    assert one.read("p", "K", timeout=30).value == huge


def test_a_client_that_does_not_read_cannot_hang_the_harness(
    subject: Open, program: Program
) -> None:
    """A request that fills the pipe is given up."""
    one = subject(
        program("""
            for request in requests():
                greet(request)
                break
            threading.Event().wait()
        """)
    )
    with pytest.raises(SubjectHung):
        one.write("p", {"K": "x" * 1_000_000}, timeout=0.1)
    with pytest.raises(SubjectHung):
        one.read("p", "K", timeout=0.1)
    one.kill()
    assert one.exit_code == -signal.SIGKILL


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raw('Listening...\\n')", "not JSON"),
        ("raw('\\n{\"id\": 1, \\n')", "not JSON"),
        ("say(id=99, ok=True)", "never asked"),
        ("os.write(1, bytes(range(128, 256)) + b'\\n')", "not JSON"),
    ],
)
def test_a_breach_says_what_was_seen(
    subject: Open, program: Program, body: str, cause: str
) -> None:
    """It has the beginning of the line, and a remedy."""
    with pytest.raises(SubjectError, match=cause) as caught:
        subject(program(f"{body}\nthreading.Event().wait()\n"))
    assert caught.value.looked_at
    assert caught.value.remedy


def test_a_client_that_ends_at_once(subject: Open, program: Program) -> None:
    """Its exit code and its last lines are told."""
    with pytest.raises(SubjectDied, match="exit code 3") as caught:
        subject(program("sys.exit(sys.stderr.write('Vault is sealed\\n') and 3)"))
    assert "Vault is sealed" in str(caught.value)


def test_a_client_that_ends_in_the_middle(subject: Open, program: Program) -> None:
    """An answer before the end counts."""
    one = subject(
        program("""
            for request in requests():
                if not greet(request):
                    say(id=request["id"], ok=True, value="last words")
                    os._exit(4)
        """)
    )
    assert one.read("p", "k", timeout=20).value == "last words"
    with pytest.raises(SubjectDied, match="exit code 4"):
        one.read("p", "k", timeout=20)
    assert not one.is_alive()
    assert one.exit_code == 4


def test_a_program_that_cannot_be_executed(subject: Open, tmp_path: Path) -> None:
    """The missing interpreter is told with its path."""
    file = tmp_path / "client"
    file.write_text("#!/no/such/interpreter\n")
    file.chmod(0o700)
    with pytest.raises(SubjectDied, match=r"exit code 12[67]") as caught:
        subject(f"command:{shlex.quote(str(file))}")
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "remedy"),
    [
        (b"#!/no/such/interpreter\n", "install /no/such/interpreter"),
        (b"#!/bin/sh\r\nexit 0\r\n", "end its lines by LF"),
        (b"#!/usr/bin/env no-such-tool\n", "put no-such-tool on PATH"),
        (b"nothing_of_that_name = 1\n", "without one it was run by /bin/sh"),
        (b"#!/bin/sh\nexit 1\n", "start it by hand"),
        (b"#!/bin/sh\nexit 127\n", "start it by hand"),
    ],
    ids=["no interpreter", "CR LF", "no tool", "no first line", "its own end", "its own 127"],
)
def test_a_program_that_its_file_keeps_from_starting(
    subject: Open, tmp_path: Path, content: bytes, remedy: str
) -> None:
    """The remedy names the cause."""
    file = tmp_path / "client"
    file.write_bytes(content)
    file.chmod(0o700)
    with pytest.raises(SubjectDied, match="exit code") as caught:
        subject(f"command:{shlex.quote(str(file))}")
    assert remedy in caught.value.remedy


def test_a_binary_that_cannot_be_loaded(tmp_path: Path) -> None:
    """It is for another machine."""
    file = tmp_path / "client"
    file.write_bytes(b"\x7fELF\x02\x01\x01\0\0\0")
    assert "is built for" in why_not_started(file, 127)
    assert why_not_started(file, 1) == ""  # it ran


def test_a_closed_standard_output_is_a_breach(subject: Open, program: Program) -> None:
    """It is not waited for."""
    with pytest.raises(SubjectError, match="closed its standard output"):
        subject(program("os.close(1)\nthreading.Event().wait()\n"))


def test_a_client_that_never_says_hello(subject: Open, program: Program) -> None:
    with pytest.raises(SubjectHung, match="hello"):
        subject(program("threading.Event().wait()\n"), timeout=0.3)


def test_the_end_of_input_is_enough(subject: Open, program: Program) -> None:
    """It need not know ``close``."""
    one = subject(program("for request in requests():\n    greet(request)\nsys.exit(5)\n"))
    one.close(timeout=30)
    assert one.exit_code == 5


CLOSES = """
    import time
    for request in requests():
        if greet(request):
            continue
        {first}
        say(id=request["id"], **{said})
        {then}
"""


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("pass", "sys.exit(0)"),
        ("raw('no JSON\\n')", "time.sleep(0.3)"),
        ("time.sleep(0.3)", "pass"),
    ],
)
def test_a_close_that_is_answered_as_failed(
    subject: Open, program: Program, first: str, then: str
) -> None:
    """The exit code may be 0."""
    said = {"ok": False, "error": "unavailable", "message": "the pool is gone"}
    one = subject(program(CLOSES.format(first=first, said=said, then=then)))
    with pytest.raises(OperationFailed, match="the pool is gone"):
        one.close(timeout=20)
    assert one.exit_code == 0


@pytest.mark.parametrize(
    ("first", "said"),
    [
        ("pass", {"ok": True}),
        ("pass", {"ok": None}),
        ("say(ok=False)", {"ok": True}),
        ("say(id=77, ok=False)", {"ok": True}),
        ("sys.exit(0)", {"ok": False}),
        ("os.close(1); sys.exit(0)", {"ok": False}),
    ],
)
def test_last_words_that_are_no_failure_of_close(
    subject: Open, program: Program, first: str, said: dict[str, object]
) -> None:
    """Only an answer to ``close`` is one."""
    one = subject(program(CLOSES.format(first=first, said=said, then="pass")))
    one.close(timeout=20)
    assert one.exit_code == 0


def test_additional_wait_does_not_delay_sigterm(subject: Open, program: Program) -> None:
    one = subject(
        program("""
            import signal
            signal.signal(signal.SIGTERM, lambda *_: os._exit(6))
            greet(next(requests()))
            while True:
                signal.pause()
        """)
    )
    began = time.monotonic()
    one.close(timeout=1.0, beyond=60.0)
    assert time.monotonic() - began < 20.0
    assert one.exit_code == 6


def test_a_client_that_never_ends_is_killed(subject: Open, program: Program) -> None:
    one = subject(
        program("""
            import signal
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            greet(next(requests()))
            while True:
                signal.pause()
        """)
    )
    with pytest.raises(SubjectHung, match="did not end"):
        one.close(timeout=0.5)
    assert one.exit_code == -signal.SIGKILL


def test_a_frozen_client_hangs_and_comes_back(subject: Open, program: Program) -> None:
    """Its late answer disturbs nothing."""
    one = subject(program(EVERYTHING), {"K": "v"})
    assert one.pid is not None
    os.kill(one.pid, signal.SIGSTOP)
    with pytest.raises(SubjectHung):
        one.read("p", "K", timeout=0.1)
    os.kill(one.pid, signal.SIGCONT)
    assert one.read("p", "K", timeout=20).value == "v"


def test_children_of_the_client_go_with_it(subject: Open, program: Program) -> None:
    one = subject(
        program("""
            import subprocess
            child = subprocess.Popen(["sleep", "600"])
            for request in requests():
                if not greet(request):
                    say(id=request["id"], ok=True, value=str(child.pid))
        """)
    )
    child = psutil.Process(int(one.read("p", "k", timeout=20).value))
    one.kill()
    await_end(child)


def test_it_dies_with_the_harness(tmp_path: Path, program: Program) -> None:
    """The harness may be ended by ``kill -9``."""
    text = program("greet(next(requests()))\nthreading.Event().wait()\n")
    script = f"""
        import pathlib, sys, threading
        from vault_harness.judge.subjects import open_subject, parse_subject
        log = pathlib.Path({str(tmp_path)!r}) / "log"
        one = open_subject(parse_subject({text!r}), {{}}, log=log)
        print(one.pid, flush=True)
        threading.Event().wait()
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True
    ) as harness:
        assert harness.stdout is not None
        client = psutil.Process(int(harness.stdout.readline()))
        harness.kill()
    await_end(client)


def test_it_outlives_the_thread_that_opened_it(subject: Open, program: Program) -> None:
    opened: list[Subject] = []
    text = program(EVERYTHING)
    thread = threading.Thread(target=lambda: opened.append(subject(text, {"K": "v"})))
    thread.start()
    thread.join(30)
    assert opened[0].read("p", "K", timeout=20).value == "v"


FORKED = """
    import os
    class Client:
        capabilities = {"read", "fork"}
        def __init__(self, environ):
            self.born, self.reads, self.end = os.getpid(), 0, environ["END"]
        def read(self, path, key):
            self.reads += 1
            if key == "fails":
                error = RuntimeError("not now")
                error.outcome = "unavailable"
                raise error
            return f"{self.reads} {os.getpid() != self.born}"
        def close(self):
            if self.born != os.getpid():
                print("the child ends")
                if self.end == "badly":
                    raise SystemExit(3)
"""


def forked(subject: Open, folder: Path, *, end: str) -> Subject:
    """Return a Python client with ``fork``, as a process of its own."""
    (folder / "forked_client.py").write_text(textwrap.dedent(FORKED))
    path = os.pathsep.join([str(folder), *sys.path])
    command = f"{sys.executable} -m vault_harness.judge.subjects python:forked_client:Client"
    return subject(f"command:{command}", {"PYTHONPATH": path, "END": end})


def test_a_forked_python_client(subject: Open, tmp_path: Path) -> None:
    """It uses its parent's object and leaves the parent as it was."""
    one = forked(subject, tmp_path, end="well")
    assert one.read("p", "K", timeout=20).value == "1 False"
    reads = one.fork("p", "K", seconds=0.3, every=0.1, timeout=20)
    assert reads[:2] == [Reading("2 True"), Reading("3 True")]
    assert one.read("p", "K", timeout=20).value == "2 False"
    failed = one.fork("p", "fails", seconds=0.1, every=0.1, timeout=20)
    assert [str(each) for each in failed] == ["unavailable: RuntimeError: not now"]
    assert one.logs().count("the child ends") == 2
    one.close(timeout=20)
    assert one.exit_code == 0


def test_a_forked_child_that_breaks_down(subject: Open, tmp_path: Path) -> None:
    """The parent lives on."""
    one = forked(subject, tmp_path, end="badly")
    with pytest.raises(OperationFailed, match="the forked child ended with 1"):
        one.fork("p", "K", seconds=0.1, every=0.1, timeout=20)
    assert one.read("p", "K", timeout=20).value == "1 False"


HERD = """
    class Client:
        capabilities = {"read", "herd"}
        leaves = ["token"]
        made = 0
        def __init__(self, environ):
            self.number, self.reads = Client.made, 0
            Client.made += 1
        def read(self, path, key):
            self.reads += 1
            return f"{self.number}: {self.reads}"
        def close(self):
            print(f"client {self.number} ends")
            if self.number == 2:
                raise SystemExit(3)
"""


def herd(subject: Open, folder: Path) -> Subject:
    """Return a Python client with ``herd``, as a process of its own."""
    (folder / "herd_client.py").write_text(textwrap.dedent(HERD))
    path = os.pathsep.join([str(folder), *sys.path])
    command = f"{sys.executable} -m vault_harness.judge.subjects python:herd_client:Client"
    return subject(f"command:{command}", {"PYTHONPATH": path})


def test_a_herd_of_python_clients(subject: Open, tmp_path: Path) -> None:
    """Each has a state of its own; the first one existed before."""
    one = herd(subject, tmp_path)
    assert one.leaves == {"token"}
    one.read("p", "K", timeout=20)
    one.herd(2, timeout=20)
    one.herd(2, timeout=20)
    assert one.read_by(1, "p", "K", timeout=20) == Reading("1: 1")
    assert one.read_by(0, "p", "K", timeout=20) == Reading("0: 2")
    assert one.read("p", "K", timeout=20) == Reading("0: 3")
    with pytest.raises(OperationFailed, match="there are 2 clients, and no 2"):
        one.read_by(2, "p", "K", timeout=20)
    one.close(timeout=20)
    assert one.exit_code == 0
    # Without a buffer, their line ends may be mixed.
    assert sorted(re.findall(r"client \d ends", one.logs())) == ["client 0 ends", "client 1 ends"]


def test_one_of_a_herd_that_does_not_end_well(subject: Open, tmp_path: Path) -> None:
    """All are ended, and the failure is told."""
    one = herd(subject, tmp_path)
    one.herd(4, timeout=20)
    with pytest.raises(OperationFailed, match="SystemExit: 3"):
        one.close(timeout=20)
    assert one.exit_code == 3
    assert one.logs().count("ends") == 4


ROUGH = """
    class Client:
        def __init__(self, environ): pass
        def read(self, path, key): raise SystemExit(f"no {key}")
        def close(self): raise RuntimeError("double free")
"""


def test_a_python_client_that_raises_whatever_it_likes(subject: Open, tmp_path: Path) -> None:
    (tmp_path / "rough_client.py").write_text(textwrap.dedent(ROUGH))
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = f"{sys.executable} -m vault_harness.judge.subjects python:rough_client:Client"
    one = subject(f"command:{command}", {"PYTHONPATH": path})
    with pytest.raises(OperationFailed, match="SystemExit: no K"):
        one.read("p", "K", timeout=20)
    with pytest.raises(OperationFailed, match="RuntimeError: double free"):
        one.close(timeout=20)
    assert one.exit_code == 1
    assert "double free" in one.logs()


def test_a_python_client_as_a_process_of_its_own(subject: Open, tmp_path: Path) -> None:
    (tmp_path / "their_client.py").write_text(
        textwrap.dedent("""
            import logging
            class Client:
                capabilities = {"read", "read_all", "health", "write", "update"}
                declares = {"refresh": 3}
                def __init__(self, environ): self.environ = environ
                def read(self, path, key):
                    print("a stray print")
                    return self.environ[key]
                def read_all(self, path): return {"K": self.environ["K"]}
                def write(self, path, data): self.environ.update(data)
                def update(self, path, data): self.environ |= {"changed": "x", **data}
                def health(self): return True
                def close(self): logging.getLogger(__name__).info("closed")
        """)
    )
    command = f"{sys.executable} -m vault_harness.judge.subjects python:their_client:Client"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    one = subject(f"command:{command}", {"K": "v", "PYTHONPATH": path})
    assert one.declares == {"refresh": 3.0}
    assert one.read("p", "K", timeout=20).value == "v"
    one.write("p", {"K": "w"}, timeout=20)
    assert one.read("p", "K", timeout=20).value == "w"
    assert one.read_all("p", timeout=20) == Whole({"K": "w"})
    one.update("p", {"L": "x"}, timeout=20)
    assert one.read("p", "changed", timeout=20).value == "x"
    assert one.health(timeout=20)
    with pytest.raises(OperationFailed, match="KeyError"):
        one.read("p", "NONE", timeout=20)
    assert one.pid is not None
    os.kill(one.pid, signal.SIGTERM)
    one.close(timeout=20)
    assert one.exit_code == 0
    assert "closed" in one.logs()
    assert "a stray print" in one.logs()
