"""Restores: Vault goes back to an earlier state than clients know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack

import pytest

from vault_harness.judge.driver import ReadVerb, reading
from vault_harness.judge.helpers.calls import all_read_verbs, own_path
from vault_harness.judge.lab import KEY, PATH, Lab
from vault_harness.judge.oracles import logins_at_most
from vault_harness.recorder.observations import Operation


@pytest.mark.scenario("RST-01")
def test_older_snapshot_is_restored(lab: Lab) -> None:
    """After an older snapshot is restored, a client logs in once and gives the older values."""
    paths: dict[ReadVerb, str] = {verb: own_path(lab, PATH, verb) for verb in READ_VERBS}
    for path in {*paths.values()} - {PATH}:
        lab.put("v1", path=path, key=KEY)
    snapshot = lab.vault.snapshot()
    client = lab.start()
    paths = {verb: paths[verb] for verb in all_read_verbs(lab)}
    with ExitStack() as callers:
        for verb, path in paths.items():
            callers.enter_context(reading(client, every=0.25, verb=verb, path=path, key=KEY))
        for path in {*paths.values()}:
            lab.put("v2", path=path, key=KEY)
        lab.must_have(versions=2)
        lab.until(lambda: _all_read_the_second(lab, paths), within=lab.refresh + lab.deadline)
        with ExitStack() as changing:
            for path in {*paths.values()}:
                changing.enter_context(lab.changing("v1", path=path, key=KEY))
            # The restored state is valid at once, and stays valid.
            fault = changing.enter_context(lab.vault.restored(snapshot))
        lab.recovers(after=fault)
        lab.watch(lab.refresh + 1.0)
        end = lab.history.now()
    lab.judge(logins_at_most(1, since=fault.began, until=end))


READ_VERBS: tuple[ReadVerb, ...] = ("read", "read_cached", "read_all")


def _all_read_the_second(lab: Lab, paths: Mapping[ReadVerb, str]) -> bool:
    return all(
        any((o.value or "").endswith("v2") for o in lab.history.calls(verb, where=_of(path)))
        for verb, path in paths.items()
    )


def _of(path: str) -> Callable[[Operation], bool]:
    return lambda call: call.path == path
