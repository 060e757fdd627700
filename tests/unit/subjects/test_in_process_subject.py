from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import SettingsError, SubjectDied, SubjectError
from vault_harness.judge.subjects import (
    Credential,
    InProcessSubject,
    OperationFailed,
    Reading,
    Subject,
    SubjectHung,
    Whole,
    parse_subject,
)
from vault_harness.judge.subjects.python_object import find_factory

Open = Callable[..., Subject]
Make = Callable[[object], str]


class DeniedError(Exception):
    outcome = "denied"


class OldValue(str):
    stale = True


class OldWhole(dict[str, str]):
    stale = True


class Client:
    capabilities = frozenset(
        {"read", "cached", "health", "write", "lease", "static", "update", "read_all"}
    )
    declares: Mapping[str, float] = {"max_stale": 30}
    leaves = frozenset({"token"})

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.written: dict[str, Mapping[str, str]] = {}
        self.closed = False

    def read(self, path: str, key: str) -> Any:
        if path in self.written:
            return self.written[path][key]
        return self.environ.get(key, f"{path}:{key}")

    def read_cached(self, path: str, key: str) -> Any:
        return OldValue(self.read(path, key))

    def read_all(self, path: str) -> Any:
        return OldWhole(self.written[path]) if path == "old" else self.written[path]

    def write(self, path: str, data: Mapping[str, str]) -> None:
        self.written[path] = data

    def update(self, path: str, data: Mapping[str, str]) -> None:
        self.written[path] = {**self.written[path], **data}

    def health(self) -> bool:
        return not self.closed

    def lease(self, path: str, failed: str | None = None) -> Any:
        return {"username": failed or "first", "password": path}

    def static(self, path: str, failed: str | None = None) -> Any:
        return SimpleNamespace(username="app", password=failed or path, stale=failed is not None)

    def close(self) -> None:
        self.closed = True


def reads(answer: Callable[[], Any]) -> Callable[[Mapping[str, str]], Any]:
    """Return a factory of a client whose every read gives this answer."""
    client = SimpleNamespace(read=lambda *_: answer(), close=lambda: None)
    return lambda _: client


def in_a_thread(work: Callable[[], object], name: str | None = None) -> None:
    thread = threading.Thread(target=work, name=name)
    thread.start()
    thread.join(20)


def test_a_whole_client(subject: Open, python_client: Make) -> None:
    one = subject(python_client(Client), {"SECRET": "s3cr3t"})
    assert isinstance(one, Subject)
    assert (one.kind, one.pid, one.exit_code) == ("in-process", None, None)
    assert one.capabilities == Client.capabilities
    assert one.declares == {"max_stale": 30.0}
    assert one.leaves == {"token"}
    assert one.read("a/b", "K", timeout=20) == Reading("a/b:K")
    assert one.read("a/b", "SECRET", timeout=20) == Reading("s3cr3t")
    assert one.read_cached("a/b", "K", timeout=20) == Reading("a/b:K", stale=True)
    one.write("a/b", {"K": "new"}, timeout=20)
    one.update("a/b", {"L": "too"}, timeout=20)
    assert one.read("a/b", "K", timeout=20).value == "new"
    assert one.read("a/b", "L", timeout=20).value == "too"
    assert one.read_all("a/b", timeout=20) == Whole({"K": "new", "L": "too"})
    one.write("old", {"K": "kept"}, timeout=20)
    assert one.read_all("old", timeout=20) == Whole({"K": "kept"}, stale=True)
    assert one.health(timeout=20) is True
    assert one.lease("db/creds/a", timeout=20) == Credential("first", "db/creds/a")
    assert one.lease("db/creds/a", "x", timeout=20).username == "x"
    assert one.static("db/static-creds/a", timeout=20) == Credential("app", "db/static-creds/a")
    assert one.static("db/static-creds/a", "x", timeout=20) == Credential("app", "x", stale=True)
    assert one.is_alive()
    one.close(timeout=20)
    one.close(timeout=20)
    assert not one.is_alive()
    with pytest.raises(SubjectDied):
        one.read("a/b", "K", timeout=20)


