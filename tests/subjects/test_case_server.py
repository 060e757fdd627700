"""Cases on real servers, asked as an author's own test runner would."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from resilient_vault_client import VaultClient
from vault_harness.waiting import wait_until

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What ``vault-harness serve`` prints. A signal ends it cleanly."""
    log = tmp_path_factory.mktemp("serve") / "log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "vault_harness", "serve"],
            cwd=ROOT,
            env={**os.environ, "HARNESS_ENGINE": "process", "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(
            lambda: "cases at" in log.read_text(), "the server", timeout=60, evidence=log.read_text
        )
        found = re.search(r"cases at (\S+)", log.read_text())
        assert found is not None
        yield found[1]
    finally:
        server.terminate()
        code = server.wait(90)
    assert code == 143, log.read_text()


def python_runner(url: str, scenario: str) -> dict[str, Any]:
    spec = importlib.util.spec_from_file_location("case_runner", HERE / "cases" / "case_runner.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dict[str, Any] = module.verdict(url, scenario)
    return found


def test_a_python_client_is_judged(url: str) -> None:
    """The server keeps the verdict until the case is deleted."""
    found = python_runner(url, "KV-01")
    assert (found["word"], found["findings"]) == ("pass", []), found["text"]


def test_a_client_that_never_asks_vault_is_not_judged(url: str) -> None:
    """Invented values make no steady state; the verdict says what is missing."""
    started = requests.post(f"{url}/cases/KV-01", timeout=90).json()
    at = f"{url}/cases/{started['id']}"
    while (answer := requests.get(f"{at}/next", timeout=90)).ok:
        if answer.status_code == 200:
            said = {"id": answer.json()["id"], "ok": True, "value": "made up"}
            requests.post(f"{at}/answers", json=said, timeout=90)
    assert answer.status_code == 410
    found = requests.get(f"{at}/verdict", timeout=90).json()
    assert found["word"] == "not exercised"
    assert "none of its logins passed" in found["why"]


@pytest.mark.slow  # a scenario of ten seconds
def test_a_client_that_keeps_what_it_has_read_fails(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken promise is a finding, in the suite's words."""
    kept: dict[tuple[VaultClient, str], Any] = {}
    real = VaultClient.read

    def read(client: VaultClient, path: str, key: str) -> Any:
        if (client, path) not in kept:
            kept[client, path] = real(client, path, key)
        return kept[client, path]

    monkeypatch.setattr(VaultClient, "read", read)
    found = python_runner(url, "KV-01")
    assert found["word"] == "fail"
    assert any("rotated secret is seen" in one["promise"] for one in found["findings"])


def test_a_case_that_is_deleted_leaves_nothing(url: str) -> None:
    """Its server no longer answers, and its scenario can begin again."""
    started = requests.post(f"{url}/cases/TOK-11", timeout=90).json()
    vault = started["env"]["VAULT_ADDR"]
    assert requests.get(f"{vault}/v1/sys/health", timeout=30).status_code == 200
    assert requests.post(f"{url}/cases/TOK-11", timeout=90).status_code == 409
    at = f"{url}/cases/{started['id']}"
    assert requests.delete(at, timeout=90).status_code == 204
    assert requests.get(f"{at}/verdict", timeout=30).status_code == 404
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{vault}/v1/sys/health", timeout=30)


def test_too_many_at_once_are_refused(url: str) -> None:
    """A third case, while two are under way."""
    ids = [
        requests.post(f"{url}/cases/{name}", timeout=90).json()["id"] for name in ("KV-01", "KV-03")
    ]
    try:
        assert requests.post(f"{url}/cases/TOK-11", timeout=90).status_code == 429
    finally:
        for one in ids:
            assert requests.delete(f"{url}/cases/{one}", timeout=90).status_code == 204


def test_only_callers_with_the_url_are_answered(url: str) -> None:
    """Another program on the machine can neither start a case nor see one."""
    foreign = url.rpartition("/")[0]
    assert requests.get(f"{foreign}/guessed/cases", timeout=30).status_code == 403
    assert requests.post(f"{foreign}/cases/KV-01", timeout=30).status_code == 403
    assert requests.post(f"{url}/cases/NO-99", timeout=30).status_code == 404
    assert "KV-01" in requests.get(f"{url}/cases", timeout=30).json()["scenarios"]


LANGUAGES = pytest.mark.parametrize(
    ("tool", "command", "folder"),
    [
        ("node", ["node", "--test", "case.test.mjs"], "node"),
        ("go", ["go", "test", "-count=1", "."], "go"),
        ("java", ["java", "CaseRunner.java"], "java"),
        ("cargo", ["cargo", "test", "--locked", "--test", "case"], "rust"),
    ],
)


def ran(url: str, tool: str, command: list[str], folder: str, scenario: str) -> tuple[int, str]:
    """Return how a language's test runner ends, and what it prints."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not here")
    done = subprocess.run(
        command,
        cwd=HERE / folder,
        env={**os.environ, "VAULT_CASES": url, "SCENARIO": scenario},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
@LANGUAGES
def test_other_languages(url: str, tool: str, command: list[str], folder: str) -> None:
    code, said = ran(url, tool, command, folder, "KV-01")
    assert code == 0, said


@pytest.mark.slow
@LANGUAGES
def test_a_case_that_does_not_begin(url: str, tool: str, command: list[str], folder: str) -> None:
    """The examples print the server's error, and do not fail on a null."""
    code, said = ran(url, tool, command, folder, "NO-99")
    assert code != 0
    assert "there is no scenario NO-99" in said
