"""Operations: what an operator does while clients go on, with the operator's own tools."""

from __future__ import annotations

import pytest

from vault_harness.errors import HarnessError
from vault_harness.scenario import Finding, Lab
from vault_harness.scenario.driver import Way
from vault_harness.scenario.helpers import lockout
from vault_harness.scenario.lab import KEY, PATH, ROLE
from vault_harness.scenario.oracles import (
    bad_logins_at_most,
    logs_in_again,
    no_failed_read,
    none_of,
    sees,
)
from vault_harness.vault.kv import Kv
from vault_harness.vault.rotate import known_targets, rotate_secret, rotate_secret_id


@pytest.mark.scenario("OPS-01")
def test_rotating_the_secret_id_costs_no_read(lab: Lab) -> None:
    """`invoke rotate.secret-id` runs twice under load; each token lives out its time."""
    lab.start()
    rotations = 0
    with lab.reading(every=0.25, callers=2):
        began = lab.history.now()
        for _ in range(2):
            if not _rotate(lab):
                break
            rotations += 1
            rotated = lab.history.now()
            lab.watch(1.1 * lab.ttl)
            lab.judge_later(logs_in_again(since=rotated, within=lab.ttl))
        looked, locked = lab.history.now(), lockout(lab)
    lab.require(
        "two rotations, and a life of the token after each",
        lambda history: rotations == 2 and history.now() - began >= 2.2 * lab.ttl,
    )
    lab.judge(
        no_failed_read(),
        bad_logins_at_most(0, since=began),
        none_of("the role is not locked for everybody", locked, harm=True, at=looked),
    )


def _rotate(lab: Lab) -> bool:
    """Rotate the secret-id; False if the client has locked the role, which is a finding."""
    try:
        # Who read the file a moment before is about to log in with what was in it.
        rotate_secret_id(lab.stack.operator, ROLE, lab.directory, grace=0.5)
    except HarnessError:
        if not lockout(lab):
            raise
        text = "the rotation could not log in to try the new secret-id: the client locked the role"
        promise = "the role is not locked for everybody"
        lab.note(Finding(promise, text, lab.history.now(), harm=True))
        return False
    lab.secrets.add("secret-id", lab.secret_id_file.read_text().strip())
    lab.history.mark("secret-id rotated, the old one is destroyed")
    return True


@pytest.mark.scenario("OPS-02")
def test_rotating_a_secret_costs_no_read(lab: Lab) -> None:
    """`invoke rotate.secrets database` runs under load; the new password is seen in time."""
    target = known_targets()["database"]
    lab.put("v1", path=target.path, key=target.key)
    client = lab.start()
    # Of each way of reading one that nobody asks for until its value is older than it may be.
    left: dict[Way, tuple[str, str]] = {"read": (PATH, KEY)}
    if lab.can("cached"):
        left["read_cached"] = (lab.entry.spare_path, lab.entry.spare_key)
    if lab.can("read_all"):
        left["read_all"] = ("backend/celery", "CELERY_BROKER_URL")
    for way, (path, key) in left.items():
        lab.put("v1", path=path, key=key)
        client.ask(way, path, key)
        lab.put("v2", path=path, key=key)
    with lab.reading(every=0.25, callers=2, path=target.path, key=target.key):
        lab.watch(0.5)
        with lab.changing("v2", path=target.path, key=target.key):
            rotate_secret(Kv(lab.stack.operator), target, lab.directory)
        rotated = lab.history.now()
        lab.watch(lab.refresh + 2.0)
    for way, (path, key) in left.items():
        client.ask(way, path, key)  # no wrong value: that is asked in every scenario
    reads = lab.history.calls("read", where=lambda o: o.path == target.path)
    lab.require(
        "reads before the rotation, and after the time in which it must be seen",
        lambda _: reads[0].began < rotated and reads[-1].began > rotated + lab.refresh,
    )
    lab.judge(
        no_failed_read(path=target.path),
        sees(f"{target.path}:v2", target.path, since=rotated, within=lab.refresh),
    )
