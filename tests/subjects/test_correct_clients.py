from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

from tests.running import ran
from vault_harness.judge.subjects import OperationFailed, Subject, open_subject, parse_subject
from vault_harness.local.stack.launching import Stack
from vault_harness.local.vault import approle

HERE = Path(__file__).parent

ROLE = "backend"


@pytest.fixture
def environ(stack: Stack, tmp_path: Path) -> dict[str, str]:
    files = approle.write_credentials(stack.operator, ROLE, tmp_path)
    return {
        "USE_VAULT": "true",
        "VAULT_ADDR": stack.node.address,
        "VAULT_MOUNT_POINT": "ecommerce",
        "VAULT_CLIENT_TIMEOUT": "20",
        "VAULT_ROLE_ID_FILE": str(files.role_id_file),
        "VAULT_SECRET_ID_FILE": str(files.secret_id_file),
    }


@pytest.fixture
def subject(client: str, environ: dict[str, str], tmp_path: Path) -> Iterator[Subject]:
    one = open_subject(parse_subject(client), environ, log=tmp_path / "log", timeout=30.0)
    yield one
    one.kill()


def tokens(stack: Stack) -> set[str]:
    return set(stack.operator.client.list("auth/token/accessors")["data"]["keys"])


def test_it_reads_and_says_why_it_could_not(subject: Subject, stack: Stack) -> None:
    """It tells denied, missing and deleted secrets apart."""
    kv = stack.operator.client.secrets.kv.v2
    for path in ("backend/django", "backend/celery"):
        kv.create_or_update_secret(path, {"K": "välue\n"}, mount_point="ecommerce")
    assert subject.read("backend/django", "K", timeout=30).value == "välue\n"
    kv.delete_latest_version_of_secret("backend/celery", mount_point="ecommerce")
    for path, key, outcome in (
        ("ai/openai", "OPENAI_API_KEY", "denied"),
        ("backend/no-such", "K", "missing"),
        ("backend/django", "NO_SUCH_KEY", "missing"),
        ("backend/celery", "K", "deleted"),
    ):
        with pytest.raises(OperationFailed) as caught:
            subject.read(path, key, timeout=30)
        assert caught.value.outcome == outcome
    assert subject.read("backend/django", "K", timeout=30).value == "välue\n"


def test_it_reads_a_whole_secret(subject: Subject, stack: Stack) -> None:
    """With the same outcomes as for one key."""
    kv = stack.operator.client.secrets.kv.v2
    values = {"USER": "välue\n", "PASSWORD": "1"}
    kv.create_or_update_secret("backend/django", values, mount_point="ecommerce")
    assert subject.read_all("backend/django", timeout=30).values == values
    for path, outcome in (("ai/openai", "denied"), ("backend/no-such", "missing")):
        with pytest.raises(OperationFailed) as caught:
            subject.read_all(path, timeout=30)
        assert caught.value.outcome == outcome


def test_it_leaves_no_token_behind(subject: Subject, stack: Stack) -> None:
    stack.operator.client.secrets.kv.v2.create_or_update_secret(
        "backend/django", {"K": "v"}, mount_point="ecommerce"
    )
    before = tokens(stack)
    subject.read("backend/django", "K", timeout=30)
    assert len(tokens(stack) - before) == 1
    subject.close(timeout=30)
    assert tokens(stack) <= before
    assert subject.exit_code in (None, 0)


def test_it_answers_before_it_ends_with_its_input(
    client: str, environ: dict[str, str], stack: Stack
) -> None:
    """``echo '{...}' | program`` prints the answer, and the token is revoked."""
    stack.operator.client.secrets.kv.v2.create_or_update_secret(
        "backend/django", {"K": "v"}, mount_point="ecommerce"
    )
    kind, _, rest = client.partition(":")
    program = shlex.split(rest)
    if kind == "python":
        program = [sys.executable, "-m", "vault_harness.judge.subjects", client]
    asked, numbers = {"op": "read", "path": "backend/django", "key": "K"}, range(1, 9)
    before = tokens(stack)
    done = subprocess.run(
        program,
        input="".join(json.dumps({"id": number, **asked}) + "\n" for number in numbers),
        env={**os.environ, **environ},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    values = {one["id"]: one.get("value") for one in answers}
    assert values == dict.fromkeys(numbers, "v"), answers
    assert tokens(stack) <= before


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("node", ("node", "--test", "gate.test.mjs", "vault.test.mjs")),
        ("go", ("go", "test", "-run", "TestGate|TestVault", ".")),
    ],
)
def test_own_tests_of_a_client(folder: str, command: tuple[str, ...]) -> None:
    """Its unit tests: probes, waits, and a login that outlives its call."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not here")
    done = ran(command, cwd=HERE / folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def cores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The machine's cores, for two whole suites at a time; a third waits."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    turn = "long" if request.node.callspec.params["client"] == "node" else "short"
    with filelock.FileLock(shared / f"whole-suite-{turn}.lock", timeout=1800):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("cores")
def test_it_passes_every_scenario(client: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = ran(
        [
            *(sys.executable, "-m", "pytest", "scenarios", "-p", "no:cacheprovider"),
            *("--vault-subject", client, "--vault-report", str(tmp_path), "--vault-strict"),
        ],
        cwd=root,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")},
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "not exercised" not in done.stdout.splitlines()[-1]
    from tests.mutants.catalogue import UNBROKEN  # many modules, which only this test needs

    # Only here does the client behind most mutants meet these, so none may be skipped.
    asked = {scenario for scenario, base in UNBROKEN.items() if base == client}
    judged = json.loads((tmp_path / "journal.json").read_text())["scenarios"]
    assert asked <= {one["id"] for one in judged if one["word"] == "pass"}
    assert asked or "LazyClient" not in client
