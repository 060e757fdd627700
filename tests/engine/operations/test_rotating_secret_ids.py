from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import OperatorError, named
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.written_ahead import WrittenAhead
from vault_harness.operator.rotate import plan_secret_id, rotate_secret_id
from vault_harness.waiting import wait_until

ROLE = "backend"


def log_in(op: VaultAdmin, directory: Path) -> str:
    role_file, secret_file = approle.credential_files(ROLE, directory)
    with op.asking("log in") as client:
        answer = client.auth.approle.login(
            role_file.read_text(), secret_file.read_text(), use_token=False
        )
    return str(answer["auth"]["client_token"])


def good(op: VaultAdmin, secret_id: str) -> bool:
    return approle.lookup(op, ROLE, secret_id) is not None


def test_the_old_one_ends_and_the_new_one_works(stack: Stack, tmp_path: Path) -> None:
    op = stack.operator
    approle.write_credentials(op, ROLE, tmp_path)
    _, file = approle.credential_files(ROLE, tmp_path)
    old, token = file.read_text(), log_in(op, tmp_path)
    plan = plan_secret_id(op, ROLE, tmp_path)
    result = rotate_secret_id(op, ROLE, tmp_path)
    assert result.destroyed == (plan.old,)
    assert file.read_text() != old
    assert not good(op, old)
    assert log_in(op, tmp_path)
    assert op.with_token(token).request("GET", "auth/token/lookup-self")["data"]
    assert approle.accessors(op, ROLE) == [result.accessor]


def test_a_role_that_is_not_there_has_nothing_new(stack: Stack, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="there is no AppRole nope") as refusal:
        rotate_secret_id(stack.operator, "nope", tmp_path)
    assert "may have" not in str(refusal.value)
    assert not (tmp_path / "rotations").exists()


def test_vault_takes_a_role_in_any_case(stack: Stack, tmp_path: Path) -> None:
    """A role in another case uses its lower-case files, and the old secret-id ends."""
    approle.write_credentials(stack.operator, ROLE, tmp_path)
    _, file = approle.credential_files(ROLE, tmp_path)
    old = file.read_text()
    plan = plan_secret_id(stack.operator, ROLE.title(), tmp_path)
    result = rotate_secret_id(stack.operator, ROLE.title(), tmp_path)
    assert result.destroyed == (plan.old,)
    assert (plan.file, result.file) == (file, file)
    assert file.read_text() != old
    assert not good(stack.operator, old)


def test_other_secret_ids_of_the_role_stay(stack: Stack, tmp_path: Path) -> None:
    approle.write_credentials(stack.operator, ROLE, tmp_path)
    elsewhere = approle.new_secret_id(stack.operator, ROLE)
    rotate_secret_id(stack.operator, ROLE, tmp_path)
    assert good(stack.operator, elsewhere.secret_id)


def test_without_files_they_are_written(stack: Stack, tmp_path: Path) -> None:
    assert rotate_secret_id(stack.operator, ROLE, tmp_path).destroyed == ()
    assert log_in(stack.operator, tmp_path)


def test_a_login_that_fails_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    op = stack.operator
    approle.write_credentials(op, ROLE, tmp_path)
    role_file, file = approle.credential_files(ROLE, tmp_path)
    old = file.read_text()
    for _ in range(6):
        with pytest.raises(OperatorError), op.asking("log in") as client:
            client.auth.approle.login(role_file.read_text(), "wrong", use_token=False)
    with pytest.raises(OperatorError, match="log in as backend"):
        rotate_secret_id(op, ROLE, tmp_path)
    assert file.read_text() == old
    assert good(op, old)
    assert len(approle.accessors(op, ROLE)) == 1
    approle.unlock(op, role_file.read_text())
    assert rotate_secret_id(op, ROLE, tmp_path).destroyed


def test_a_secret_id_of_one_use_is_not_used_up(stack: Stack, tmp_path: Path) -> None:
    stack.operator.request("POST", f"auth/approle/role/{ROLE}", secret_id_num_uses=1)
    rotate_secret_id(stack.operator, ROLE, tmp_path)
    assert log_in(stack.operator, tmp_path)


