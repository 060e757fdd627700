"""A credential that a scenario makes up in Vault's place is looked for where secrets come out."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from scenarios.test_nsp import _a_credential
from vault_harness.scenario import History
from vault_harness.scenario._leaks import leaks
from vault_harness.scenario._logs import LogLine
from vault_harness.scenario._secrets import Secrets


def test_its_password_in_a_log_is_a_leak() -> None:
    """Whoever has asked for it cannot tell it from one that Vault has made."""
    secrets = Secrets()
    lab: Any = SimpleNamespace(secrets=secrets, ttl=12.0)
    made, _ = _a_credential(lab)
    password = json.loads(made.body)["data"]["password"]
    said = [LogLine(1.0, f"connecting as app:{password}")]
    (finding,) = leaks(secrets, History(), log=said, commands="")
    assert finding.harm
    assert password not in finding.seen
