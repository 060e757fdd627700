from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.stack.conftest import servers
from vault_harness.errors import KeyringMissing, NotUp, OperatorError, StackError, named
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring

pytestmark = pytest.mark.slow  # each starts and ends a stack, mostly several times

BLUEPRINT = Blueprint.default()

KILLED = """
import os, signal
from vault_harness.settings import Settings
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.keyring import Keyring
def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)
{owner}.{method} = die
LocalStack(Settings.from_environment()).up()
"""

FULL = """
import resource, sys
from vault_harness.settings import Settings
from vault_harness.local.stack.local import LocalStack
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # no file can be written to any more
for line in getattr(LocalStack(Settings.from_environment()), sys.argv[1])():
    print(line)
"""


def killed_in(owner: str, method: str) -> None:
    code = KILLED.format(owner=owner, method=method)
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL


def on_a_full_disk(verb: str) -> str:
    """Run a verb in a process that cannot write to any file; return its output."""
    command = [sys.executable, "-c", FULL, verb]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def put(stack: LocalStack, value: str) -> None:
    operator = stack.operator()
    operator.request("POST", "sys/mounts/mine", type="kv", options={"version": "1"})
    operator.request("POST", "mine/x", value=value)
    operator.close()


def got(stack: LocalStack) -> str:
    operator = stack.operator()
    value = str(operator.request("GET", "mine/x")["data"]["value"])
    operator.close()
    return value


def litter(directory: Path) -> set[str]:
    """Make every kind of file that tasks leave in a data directory; return the names."""
    names = {
        *("init.json.restoring", "init.json.20251231-235959", ".init.json.a1b2c3d4"),
        *(".stack.json.zzzzzzzz", "operator-token", "root-attempt", "doctor-logins.json"),
        *("backend-role-id", ".backend-secret-id.a_b_c_d_"),
    }
    for name in names:
        (directory / name).write_text("of ours")
    for name in ("rotations", "migrations"):
        (directory / name).mkdir()
        (directory / name / "record.json").write_text("{}")
    return names | {"rotations", "migrations"}


def test_destroy_leaves_nothing_of_ours_and_all_of_others(stack: LocalStack) -> None:
    """As a dry run says."""
    stack.up()
    ours = litter(stack.data_dir) | {"init.json", "stack.json", "vault", "toxiproxy", ".gitignore"}
    others = {"notes.txt", "init.json-how-to.md", "backups"}
    (stack.data_dir / "notes.txt").write_text("mine")
    (stack.data_dir / "init.json-how-to.md").write_text("mine")
    (stack.data_dir / "backups").mkdir()
    (stack.data_dir / "backups" / "init.json.old").write_text("mine")

    planned = stack.destroy(dry=True)
    assert stack.status().state == "ready"
    assert {path.name for path in stack.data_dir.iterdir()} == ours | others | {"lock"}
    removed = stack.destroy()

    assert sorted(planned) == sorted(removed)
    assert {Path(line).name for line in removed if "pid" not in line} == ours
    assert {path.name for path in stack.data_dir.iterdir()} == others | {"lock"}
    assert (stack.data_dir / "backups" / "init.json.old").exists()
    assert servers(stack) == []


def test_down_and_destroy_work_on_a_full_disk(stack: LocalStack) -> None:
    stack.up()
    assert len(on_a_full_disk("down").splitlines()) == 2
    assert servers(stack) == []
    assert stack.status().state == "down"

    stack.up()
    assert str(stack.keyring_path) in on_a_full_disk("destroy")
    assert servers(stack) == []
    assert not stack.data_dir.exists()


def test_keys_without_their_vault_are_never_put_aside(stack: LocalStack) -> None:
    stack.up()
    put(stack, "needed")
    keys = stack.keyring_path.read_text()
    stack.down()
    moved = stack.data_dir.parent / "moved"
    (stack.data_dir / "vault").rename(moved)

    with pytest.raises(StackError, match="keys are here") as caught:
        stack.up()
    assert "destroy" not in caught.value.remedy
    assert servers(stack) == []
    assert stack.keyring_path.read_text() == keys
    assert not list(stack.data_dir.glob("init.json.*"))

    shutil.rmtree(stack.data_dir / "vault")
    moved.rename(stack.data_dir / "vault")
    stack.up()
    assert got(stack) == "needed"