def test_the_suite_itself_is_not_forked_and_no_herd(subject: Open, python_client: Make) -> None:
    """The error tells how a client can be that."""
    one = subject(python_client(Client))
    asked: list[Callable[[], object]] = [
        lambda: one.fork("a/b", "K", seconds=1.0, every=0.1, timeout=20),
        lambda: one.herd(3, timeout=20),
        lambda: one.read_by(1, "a/b", "K", timeout=20),
    ]
    for ask in asked:
        with pytest.raises(SubjectError, match="in the suite's own process") as caught:
            ask()
        assert "vault_harness.judge.subjects" in str(caught.value.remedy)


@pytest.mark.parametrize("name", ["read", "write", "health", "close"])
def test_coroutines_are_refused(subject: Open, python_client: Make, name: str) -> None:
    """Nobody would await them."""

    async def never(self: Client, *_: object) -> None:
        """Never run."""

    with pytest.raises(SubjectError, match=f"coroutines for methods: {name}") as caught:
        subject(python_client(type("Loop", (Client,), {name: never})))
    assert "run_coroutine_threadsafe" in str(caught.value.remedy)


def test_the_least_client_can_read(subject: Open, python_client: Make) -> None:
    """``read`` and ``close`` are enough."""
    one = subject(python_client(reads(lambda: "v")))
    assert one.capabilities == {"read"}
    assert not one.reports_outcomes
    assert one.read("p", "k", timeout=20) == Reading("v", stale=False)


@pytest.mark.parametrize(
    "made", [None, ("a", "b"), {"username": "a"}, SimpleNamespace(password="b")]
)
def test_half_a_credential_is_a_breach(subject: Open, python_client: Make, made: object) -> None:
    """It has attributes or keys."""
    client = SimpleNamespace(
        read=lambda *_: "v", close=lambda: None, lease=lambda *_: made, capabilities={"lease"}
    )
    one = subject(python_client(lambda _: client))
    with pytest.raises(SubjectError, match="a username and a password"):
        one.lease("db/creds/a", timeout=20)


def test_an_exception_is_a_failed_operation(subject: Open, python_client: Make) -> None:
    """Its outcome is told only by an attribute."""

    def fail() -> str:
        raise TimeoutError("no answer")

    one = subject(python_client(reads(fail)))
    with pytest.raises(OperationFailed, match="TimeoutError: no answer") as caught:
        one.read("p", "k", timeout=20)
    assert caught.value.outcome is None
    assert not one.reports_outcomes


def test_an_outcome_is_learned(subject: Open, python_client: Make) -> None:
    """A client that tells an outcome once is known to tell outcomes."""

    def fail() -> str:
        raise DeniedError("policy")

    one = subject(python_client(reads(fail)))
    assert not one.reports_outcomes
    with pytest.raises(OperationFailed) as caught:
        one.read("p", "k", timeout=20)
    assert caught.value.outcome == "denied"
    assert one.reports_outcomes


