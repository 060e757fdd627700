"""Scenarios that need PostgreSQL, on machines without it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.errors import ProgramMissing
from vault_harness.judge.catalogue import Entry
from vault_harness.judge.run import run_scenario
from vault_harness.local.engine.process.postgresql import SharedPostgresql
from vault_harness.local.engine.shape import Capability
from vault_harness.recorder.witness import Witness

MODULE = "vault_harness.local.engine.process.postgresql"


def environment(*, capabilities: frozenset[Capability] = frozenset(Capability)) -> Any:
    return SimpleNamespace(
        subject=SimpleNamespace(text="reference"),
        declared={},
        seed=7,
        engine=SimpleNamespace(name="process", capabilities=capabilities),
        ttl_scale=1.0,
        turns=None,
        wire="plain",
        postgresql=SharedPostgresql(),
        witness=Witness(),
    )


def entry(**more: Any) -> Entry:
    return Entry(
        id="LEASE-01",
        promise="Credentials are replaced",
        severity="critical",
        source="vault#1",
        engine_needs=frozenset({"database"}),
        **(more or {"lease_ttl": 8}),
    )


def never(lab: object) -> None:
    raise AssertionError("it was begun")


@pytest.mark.parametrize("given", [{"lease_ttl": 8}, {"storage": "postgresql"}])
def test_it_is_skipped_without_the_programs(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The places searched are told."""

    def find() -> None:
        raise ProgramMissing.postgresql("initdb", ["PATH"])

    monkeypatch.setattr(f"{MODULE}.find_postgresql", find)
    result = run_scenario(environment(), entry(**given), cast("Any", never))
    assert result.word == "skipped"
    assert result.why == ("no PostgreSQL can be run here: initdb was not found (looked at: PATH)")


def test_it_is_skipped_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that brings it is named."""
    monkeypatch.setattr(f"{MODULE}.importlib.util.find_spec", lambda _: None)
    result = run_scenario(environment(), entry(), cast("Any", never))
    assert (result.word, "vault-harness[postgresql]" in result.why) == ("skipped", True)


def test_postgresql_is_needed_only_with_a_database_engine() -> None:
    assert entry().needs_postgresql
    assert not entry().model_copy(update={"engine_needs": frozenset()}).needs_postgresql


def test_it_is_skipped_on_engines_that_cannot() -> None:
    lacking = frozenset(Capability) - {Capability.DATABASE}
    result = run_scenario(environment(capabilities=lacking), entry(), cast("Any", never))
    assert (result.word, "database" in result.why) == ("skipped", True)
    # The grade must not blame the client's claims for this gap.
    assert result.record["cannot"] == {"why": result.why, "needs": sorted(entry().asks_for)}