def test_a_vault_that_a_person_initialised_is_left_alone(stack: LocalStack) -> None:
    """A person initialised it after a killed `up`."""
    killed_in("VaultAdmin", "init")
    assert (stack.data_dir / "init.started").exists()
    assert stack.status().state == "not initialised"
    address = stack.endpoints().vault
    operator = VaultAdmin(address)
    by_hand = operator.init()
    operator.unseal(by_hand, timeout=30)
    person = operator.with_token(by_hand.root_token)
    person.request("POST", "sys/mounts/mine", type="kv", options={"version": "1"})
    person.request("POST", "mine/x", value="a person's")

    with pytest.raises(KeyringMissing, match="somebody initialised it by hand") as caught:
        stack.up()

    assert "init.started" in caught.value.looked_at
    assert person.request("GET", "mine/x")["data"]["value"] == "a person's"
    by_hand.save(stack.keyring_path)
    stack.up()
    assert got(stack) == "a person's"
    assert not (stack.data_dir / "init.started").exists()
    for each in (operator, person):
        each.close()


@pytest.mark.slow
def test_killed_between_init_and_keyring(stack: LocalStack) -> None:
    """Only a person may know the keys, and `up` says what to do."""
    killed_in("Keyring", "save")
    assert not stack.keyring_path.exists()

    with pytest.raises(KeyringMissing, match="an up that was ended half-way") as caught:
        stack.up()
    assert "If nobody ever had them" in caught.value.remedy

    stack.down()
    data = stack.data_dir / "vault" / "data"
    assert f"give the folder {data} another name" in caught.value.remedy
    data.rename(data.with_name("put aside"))
    stack.up()
    assert stack.status().state == "ready"
    assert not (stack.data_dir / "init.started").exists()


