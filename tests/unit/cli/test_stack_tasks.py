"""The tasks of the stack, on a stack that is made up."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
from invoke.context import Context

from tests.unit.cli.conftest import LOCAL_STACK, Program
from tests.unit.cli.test_next_steps import READY
from vault_harness import waiting
from vault_harness.cli import stack as stack_module
from vault_harness.errors import Busy, KeyringMissing, NotUp, SettingsError, StackError
from vault_harness.interrupts import Ended, until_ctrl_c
from vault_harness.local.stack.opening import Unsealed
from vault_harness.local.stack.record import StackRecord
from vault_harness.operator import audit
from vault_harness.settings import Settings, resources


def _of(done: Unsealed) -> Any:
    return SimpleNamespace(
        migrations=SimpleNamespace(pending=lambda: None), unseal=lambda: done, data_dir="vault-data"
    )


@pytest.mark.parametrize(
    ("done", "says"),
    [
        (Unsealed(opened=("vault",)), "Vault is unsealed"),
        (Unsealed(before=("vault",)), "Vault is unsealed"),
        (
            Unsealed(opened=("vault", "vault-2"), before=("vault-3",)),
            "Vault is unsealed: opened vault, vault-2; vault-3 served before",
        ),
        (
            Unsealed(before=("vault", "vault-2")),
            "Vault is unsealed: none was sealed; vault, vault-2 served before",
        ),
    ],
)
def test_which_were_opened(
    done: Unsealed, says: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single node is called Vault."""
    monkeypatch.setattr(LOCAL_STACK, lambda _: _of(done))
    ended = program("unseal")
    assert (ended.code, ended.out) == (0, f"{says}\n")


def test_which_did_not_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still be sealed."""
    done = Unsealed(opened=("vault",), silent=("vault-2", "vault-3"))
    monkeypatch.setattr(LOCAL_STACK, lambda _: _of(done))
    ended = program("unseal")
    assert ended.code == StackError.exit_code
    assert ended.out == "Vault is unsealed: opened vault\n"
    assert "vault-2 and vault-3 did not answer" in ended.err
    assert "./dev up" in ended.err


def _broken_stack(undone: list[str], *, sealed: bool, unseal: Callable[[], Unsealed]) -> Any:
    status = SimpleNamespace(sealed=sealed, nodes=())
    return SimpleNamespace(
        heal=lambda: list(undone), status=lambda: status, unseal=unseal, data_dir="vault-data"
    )


def _no_keys() -> Unsealed:
    raise KeyringMissing("no keys", looked_at="init.json", remedy="restore.keys")


def _opened() -> Unsealed:
    return Unsealed(opened=("vault",))


@pytest.mark.parametrize("undone", [["removed toxic by-hand"], []], ids=["a toxic", "nothing"])
def test_keys_are_not_here(
    undone: list[str], program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LOCAL_STACK, lambda _: _broken_stack(undone, sealed=True, unseal=_no_keys))
    ended = program("heal")
    assert ended.code == KeyringMissing.exit_code
    assert ended.out.splitlines() == undone
    assert "no keys" in ended.err


@pytest.mark.parametrize(
    ("undone", "sealed", "says"),
    [
        ([], False, ["nothing was broken"]),
        ([], True, ["unsealed Vault"]),
        (["one", "two"], False, ["one", "two"]),
        (["one", "two"], True, ["one", "two", "unsealed Vault"]),
    ],
)
def test_all_of_it(
    undone: list[str],
    sealed: bool,
    says: list[str],
    program: Program,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LOCAL_STACK, lambda _: _broken_stack(undone, sealed=sealed, unseal=_opened))
    assert program("heal").out.splitlines() == says


def test_a_node_that_did_not_answer(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may still be sealed."""

    def unseal() -> Unsealed:
        return Unsealed(opened=("vault",), before=("vault-2",), silent=("vault-3",))

    monkeypatch.setattr(LOCAL_STACK, lambda _: _broken_stack([], sealed=True, unseal=unseal))
    ended = program("heal")
    assert ended.code == StackError.exit_code
    assert "vault-3 did not answer" in ended.err


def stack_that_starts(names: list[str], before: list[str]) -> Any:
    """Its `up` is interrupted once these servers run."""
    running = list(before)

    def up(**_options: object) -> None:
        running[:] = names
        raise KeyboardInterrupt

    def describe() -> list[SimpleNamespace]:
        return [SimpleNamespace(name=name, running=True) for name in running]

    provider = SimpleNamespace(describe=describe)
    return SimpleNamespace(
        up=up,
        provider=lambda: provider,
        migrations=SimpleNamespace(pending=lambda: None),
        status=None,
    )


