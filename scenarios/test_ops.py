"""Operations: an operator's usual tools while clients run."""

from __future__ import annotations

import pytest

from vault_harness.errors import HarnessError
from vault_harness.judge.driver import ReadVerb
from vault_harness.judge.helpers.starts import NOT_LOCKED, lockout, not_locked
from vault_harness.judge.lab import KEY, PATH, ROLE, Lab
from vault_harness.judge.oracles import (
    bad_logins_at_most,
    logs_in_again,
    no_failed_read,
    sees,
)
from vault_harness.judge.verdict import Finding
from vault_harness.local.vault.kv import Kv
from vault_harness.operator.rotate import known_targets, rotate_secret, rotate_secret_id


@pytest.mark.scenario("OPS-01")
def test_rotating_the_secret_id_costs_no_read(lab: Lab) -> None:
    """Rotating the secret-id twice under load costs no read and no refused login."""
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
        unlocked = not_locked(lab)
    lab.require(
        "two rotations, and a life of the token after each",
        lambda history: rotations == 2 and history.now() - began >= 2.2 * lab.ttl,
    )
    lab.judge(
        no_failed_read(),
        bad_logins_at_most(0, since=began),
        unlocked,
    )


def _rotate(lab: Lab) -> bool:
    """Rotate the secret-id; return False, with a finding, if the client has locked the role."""
    try:
        # The old one stays valid for a moment: a client that has just read it may log in.
        rotate_secret_id(lab.stack.operator, ROLE, lab.directory, grace=0.5)
    except HarnessError:
        if not lockout(lab):
            raise
        text = "the rotation could not log in to try the new secret-id: the client locked the role"
        lab.note(Finding(NOT_LOCKED, text, lab.history.now(), rests_on=()))
        return False
    lab.secrets.add("secret-id", lab.secret_id_file.read_text().strip())
    lab.history.mark("secret-id rotated, the old one is destroyed")
    return True


@pytest.mark.scenario("OPS-02")
def test_rotating_a_secret_costs_no_read(lab: Lab) -> None:
    """Rotating a database password under load costs no read, and the new one is seen in time."""
    target = known_targets()["database"]
    lab.put("v1", path=target.path, key=target.key)
    client = lab.start()
    # Nobody reads these again until the value is too old.
    left: dict[ReadVerb, tuple[str, str]] = {"read": (PATH, KEY)}
    if lab.can("cached"):
        left["read_cached"] = (lab.entry.spare_path, lab.entry.spare_key)
    if lab.can("read_all"):
        left["read_all"] = ("backend/celery", "CELERY_BROKER_URL")
    for verb, (path, key) in left.items():
        lab.put("v1", path=path, key=key)
        client.ask(verb, path, key)
        lab.put("v2", path=path, key=key)
    with lab.reading(every=0.25, callers=2, path=target.path, key=target.key):
        lab.watch(0.5)
        with lab.changing("v2", path=target.path, key=target.key):
            rotate_secret(Kv(lab.stack.operator), target, lab.directory)
        rotated = lab.history.now()
        lab.watch(lab.refresh + 2.0)
    for verb, (path, key) in left.items():
        client.ask(verb, path, key)  # every scenario checks that no value is wrong
    reads = lab.history.calls("read", where=lambda o: o.path == target.path)
    lab.require(
        "reads before the rotation, and after the time in which it must be seen",
        lambda _: reads[0].began < rotated and reads[-1].began > rotated + lab.refresh,
    )
    lab.judge(
        no_failed_read(path=target.path),
        sees(f"{target.path}:v2", target.path, since=rotated, within=lab.refresh),
    )
