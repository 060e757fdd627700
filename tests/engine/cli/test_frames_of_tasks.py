"""Every task on a real stack in a bad state: no secret is shown or kept, and a remedy is given."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Checkout
from tests.walking import places
from vault_harness.cli.tasks import run
from vault_harness.local.vault.keyring import Keyring

pytestmark = pytest.mark.slow  # each state runs all tasks on a stack of its own

VALUE = "value-of-the-file-4711"
PASSPHRASE = "passphrase-of-a-backup-4711"

TASKS = {
    "seed": "--overwrite --yes",
    "env": "backend",
    "env of nobody": "",
    "unlock": "backend",
    "rotate.secret-id": "backend",
    "rotate.secrets": "database",
    "rotate.rollback": "jwt",
    "migrate": "ENV",
    "backup.now": "",
    "backup.keys": "--to FILE",
    "backup.verify": "--source NONE",
    "backup.list": "",
    "backup.identity": "FILE",
    "save": "mine --recipient age1nonsense",
    "load": "mine --identity FILE",
    "restore.now": "--overwrite",
    "restore.keys": "",
    "root.generate": "",
    "root.revoke": "--yes",
    "audit.show": "",
    "audit.report": "",
    "logs": "audit --tail 5",
    "doctor": "",
    "vault": "-- kv list ecommerce/",
    "watch": "--once",
    "break.revoke": "backend",
    "break.fail": "read --nth 100",
    "break.delay": "renew 1s",
    "break.lose-answer": "write",
    "break.latency": "",
    "try": "true",
    "break.seal": "1s",
    "unseal": "",
    "status": "",
    "tls.renew": "",
    "tls.renew by another authority": "--ca",
    "services.up": "",
    "services.status": "",
    "services.down": "",
    "node.kill": "vault-2",
    "node.cut": "vault-2",
    "node.join": "vault-2",
    "node.start": "vault-2",
    "node.step-down": "",
    "node.add": "",
    "node.remove": "vault-2",
    "drill": "",
    "seal": "",
    "seal.migrate": "static",
    "restart": "",
    "down": "",
    "up": "",
}
"""In order: the tasks that end the stack come last."""


def words(task: str, folder: Path) -> list[str]:
    name = task.partition(" ")[0]
    named = {"ENV": "ENV", "FILE": "FILE", "NONE": "no-such-folder"}
    given = [str(folder / named[w]) if w in named else w for w in TASKS[task].split()]
    return [name, *(["nobody"] if task == "env of nobody" else []), *given]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    opened = Checkout(tmp_path_factory.mktemp("with keys"))
    opened.run("up", "--client-certs")
    opened.run("seed")
    yield opened
    opened.run("destroy", "--yes")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A dotenv file, and a file in place of a folder."""
    (tmp_path / "ENV").write_text(f"SECRET_KEY={VALUE}\nDB_PASSWORD={VALUE}\n")
    (tmp_path / "FILE").write_text("no folder\n")
    return tmp_path


@pytest.fixture
def secrets(checkout: Checkout) -> set[str]:
    keyring = Keyring.load(checkout.data_dir / "init.json")
    found = {*keyring.keys, keyring.root_token, VALUE, PASSPHRASE, "PRIVATE KEY-----"}
    found |= {path.read_text().strip() for path in checkout.data_dir.glob("*-secret-id")}
    django = checkout.value("backend/django")
    assert isinstance(django, dict)
    found |= {str(value) for value in django["data"].values()}
    return {secret for secret in found if len(secret) > 6}


@pytest.fixture(params=["sealed", "cut", "keyring broken", "wrong keys", "dead token"])
def state(request: pytest.FixtureRequest, checkout: Checkout, secrets: set[str]) -> Iterator[str]:
    keyring = checkout.data_dir / "init.json"
    whole = keyring.read_text()
    told = json.loads(whole)
    match request.param:
        case "sealed":
            checkout.run("seal")
        case "cut":
            checkout.run("break.cut")
        case "keyring broken":
            keyring.write_text(whole[: len(whole) // 2])
        case "wrong keys":
            checkout.run("seal")
            keyring.write_text(json.dumps(told | {"unseal_keys_b64": told["unseal_keys_b64"][::2]}))
        case "dead token":
            told["root_token"] = "s.dead-token-4711-of-nobody"
            secrets.add(told["root_token"])
            keyring.write_text(json.dumps(told))
    yield request.param
    keyring.write_text(whole)
    checkout.run("up")
    checkout.run("heal")


def test_a_task_that_ends_holds_no_secret_and_gives_a_remedy(
    state: str,
    checkout: Checkout,
    secrets: set[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def no_program(program: str, *_: object) -> None:
        raise PermissionError(13, "Permission denied", program)

    monkeypatch.setattr(os, "execve", no_program)
    monkeypatch.setattr(sys, "stdin", (folder / "ENV").open())
    monkeypatch.setenv("HARNESS_BACKUP_PASSPHRASE", PASSPHRASE)
    for name, value in checkout.environment.items():
        if name.startswith("HARNESS_"):
            monkeypatch.setenv(name, value)
    ended = {}
    for task in TASKS:
        line = words(task, folder)
        monkeypatch.setattr(sys, "argv", ["vault-harness", *line])
        code: object = 0
        try:
            run(line)
        except SystemExit as ending:
            code = ending.code
            ended[task] = places(ending, secrets, of=__file__)
        printed = "".join(capsys.readouterr())
        assert "Traceback" not in printed, task
        assert code in {0, 1} or "what to do: " in printed, (task, printed)
        if task != "env":
            assert [one for one in secrets if one in printed] == [], task
    sys.stdin.close()
    assert {task: found for task, found in ended.items() if found} == {}
    assert len(ended) >= 6, ended