def test_an_exception_may_be_broken_itself(subject: Open, python_client: Make) -> None:
    """It has no text, or is SystemExit."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    for error in (BrokenError(), SystemExit(3)):

        def fail(error: BaseException = error) -> str:
            raise error

        one = subject(python_client(reads(fail)))
        with pytest.raises(OperationFailed):
            one.read("p", "k", timeout=20)
        assert one.is_alive()


@pytest.mark.parametrize("value", [None, 1, b"bytes", {"K": "v"}])
def test_a_value_that_is_no_string_is_a_breach(
    subject: Open, python_client: Make, value: object
) -> None:
    one = subject(python_client(reads(lambda: value)))
    with pytest.raises(SubjectError, match="not a string"):
        one.read("p", "k", timeout=20)


def test_a_reading_may_be_an_object(subject: Open, python_client: Make) -> None:
    one = subject(python_client(reads(lambda: SimpleNamespace(value="v", stale=True))))
    assert one.read("p", "k", timeout=20) == Reading("v", stale=True)


def test_a_call_that_hangs_is_given_up(subject: Open, python_client: Make) -> None:
    """Other calls go on."""
    held = threading.Event()
    answers: Iterator[Callable[[], Any]] = iter([held.wait, lambda: "v"])
    one = subject(python_client(reads(lambda: next(answers)())))
    with pytest.raises(SubjectHung, match=r"read within 0\.05 s"):
        one.read("p", "k", timeout=0.05)
    assert one.read("p", "k", timeout=20).value == "v"
    held.set()


def test_many_calls_at_once(subject: Open, python_client: Make) -> None:
    barrier = threading.Barrier(50)

    def meet() -> str:
        barrier.wait(20)
        return "v"

    one = subject(python_client(reads(meet)))
    with ThreadPoolExecutor(50) as pool:
        readings = list(pool.map(lambda _: one.read("p", "k", timeout=20).value, range(50)))
    assert readings == ["v"] * 50


def test_calls_in_turn_share_a_thread(subject: Open, python_client: Make) -> None:
    """Thread-local connections need it."""
    one = subject(python_client(reads(lambda: str(threading.get_ident()))))
    assert len({one.read("p", "k", timeout=20).value for _ in range(20)}) == 1


def test_a_factory_that_raises_is_a_death(subject: Open, python_client: Make) -> None:
    """The client ended at once."""

    def factory(environ: Mapping[str, str]) -> Client:
        raise ConnectionError("sealed")

    with pytest.raises(SubjectDied, match="ConnectionError: sealed"):
        subject(python_client(factory))


def test_a_factory_that_hangs_is_given_up(subject: Open, python_client: Make) -> None:
    held = threading.Event()
    with pytest.raises(SubjectHung, match="start"):
        subject(python_client(lambda _: held.wait()), timeout=0.05)
    held.set()


def test_a_read_after_the_end(subject: Open, python_client: Make) -> None:
    """A closed client can be asked once more."""
    answers = iter(["late"])
    client = SimpleNamespace(read=lambda *_: next(answers), close=lambda: None)
    one = subject(python_client(lambda _: client))
    one.close(timeout=20)
    assert isinstance(one, InProcessSubject)
    assert one.read_once_closed("backend/django", "KEY", timeout=20).value == "late"
    with pytest.raises(OperationFailed):
        one.read_once_closed("backend/django", "KEY", timeout=20)
    assert not one.is_alive()


def test_a_caller_may_change_a_whole_secret(subject: Open, python_client: Make) -> None:
    """It is changed if it can be."""
    kept = {"KEY": "value"}
    sealed = SimpleNamespace(value=MappingProxyType({"KEY": "value"}))
    answers = iter([kept, dict(kept), sealed])
    client = SimpleNamespace(
        read=lambda *_: "v", read_all=lambda _: next(answers), close=lambda: None
    )
    one = subject(python_client(lambda _: client))
    assert isinstance(one, InProcessSubject)
    one.read_all_and_change_it("backend/django", timeout=20)
    assert kept != {"KEY": "value"}
    for _ in range(2):
        one.read_all_and_change_it("backend/django", timeout=20)
    assert sealed.value == {"KEY": "value"}
    with pytest.raises(OperationFailed):
        one.read_all_and_change_it("backend/django", timeout=20)


def test_a_close_that_hangs_is_given_up(subject: Open, python_client: Make) -> None:
    held = threading.Event()
    client = SimpleNamespace(read=lambda *_: "v", close=held.wait)
    one = subject(python_client(lambda _: client))
    with pytest.raises(SubjectHung, match="close"):
        one.close(timeout=0.05)
    assert not one.is_alive()
    held.set()


@pytest.mark.parametrize("word", ["cached", "read_all", "write", "update", "health"])
def test_a_claim_without_a_method_is_a_breach(
    subject: Open, python_client: Make, word: str
) -> None:
    client = SimpleNamespace(read=lambda *_: "v", close=lambda: None, capabilities={word})
    with pytest.raises(SubjectError, match="no method"):
        subject(python_client(lambda _: client))


@pytest.mark.parametrize(
    "text",
    ["python:no_such_module_anywhere:factory", "python:json:no_such", "python:json:__name__"],
)
def test_a_factory_that_is_not_there_is_a_wrong_setting(subject: Open, text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        subject(text)
    assert caught.value.remedy


def test_what_is_logged_goes_to_its_log(subject: Open, python_client: Make) -> None:
    """Records of the harness itself are left out."""
    before = logging.getLogger().level

    def log() -> str:
        logging.getLogger("their.client").debug("reading now")
        logging.getLogger("vault_harness.local.engine").error("not theirs")
        logging.getLogger("resilient_vault_client").info("the reference client's")
        return "v"

    one = subject(python_client(reads(log)))
    logging.getLogger("urllib3").error("not theirs either")
    one.read("p", "k", timeout=20)
    assert "DEBUG their.client: reading now" in one.logs()
    assert "the reference client's" in one.logs()
    assert "not theirs" not in one.logs()
    handlers = list(logging.getLogger().handlers)
    one.close(timeout=20)
    assert logging.getLogger().level == before

    def end_a_line() -> None:
        record = logging.makeLogRecord({"name": "their.client", "msg": "after the end"})
        for handler in handlers:
            handler.handle(record)

    in_a_thread(end_a_line)  # it began before the end
    assert "after the end" not in one.logs()


def test_two_subjects_at_once_leave_logging_as_it_was(subject: Open, python_client: Make) -> None:
    """The last one that closes restores it."""
    before = logging.getLogger().level, threading.excepthook
    first, second = subject(python_client(Client)), subject(python_client(Client))
    first.close(timeout=20)
    in_a_thread(lambda: logging.getLogger("their.client").debug("still here"))
    assert "still here" in second.logs()
    assert "still here" not in first.logs()
    second.close(timeout=20)
    assert logging.getLogger().level == before[0]


def test_a_thread_of_the_client_that_dies_is_in_its_log(subject: Open, python_client: Make) -> None:
    def die() -> str:
        def renew() -> None:
            raise KeyError("lease")

        in_a_thread(renew, "renewer")
        return "v"

    one = subject(python_client(reads(die)))
    one.read("p", "k", timeout=20)
    assert "thread renewer died" in one.logs()
    assert "KeyError: 'lease'" in one.logs()


def test_a_reading_keeps_its_secret_out_of_its_repr() -> None:
    assert "hunter2" not in repr(Reading("hunter2"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise RuntimeError('no settings here')", "raised RuntimeError: no settings here"),
        ("def factory(:", "raised SyntaxError"),
        ("import sys; sys.exit()", "raised SystemExit"),
        ("import no_such_module", "cannot be imported: No module named 'no_such_module'"),
    ],
)
def test_a_module_whose_import_fails(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_subject.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_subject", raising=False)
    with pytest.raises(SettingsError, match=said) as caught:
        find_factory(parse_subject("python:broken_subject:factory"))
    assert str(tmp_path) in caught.value.looked_at


def test_what_lies_here_comes_before_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does during its import; afterwards it comes last."""
    (tmp_path / "wave.py").write_text("def factory(environ): ...")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    factory = find_factory(parse_subject("python:wave:factory"))
    del sys.modules["wave"]
    assert factory.__module__ == "wave"
    assert sys.path[-1] == str(tmp_path)


@pytest.mark.parametrize("at_the_end", [False, True])
def test_a_module_that_takes_its_folder_away(
    at_the_end: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may change the search path."""
    (tmp_path / "wave.py").write_text(
        "import sys; first = sys.path[0]\n"
        f"sys.path[:] = [entry for entry in sys.path if entry != {str(tmp_path)!r}]\n"
        "def factory(environ): ...\n"
    )
    monkeypatch.chdir(tmp_path)
    path = [entry for entry in sys.path if entry] + [str(tmp_path)] * at_the_end
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.delitem(sys.modules, "wave", raising=False)
    find_factory(parse_subject("python:wave:factory"))
    assert sys.modules.pop("wave").first == str(tmp_path)  # found first, not last
    assert sys.path[-1] == str(tmp_path)
