"""Scenarios about leases, or about Vault's storage, where there is no PostgreSQL."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.engine import Capability
from vault_harness.errors import ProgramMissing
from vault_harness.scenario import Entry, run_scenario
from vault_harness.scenario.postgresql import SharedPostgresql

MODULE = "vault_harness.scenario.postgresql"


def environment(*, capabilities: frozenset[Capability] = frozenset(Capability)) -> Any:
    """Enough of an environment to see that a scenario is not begun."""
    return SimpleNamespace(
        subject=SimpleNamespace(text="reference"),
        declared={},
        seed=7,
        engine=SimpleNamespace(name="process", capabilities=capabilities),
        ttl_scale=1.0,
        turns=None,
        wire="plain",
        postgresql=SharedPostgresql(),
    )


def entry(**more: Any) -> Entry:
    """A scenario with leases, or what else is given."""
    return Entry(
        id="LEASE-01",
        promise="Credentials are replaced",
        severity="critical",
        source="vault#1",
        engine_needs=frozenset({"database"}),
        **(more or {"lease_ttl": 8}),
    )


def never(lab: object) -> None:
    """The scenario itself."""
    raise AssertionError("it was begun")


@pytest.mark.parametrize("given", [{"lease_ttl": 8}, {"storage": "postgresql"}])
def test_it_is_skipped_without_the_programs(
    given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason says what is missing and where it was looked for."""

    def find() -> None:
        raise ProgramMissing.postgresql("initdb", ["PATH"])

    monkeypatch.setattr(f"{MODULE}.find_postgresql", find)
    result = run_scenario(environment(), entry(**given), cast("Any", never))
    assert result.word == "skipped"
    assert result.why == ("no PostgreSQL can be run here: initdb was not found (looked at: PATH)")


def test_it_is_skipped_without_psycopg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is an extra of the suite's distribution."""
    monkeypatch.setattr(f"{MODULE}.importlib.util.find_spec", lambda _: None)
    result = run_scenario(environment(), entry(), cast("Any", never))
    assert (result.word, "vault-harness[postgresql]" in result.why) == ("skipped", True)


def test_one_that_looks_at_leases_too_goes_on_without() -> None:
    """It is about something else; the servers of one that needs leases are none without."""
    assert entry().needs_postgresql
    assert not entry().model_copy(update={"engine_needs": frozenset()}).needs_postgresql


def test_it_is_skipped_on_engines_that_cannot() -> None:
    """A Vault in a container of another machine reaches no PostgreSQL of this one."""
    lacking = frozenset(Capability) - {Capability.DATABASE}
    result = run_scenario(environment(capabilities=lacking), entry(), cast("Any", never))
    assert (result.word, "database" in result.why) == ("skipped", True)
    # For a grade: it is not for the client's claims that nobody asked it.
    assert result.record["cannot"] == {"why": result.why, "needs": sorted(entry().asks_for)}
