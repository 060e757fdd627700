from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.running import ran
from vault_harness.local.vault.keyring import Keyring


class Checkout:
    """Command lines against a stack of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.code = 0
        self.data_dir = directory / "vault-data"
        self.environment = {
            **os.environ,
            "HARNESS_RUNNER": "./dev",
            "HARNESS_ENGINE": "process",
            "HARNESS_DATA_DIR": str(self.data_dir),
            "HARNESS_VAULT_PORT": "0",
            "HARNESS_PROXY_PORT": "0",
            "HARNESS_TOXIPROXY_PORT": "0",
            "DOCKER_HOST": f"unix://{directory}/no-engine-here",
        }

    def run(self, *words: str, code: int | None = 0, timeout: float = 60) -> str:
        """Run a command line and return what it prints, which has no traceback.

        `code` is the expected exit code, or None for any.
        """
        answer = ran(
            [sys.executable, "-m", "vault_harness", *words], env=self.environment, timeout=timeout
        )
        printed = answer.stdout + answer.stderr
        self.code = answer.returncode
        wanted = answer.returncode if code is None else code
        assert (answer.returncode, "Traceback" in printed) == (wanted, False), printed
        return printed

    def proxy(self) -> str:
        return str(json.loads(self.run("status", "--json"))["proxy"])

    def login(self) -> str:
        ids = {
            name: (self.data_dir / f"backend-{name.replace('_', '-')}").read_text().strip()
            for name in ("role_id", "secret_id")
        }
        answer = requests.post(f"{self.proxy()}/v1/auth/approle/login", json=ids, timeout=10)
        return str(answer.json()["auth"]["client_token"])

    def value(self, path: str) -> object:
        token = Keyring.load(self.data_dir / "init.json").root_token
        assert token is not None
        url = f"{self.proxy()}/v1/ecommerce/data/{path}"
        ca, own = self.data_dir / "tls" / "ca.pem", self.data_dir / "tls" / "operator.pem"
        answer = requests.get(
            url,
            headers={"X-Vault-Token": token},
            timeout=10,
            verify=str(ca) if ca.exists() else True,
            cert=str(own) if own.exists() else None,
        )
        return answer.json()["data"]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    opened = Checkout(tmp_path_factory.mktemp("by hand"))
    opened.run("up")
    opened.run("seed")
    yield opened
    opened.run("destroy", "--yes")
