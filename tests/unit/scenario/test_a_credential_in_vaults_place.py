"""A credential that a scenario invents in Vault's place counts as a secret."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from scenarios.test_nsp import _a_credential
from vault_harness.judge.logs import LogLine, leaks
from vault_harness.recorder.history import History
from vault_harness.recorder.secrets import Secrets


def test_its_password_in_a_log_is_a_leak() -> None:
    secrets = Secrets()
    lab: Any = SimpleNamespace(secrets=secrets, ttl=12.0)
    made, _ = _a_credential(lab)
    password = json.loads(made.body)["data"]["password"]
    said = [LogLine(1.0, f"connecting as app:{password}")]
    (finding,) = leaks(secrets, History(), log=said, commands="")
    assert finding.harm
    assert password not in finding.seen
