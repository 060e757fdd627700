from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from vault_harness.local.vault.keyring import unfinished_keyring
from vault_harness.operator.backup import Lock, new_identity, write_backup
from vault_harness.operator.backup.saves import PART
from vault_harness.waiting import wait_until

pytestmark = [
    pytest.mark.slow,  # each test starts stacks
    pytest.mark.xdist_group("saving"),  # they share a stack
]

Checkout = Any  # of conftest.py
PRIVATE, PUBLIC = new_identity()


@pytest.fixture(scope="module")
def saved(checkout: Checkout) -> dict[str, Any]:
    (checkout.data_dir.parent / "key").write_text(PRIVATE)
    checkout.run("vault", "kv", "put", "ecommerce/backend/mine", "A=on my machine")
    said = checkout.run("save", "mine", "--recipient", PUBLIC)
    assert "locked with 1 public key(s)" in said
    return {
        "value": checkout.value("backend/mine")["data"],
        "ids": {path.name: path.read_text() for path in checkout.data_dir.glob("*-id")},
    }


@pytest.fixture
def another(checkout: Checkout, tmp_path: Path) -> Iterator[Checkout]:
    """A folder without a stack; the saves are the first one's."""
    opened = type(checkout)(tmp_path)
    yield opened
    opened.run("destroy", "--yes")


def loading(checkout: Checkout) -> list[str]:
    place = checkout.data_dir.parent
    return ["load", "mine", "--to", str(place / "vault-saves"), "--identity", str(place / "key")]


def test_a_stack_comes_back_elsewhere(
    checkout: Checkout, saved: dict[str, Any], another: Checkout
) -> None:
    said = another.run(*loading(checkout))
    assert "different" not in said
    assert another.value("backend/mine")["data"] == saved["value"]
    assert {p.name: p.read_text() for p in another.data_dir.glob("*-id")} == saved["ids"]
    assert another.login()
    assert "seeded" in another.run("status")
    assert "0 created, 0 changed" in another.run("seed")


def test_what_is_there_is_replaced_only_when_told(
    checkout: Checkout, saved: dict[str, Any]
) -> None:
    """A refusal names what would go; with --overwrite a snapshot of it is kept."""
    checkout.run("vault", "kv", "put", "ecommerce/backend/mine", "A=newer")
    said = checkout.run(*loading(checkout), code=5)
    assert "mount ecommerce/" in said
    assert "--overwrite" in said
    assert checkout.value("backend/mine")["data"] == {"A": "newer"}
    said = checkout.run(*loading(checkout), "--overwrite")
    assert "what was here before, as a raft snapshot" in said
    assert checkout.value("backend/mine")["data"] == saved["value"]
    assert checkout.login()


@pytest.mark.parametrize("moment", ["begun", "half-way"])
def test_a_killed_load_is_gone_on_with(
    checkout: Checkout, saved: dict[str, Any], another: Checkout, moment: str
) -> None:
    """Whether `load` was killed at its start or in the restore, the same command ends it."""
    note = unfinished_keyring(another.data_dir / "init.json")
    task = subprocess.Popen(
        [sys.executable, "-m", "vault_harness", *loading(checkout)],
        env={**another.environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert task.stdout is not None
    assert "opens and is whole" in task.stdout.readline()
    if moment == "half-way":
        wait_until(note.exists, "the restore to begin", timeout=60)
    task.kill()
    task.communicate(timeout=60)
    another.run(*loading(checkout))
    assert another.value("backend/mine")["data"] == saved["value"]
    assert another.login()
    assert not note.exists()


def test_a_name_is_not_given_twice(checkout: Checkout, saved: dict[str, Any]) -> None:
    assert saved
    assert "choose another name" in checkout.run("save", "mine", "--recipient", PUBLIC, code=4)
    assert "name one of mine" in checkout.run("load", "yours", code=4)
    assert "is no name of a save" in checkout.run("load", "../mine", code=4)


def test_no_save_writes_outside_the_folder(checkout: Checkout, saved: dict[str, Any]) -> None:
    assert saved
    place = checkout.data_dir.parent / "vault-saves"
    shape = (
        b'{"seal":"shamir","nodes":1,"tls":false,"client_certs":false,"seeded":"",'
        b'"blueprint":"","files":{"adopted/../../x-role-id":"evil"}}'
    )
    write_backup(
        *(place, "evil", Lock(recipients=(PUBLIC,))),
        product="",
        version="",
        snapshot=None,
        keys=None,
        others={PART: shape},
    )
    words = ["load", "evil", "--identity", str(checkout.data_dir.parent / "key")]
    assert "a file that no stack has" in checkout.run(*words, code=5)
    assert requests.get(f"{checkout.proxy()}/v1/sys/health", timeout=10).status_code == 200


def test_three_nodes_over_tls_come_back(tmp_path: Path, another: Checkout) -> None:
    three = type(another)(tmp_path / "three")
    place = three.data_dir.parent
    try:
        three.run("up", "--ha", "--tls", timeout=120)
        three.run("seed")
        (place / "key").write_text(PRIVATE)
        three.run("save", "mine", "--recipient", PUBLIC)
        value = three.value("backend/django")["data"]
    finally:
        three.run("destroy", "--yes", code=None)
    words = ["load", "mine", "--to", str(place / "vault-saves"), "--identity", str(place / "key")]
    assert "different" not in another.run(*words, timeout=120)
    assert another.value("backend/django")["data"] == value
    status = json.loads(another.run("status", "--json"))
    assert (len(status["nodes"]), status["state"]) == (3, "ready")
    assert status["proxy"].startswith("https://")
