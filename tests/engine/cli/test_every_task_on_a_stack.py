"""Every task on a real stack in a bad state: no traceback, no secret, and a remedy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from vault_harness.cli import names

pytestmark = [
    pytest.mark.slow,  # ninety command lines, each a process of its own
    pytest.mark.xdist_group("every task"),  # they share stacks
]

Checkout = Any  # of conftest.py

WORDS = {
    "backup.now": ["--recipient", "age1nonsense"],
    "backup.keys": ["--recipient", "age1nonsense"],
    "break.revoke": ["backend"],
    "break.fail": ["login", "--first", "1"],
    "break.delay": ["renew", "1s"],
    "break.lose-answer": ["write"],
    "backup.identity": ["KEY"],
    "env": ["backend"],
    "logs": ["audit", "--tail", "5"],
    "migrate": ["ENV"],
    "node.kill": ["vault-2"],
    "node.cut": ["vault-2"],
    "node.join": ["vault-2"],
    "node.start": ["vault-2"],
    "node.remove": ["vault-2"],
    "rotate.secrets": ["database"],
    "rotate.secret-id": ["backend"],
    "rotate.rollback": ["database"],
    "save": ["mine", "--recipient", "age1nonsense"],
    "load": ["mine", "--identity", "KEY"],
    "seal.migrate": ["shamir"],
    "seed": ["--overwrite", "--yes"],
    "timeline": ["TOK-11"],
    "try": ["true"],
    "unlock": ["backend"],
    "vault": ["kv", "list", "ecommerce/"],
    "watch": ["--once"],
}
# These begin or end servers, repair the state, or have tests of their own.
LEFT_OUT = {
    *("up", "down", "destroy", "restart", "unseal", "heal", "images", "drill"),
    *("scenarios", "explore", "serve", "console", "test", "lint", "bench", "tour"),
    *("services.up", "services.down", "services.status"),
}
TASKS = sorted(set(names()) - LEFT_OUT)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "ENV").write_text("SECRET_KEY=a-secret-of-the-file\n")
    return folder


@pytest.fixture(scope="module")
def secrets(checkout: Checkout) -> list[str]:
    keyring = json.loads((checkout.data_dir / "init.json").read_text())
    ids = [path.read_text().strip() for path in checkout.data_dir.glob("*-secret-id")]
    values = checkout.value("backend/django")["data"].values()
    found = [*keyring["unseal_keys_b64"], keyring["root_token"], *ids, *map(str, values)]
    return ["a-secret-of-the-file", *found]


@pytest.fixture(scope="module", params=["sealed", "cut", "keyring broken"])
def broken(request: pytest.FixtureRequest, checkout: Checkout, secrets: list[str]) -> Iterator[str]:
    keyring = checkout.data_dir / "init.json"
    whole = keyring.read_text()
    match request.param:
        case "sealed":
            checkout.run("seal")
        case "cut":
            checkout.run("break.cut")
        case "keyring broken":
            keyring.write_text(whole[: len(whole) // 2])
    yield request.param
    keyring.write_text(whole)
    checkout.run("heal")


@pytest.mark.parametrize("task", TASKS)
def test_a_task(
    task: str, broken: str, checkout: Checkout, secrets: list[str], files: Path
) -> None:
    words = [str(files / word) if word in {"KEY", "ENV"} else word for word in WORDS.get(task, [])]
    printed = checkout.run(task, *words, code=None)
    assert [secret for secret in secrets if len(secret) > 6 and secret in printed] == []
    if checkout.code not in {0, 1} and task != "vault":
        assert "what to do: " in printed
