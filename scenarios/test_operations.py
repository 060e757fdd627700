"""Operations: what an operator does while clients go on, with the operator's own tools."""

from __future__ import annotations

import pytest

from vault_harness.scenario import Lab
from vault_harness.scenario.lab import ROLE
from vault_harness.scenario.oracles import bad_logins_at_most, logs_in_again, no_failed_read, sees
from vault_harness.vault.kv import Kv
from vault_harness.vault.rotate import known_targets, rotate_secret, rotate_secret_id


@pytest.mark.scenario("OPS-01")
def test_rotating_the_secret_id_costs_no_read(lab: Lab) -> None:
    """`invoke rotate.secret-id` runs twice under load; each token lives out its time."""
    lab.start()
    with lab.reading(every=0.2, callers=2):
        began = lab.history.now()
        for _ in range(2):
            rotate_secret_id(lab.stack.operator, ROLE, lab.directory)
            lab.secrets.add("secret-id", lab.secret_id_file.read_text().strip())
            lab.history.mark("secret-id rotated, the old one is destroyed")
            lab.watch(1.3 * lab.ttl)
    lab.judge(
        no_failed_read(),
        bad_logins_at_most(0, since=began),
        logs_in_again(since=began, within=lab.ttl),
    )


@pytest.mark.scenario("OPS-02")
def test_rotating_a_secret_costs_no_read(lab: Lab) -> None:
    """`invoke rotate.secrets database` runs under load; the new password is seen in time."""
    target = known_targets()["database"]
    lab.put("v1", path=target.path, key=target.key)
    lab.start()
    with lab.reading(every=0.2, callers=2, path=target.path, key=target.key):
        lab.watch(0.5)
        with lab.changing("v2", path=target.path, key=target.key):
            rotate_secret(Kv(lab.stack.operator), target, lab.directory)
        rotated = lab.history.now()
        lab.watch(lab.refresh + 2.0)
    lab.judge(
        no_failed_read(),
        sees(f"{target.path}:v2", target.path, since=rotated, within=lab.refresh),
    )