def test_an_init_that_failed_leaves_no_doubt(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused init loses no keys, so no marker of lost keys is left."""

    def refuse(self: VaultAdmin, shares: int = 5, threshold: int = 3) -> Keyring:
        raise OperatorError("cannot initialise: no")

    with monkeypatch.context() as patched:
        patched.setattr(VaultAdmin, "init", refuse)
        with pytest.raises(OperatorError, match="cannot initialise"):
            stack.up()
    assert not (stack.data_dir / "init.started").exists()

    stack.up()
    assert stack.status().state == "ready"


def test_keys_that_cannot_be_written_are_no_loss(
    stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Keyring, path: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Keyring, "save", full)
        with pytest.raises(StackError, match="could not be written: No space left"):
            stack.up()
    assert servers(stack) == []

    stack.up()
    assert stack.status().state == "ready"


def test_a_broken_keyring_is_kept(stack: LocalStack) -> None:
    """It may hold keys, and the remedy does not lead back to it."""
    stack.up()
    right = stack.keyring_path.read_text()
    stack.restart()
    stack.keyring_path.write_text(right[:-20])

    for verb in (stack.up, stack.unseal):
        with pytest.raises(StackError, match="is not a keyring") as caught:
            verb()
        assert "restore.keys" in caught.value.remedy
    assert stack.keyring_path.read_text() == right[:-20]
    status = stack.status()
    assert (status.state, status.keyring) == ("sealed", False)
    assert status.keyring_trouble == "init.json is not a keyring"

    stack.keyring_path.write_text(right)
    stack.unseal()
    assert stack.status().state == "ready"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_folder_that_is_put_back_while_vault_runs(stack: LocalStack, tmp_path: Path) -> None:
    """An old copy of a running Vault's folder is reported, and newer writes can be kept."""
    stack.up()
    put(stack, "of the copy")
    stack.down()
    shutil.copytree(stack.data_dir, tmp_path / "copy")
    stack.up()
    operator = stack.operator()
    operator.request("POST", "mine/x", value="written since")
    operator.close()
    assert stack.status().replaced == ()

    shutil.rmtree(stack.data_dir / "vault")
    shutil.copytree(tmp_path / "copy" / "vault", stack.data_dir / "vault")

    status = stack.status()
    assert status.replaced == ("vault",)
    assert status.next_step.startswith(f"{named('backup')}, or what it holds is lost")
    for verb in (stack.up, stack.restart):
        with pytest.raises(StackError, match="other data than is in its folder") as caught:
            verb()
        assert "destroy" not in str(caught.value)
    assert got(stack) == "written since", "it can still be read, and backed up"
    stack.down()
    stack.up()
    assert got(stack) == "of the copy"
    assert stack.status().replaced == ()


def test_an_open_vault_without_keyring_is_still_of_use(stack: LocalStack) -> None:
    stack.up()
    put(stack, "needed")
    token = Keyring.load(stack.keyring_path).root_token
    stack.keyring_path.unlink()
    with pytest.raises(KeyringMissing) as caught:
        stack.operator()
    assert "destroy" not in str(caught.value)

    (stack.data_dir / "operator-token").write_text(token)
    assert got(stack) == "needed"


def test_another_engine_is_refused_while_one_runs(stack: LocalStack) -> None:
    stack.up()
    put(stack, "needed")
    before = {path.name for path in stack.data_dir.iterdir()}
    other = LocalStack(stack.settings.model_copy(update={"engine": "docker"}))

    for verb in (other.up, other.down, other.destroy, other.unseal, other.restart):
        with pytest.raises(StackError, match="the process engine runs the stack here") as caught:
            verb()
        assert "destroy" not in caught.value.remedy

    assert {path.name for path in stack.data_dir.iterdir()} == before
    assert other.status().state == "ready", "looking is allowed"
    assert got(stack) == "needed"
    automatic = LocalStack(stack.settings.model_copy(update={"engine": "auto"}))
    (stack.data_dir / "stack.json").unlink()
    assert automatic.provider().name == "process", "known by what runs, without a record too"


def test_another_engine_uses_data_and_keys_after_down(stack: LocalStack) -> None:
    stack.up()
    keys = stack.keyring_path.read_text()
    stack.down()

    other = LocalStack(stack.settings.model_copy(update={"engine": "docker"}))
    assert other.provider().name == "docker"
    assert stack.keyring_path.read_text() == keys
    stack.destroy()
    assert other.provider().name == "docker"


def test_a_lost_record_is_found_again(stack: LocalStack) -> None:
    stack.up()
    put(stack, "needed")
    (stack.data_dir / "stack.json").unlink()

    status = stack.status()
    assert (status.state, status.data) == ("forgotten", True)
    assert status.next_step.endswith("up")
    with pytest.raises(NotUp):
        stack.endpoints()
    stack.up()

    assert got(stack) == "needed"
    assert len(servers(stack)) == 2


def test_servers_outlive_their_data_directory(stack: LocalStack) -> None:
    """`up` starts nothing new over its servers; moved back, the folder is ready."""
    stack.up()
    put(stack, "needed")
    moved = stack.data_dir.rename(stack.data_dir.parent / "moved")

    status = stack.status()
    assert (status.state, status.data) == ("forgotten", False)
    assert "put the data directory back" in status.next_step
    with pytest.raises(StackError, match="Vault runs, and its data directory is gone"):
        stack.up()
    assert not stack.data_dir.exists()
    assert len(servers(stack)) == 2

    moved.rename(stack.data_dir)
    assert stack.status().state == "ready"
    assert got(stack) == "needed"
    stack.data_dir.rename(moved)
    assert len(stack.down()) == 2
    assert servers(stack) == []


def test_a_clock_that_was_set_makes_strangers_of_no_servers(stack: LocalStack) -> None:
    stack.up()
    put(stack, "needed")
    before = {process.pid for process in servers(stack)}
    record = StackRecord.load(stack.data_dir)
    for service in record.services.values():
        service["born"] -= 3600
    record.save(stack.data_dir)

    assert stack.status().state == "ready"
    stack.up()

    assert {process.pid for process in servers(stack)} == before
    assert got(stack) == "needed"
    assert len(stack.down()) == 2
    assert servers(stack) == []


def test_a_copy_of_the_folder_has_no_part_in_the_servers(stack: LocalStack) -> None:
    stack.up()
    put(stack, "needed")
    before = {process.pid for process in servers(stack)}
    copied = shutil.copytree(stack.data_dir, stack.data_dir.parent / "copied")
    copy = LocalStack(stack.settings.model_copy(update={"data_dir": copied}))

    assert copy.status().state == "down"
    for _ in range(2):
        with pytest.raises(StackError, match="is a copy of another one, whose servers") as caught:
            copy.up()
        assert str(stack.data_dir / "vault" / "vault.json") in caught.value.looked_at
        assert copy.down() == []
    assert {process.pid for process in servers(stack)} == before
    assert got(stack) == "needed"

    stack.down()
    try:
        copy.up()
        assert got(copy) == "needed"
    finally:
        copy.destroy()
    assert not copied.exists()
    stack.up()
    assert got(stack) == "needed"


def test_a_stack_of_version_0_1_goes_on(stack: LocalStack) -> None:
    """A record and keyring without format numbers keep their servers and secrets."""
    endpoints = stack.up()
    put(stack, "needed")
    path = stack.data_dir / "stack.json"
    content = json.loads(path.read_text())
    (node,) = content.pop("nodes")
    del content["format"]
    content["endpoints"] = {
        "vault": node["address"],
        "toxiproxy": content.pop("toxiproxy"),
        "proxy": node["proxy"],
        "proxy_listen": node["proxy_listen"],
        "proxy_upstream": node["upstream"],
    }
    path.write_text(json.dumps(content))
    keys = json.loads(stack.keyring_path.read_text())
    del keys["format"]
    stack.keyring_path.write_text(json.dumps(keys))
    running = {process.pid for process in servers(stack)}

    assert stack.status().state == "ready"
    assert stack.up() == endpoints

    assert {process.pid for process in servers(stack)} == running
    assert got(stack) == "needed"
    assert StackRecord.load(stack.data_dir).endpoints == endpoints