def test_killed_after_any_step_the_next_run_finishes(
    stack: Stack, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    """After each kill the file logs in; the next run leaves one secret-id.

    The next run names in advance what it ends of the run before.
    """
    op = stack.operator
    arguments = {
        "address": op.address,
        "token": stack.keyring.root_token,
        "role": ROLE,
        "directory": str(tmp_path),
    }
    approle.write_credentials(op, ROLE, tmp_path)
    step, ended = 1, killable("secret_id", 1, **arguments)
    while ended.killed:
        assert log_in(op, tmp_path)
        plan = plan_secret_id(op, ROLE, tmp_path)
        finished = rotate_secret_id(op, ROLE, tmp_path)
        assert {*finished.destroyed} == {*plan.left, plan.old} - {None}
        assert finished.resumed is plan.resumes
        assert plan.others == ()
        assert log_in(op, tmp_path)
        assert len(approle.accessors(op, ROLE)) == 1
        step += 1
        ended = killable("secret_id", step, **arguments)
    assert ended.error is None
    assert step > 4


def test_clients_that_log_in_all_the_time_miss_nothing(stack: Stack, tmp_path: Path) -> None:
    """Clients that read the files at each login never fail in five rotations.

    They read the file again if their id was destroyed meanwhile, as a client should.
    """
    approle.write_credentials(stack.operator, ROLE, tmp_path)
    done, failures, logins = threading.Event(), [], [0]

    def client() -> None:
        own = VaultAdmin(stack.node.address)
        while not done.is_set():
            try:
                try:
                    log_in(own, tmp_path)
                except OperatorError:
                    log_in(own, tmp_path)
                logins[0] += 1
            except OperatorError as error:
                failures.append(error)
        own.close()

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            rotate_secret_id(stack.operator, ROLE, tmp_path)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert logins[0] > 5


def test_a_locked_role_is_called_locked(stack: Stack, tmp_path: Path) -> None:
    role_id = approle.role_id(stack.operator, ROLE)
    for _ in range(6):
        with pytest.raises(OperatorError), stack.operator.asking("log in") as client:
            client.auth.approle.login(role_id, "wrong", use_token=False)
    with pytest.raises(OperatorError, match="locked after five bad secret-ids") as refusal:
        rotate_secret_id(stack.operator, ROLE, tmp_path)
    assert named("unlock", ROLE) in refusal.value.remedy


def test_in_the_grace_period_both_ids_log_in(stack: Stack, tmp_path: Path) -> None:
    op = stack.operator
    approle.write_credentials(op, ROLE, tmp_path)
    _, file = approle.credential_files(ROLE, tmp_path)
    old = file.read_text()
    ending = threading.Thread(
        target=rotate_secret_id,
        args=(op.with_token(str(op.client.token)), ROLE, tmp_path),
        kwargs={"grace": 2.0},
    )
    ending.start()
    wait_until(lambda: file.read_text() != old, "the file to be replaced", timeout=10)
    assert good(op, old)
    assert good(op, file.read_text())
    ending.join()
    assert not good(op, old)


def test_grace_that_was_cut_short_goes_on_in_the_next_run(
    stack: Stack, tmp_path: Path, killable: Callable[..., Any]
) -> None:
    """The next run ends the old id and makes no third one."""
    op = stack.operator
    approle.write_credentials(op, ROLE, tmp_path)
    _, file = approle.credential_files(ROLE, tmp_path)
    old = file.read_text()
    arguments = {"address": op.address, "token": op.client.token, "role": ROLE}
    steps = killable("secret_id", 4, **arguments, directory=str(tmp_path)).steps
    assert steps[-1] == "replaced the file"
    new = file.read_text()
    assert good(op, old)
    assert rotate_secret_id(op, ROLE, tmp_path).resumed
    assert file.read_text() == new
    assert not good(op, old)


def test_all_others_end_when_asked(stack: Stack, tmp_path: Path) -> None:
    op = stack.operator
    approle.write_credentials(op, ROLE, tmp_path)
    lost = approle.new_secret_id(op, ROLE)
    assert lost.accessor in plan_secret_id(op, ROLE, tmp_path).others
    result = rotate_secret_id(op, ROLE, tmp_path, end_others=True)
    assert not good(op, lost.secret_id)
    assert approle.accessors(op, ROLE) == [result.accessor]


def test_a_run_that_was_ended_hands_the_new_one_on_first(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    op = stack.operator
    approle.write_credentials(op, ROLE, tmp_path)
    _, file = approle.credential_files(ROLE, tmp_path)
    old, write = file.read_text(), WrittenAhead.write

    def ended_once_the_file_is_there(record: WrittenAhead[Any], content: Any) -> None:
        if file.read_text() != old:
            raise KeyboardInterrupt
        write(record, content)

    with monkeypatch.context() as patched:
        patched.setattr(WrittenAhead, "write", ended_once_the_file_is_there)
        with pytest.raises(KeyboardInterrupt):
            rotate_secret_id(op, ROLE, tmp_path)
    handed_on: list[tuple[bool, bool]] = []

    def hand_on(_step: str) -> None:
        handed_on.append((good(op, old), good(op, file.read_text())))

    assert rotate_secret_id(op, ROLE, tmp_path, checkpoint=hand_on).resumed
    assert handed_on[0] == (True, True)
    assert handed_on[-1] == (False, True)
