from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.cli.conftest import LOCAL_STACK, Program
from vault_harness.cli.audit import Chosen, _show
from vault_harness.cli.command import seconds_in
from vault_harness.cli.migrate import _client_settings
from vault_harness.local import programs
from vault_harness.local.blueprint import Blueprint
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.operator.audit import AuditReport
from vault_harness.settings import Settings


def test_the_ca_file_of_an_earlier_stack_is_dropped(
    program: Program, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """This stack speaks plain HTTP."""
    given: dict[str, str] = {}

    def execve(_: str, __: list[str], environment: Mapping[str, str]) -> None:
        given.update(environment)
        raise SystemExit(0)

    def stack() -> Any:
        return SimpleNamespace(
            settings=Settings.from_environment(),
            operator=lambda *, there: VaultAdmin("http://127.0.0.1:1", "a-token"),  # noqa: ARG005 -- its shape
        )

    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "of-an-earlier-stack.pem"))
    monkeypatch.setattr(os, "execve", execve)
    monkeypatch.setattr(LOCAL_STACK, lambda _: stack())
    monkeypatch.setattr(programs, "find_vault", lambda _: SimpleNamespace(path="bao"))
    assert program("vault", "--", "kv", "list", "ecommerce/").code == 0
    assert given["VAULT_ADDR"] == "http://127.0.0.1:1"
    assert not {"VAULT_CACERT", "BAO_CACERT"} & set(given)


@pytest.mark.parametrize("own", [None, "ca.pem"])
def test_the_ca_certificate_is_the_stacks(
    own: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULT_CACERT", str(tmp_path / "of-another-vault.pem"))
    ca_cert = tmp_path / own if own else None
    stack: Any = SimpleNamespace(
        settings=Settings.from_environment(),
        data_dir=tmp_path,
        namespace=lambda _: "",
        ids_directory=lambda _: tmp_path,
        endpoints=lambda: SimpleNamespace(proxy="http://127.0.0.1:8201", ca_cert=ca_cert),
    )
    assert _client_settings(stack, Blueprint.default(), None).ca_cert == ca_cert


NOW = datetime(2026, 11, 27, tzinfo=UTC)


@pytest.mark.parametrize(
    ("look", "delete"),
    [
        ("vault -- policy read reports", "vault -- policy delete reports"),
        ("vault -- read auth/approle/role/idle", "vault -- delete auth/approle/role/idle"),
    ],
    ids=["policy", "role"],
)
def test_it_says_how_to_look_before_how_to_delete(
    look: str, delete: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = AuditReport(NOW, NOW, 1, {}, 0, ("idle",), ("reports",), (), {}, ())
    _show(report)
    told = capsys.readouterr().out
    assert told.index(look) < told.index(delete)
    assert "nobody;" not in told
    assert "never" not in told
    assert "a role of another auth method may have it" in told


@pytest.mark.parametrize("since", ["7d", "36h", "90s", "15m", "1.5s"])
def test_how_to_write_it_is_the_same_report(since: str) -> None:
    words = Chosen(since=seconds_in(since), file="a b.log").words()
    assert words == ["--since", since, "--file", "a b.log"]
    assert Chosen(node="vault-2").words() == ["--node", "vault-2"]


def test_a_time_before_all_times_leaves_nothing_out() -> None:
    assert Chosen(since=seconds_in("999999d")).filter().since is None