@pytest.mark.parametrize(
    ("names", "before", "says"),
    [
        (["vault"], [], "its servers run on, and Vault may be sealed: invoke up goes on"),
        ([], [], "nothing is half-written"),
        (["vault"], ["vault"], "nothing is half-written"),
    ],
    ids=["begun", "none", "all ran before"],
)
def test_servers_that_still_run_are_named(
    names: list[str],
    before: list[str],
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A person may think that they ended."""
    monkeypatch.setattr(LOCAL_STACK, lambda _: stack_that_starts(names, before))

    with pytest.raises(SystemExit) as ended:
        stack_module.up(Context())

    assert ended.value.code == 130
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (None, ""),
        ("http://localhost:8201", ""),
        ("http://127.0.0.1:8200/", ""),
        ("https://me:secret@vault.example.com", "https://vault.example.com"),
        ("https://127.0.0.1:8201", "https://127.0.0.1:8201"),
    ],
)
def test_clients_of_the_shell(
    address: str | None, told: str, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    if address is None:
        monkeypatch.delenv("VAULT_ADDR", raising=False)
    else:
        monkeypatch.setenv("VAULT_ADDR", address)
    stack = SimpleNamespace(status=lambda: READY, settings=Settings.from_environment())
    monkeypatch.setattr(LOCAL_STACK, lambda _: stack)
    ended = program("status")
    assert (ended.code, "secret" in ended.out) == (0, False)
    lines = [line for line in ended.out.splitlines() if "clients in this shell" in line]
    assert lines == (
        [f"clients in this shell go to {told}, not here: unset VAULT_ADDR"] * bool(told)
    )


def test_a_localhost_that_is_ipv6_alone(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """All servers listen on 127.0.0.1."""

    def getaddrinfo(host: str, *_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, f"{host} has no such address")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setenv("VAULT_ADDR", "http://localhost:8201")
    stack = SimpleNamespace(status=lambda: READY, settings=Settings.from_environment())
    monkeypatch.setattr(LOCAL_STACK, lambda _: stack)
    assert "clients in this shell go to http://localhost:8201" in program("status").out


def test_a_task_that_waits_for_another(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program may read stdout."""
    monkeypatch.setenv("HARNESS_LOCK_TIMEOUT", "1")
    monkeypatch.setattr(waiting, "PATIENT_SECONDS", 0.1)
    data_dir = tmp_path / "vault-data"
    data_dir.mkdir(mode=0o700)
    with (data_dir / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        ended = program("down")
    assert (ended.code, ended.out) == (Busy.exit_code, "")
    assert ended.err.startswith("waiting for another task that holds the stack, 1 s at most")


@pytest.mark.parametrize("seal", ["shamir", "transit"])
def test_a_dry_run_is_refused_like_the_real_run(
    seal: str, program: Program, tmp_path: Path
) -> None:
    dry = program("seal.migrate", seal, "--dry-run")
    assert list(tmp_path.iterdir()) == []
    real = program("seal.migrate", seal)
    assert dry == real
    assert (dry.code, dry.out) == (NotUp.exit_code, "")
    assert "  what to do: ./dev up" in dry.err


@pytest.mark.parametrize(
    "words",
    [("seal",), ("restart",), ("unseal",), ("seal.migrate", "static"), ("node.kill", "vault-2")],
    ids=" ".join,
)
def test_a_task_that_is_refused_makes_nothing(
    words: tuple[str, ...], program: Program, tmp_path: Path
) -> None:
    assert program(*words).code
    assert list(tmp_path.iterdir()) == []


def test_the_blueprint_that_was_applied_last_is_gone(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package's own blueprint may move with it."""
    data_dir = tmp_path / "vault-data"
    StackRecord(engine="process", blueprint=str(tmp_path / "shop.toml")).save(data_dir)
    for words in (("seed",), ("seed", "--dry-run")):
        ended = program(*words)
        assert ended.code == SettingsError.exit_code
        assert str(tmp_path / "shop.toml") in ended.err
        assert "seed --blueprint FILE" in ended.err
    chosen = ("seed", "--blueprint", str(resources() / "blueprints" / "ecommerce.toml"))
    assert program(*chosen).code == NotUp.exit_code
    monkeypatch.setenv("HARNESS_BLUEPRINT", chosen[-1])
    assert program("seed").code == NotUp.exit_code
    monkeypatch.delenv("HARNESS_BLUEPRINT")
    StackRecord(engine="process", blueprint="/of/before/ecommerce.toml").save(data_dir)
    assert program("seed").code == NotUp.exit_code


@pytest.mark.parametrize(("words", "code"), [(("--follow",), 0), ((), 130)])
def test_ctrl_c_ends_following_with_exit_code_0(
    words: tuple[str, ...], code: int, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def logs(*_: object, **__: object) -> Iterator[str]:
        yield "a line"
        raise KeyboardInterrupt

    stack = SimpleNamespace(log_names=lambda: ["vault"], logs=logs)
    monkeypatch.setattr(LOCAL_STACK, lambda _: stack)
    ended = program("logs", *words)
    assert (ended.code, ended.out) == (code, "a line\n")
    assert ("interrupted" in ended.err) == bool(code)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    request = {"operation": "read", "path": "ecommerce/data/backend/django"}
    line = {"type": "response", "time": "2026-01-01T00:00:00Z", "request": request}
    path = tmp_path / "audit.log"
    path.write_text(f"{json.dumps(line)}\n" * 2)
    return path


@pytest.mark.parametrize(("words", "entries"), [((), 2), (("--lines", "1"), 1)])
def test_audit_ends(words: tuple[str, ...], entries: int, log: Path, program: Program) -> None:
    """`audit | tail` needs an end."""
    ended = program("audit", "--file", str(log), *words)
    assert (ended.code, ended.out.count("backend/django")) == (0, entries)


def test_audit_goes_on_where_it_is_asked_to(
    log: Path, program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> Iterator[object]:
        yield "an entry"
        raise KeyboardInterrupt

    monkeypatch.setattr(audit, "follow_joined", interrupted)
    ended = program("audit", "--file", str(log), "--follow")
    assert (ended.code, ended.out) == (0, "an entry\n")


def test_a_closed_terminal_ends_the_task() -> None:
    with pytest.raises(Ended), until_ctrl_c():
        raise Ended(signal.SIGHUP)
