"""A seal that HashiCorp Vault lacks is refused before anything is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.cli import operator as stack_module
from vault_harness.cli import run
from vault_harness.errors import CapabilityMissing
from vault_harness.local.dialect import OPENBAO, VAULT
from vault_harness.local.engine.configuration import check_seal_of_product
from vault_harness.local.engine.docker import cluster
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.engine.shape import Engine
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.opening import Opening
from vault_harness.local.stack.seal_migration import SealMigrations
from vault_harness.operator.backup.seal_drill import SealDrill
from vault_harness.settings import Settings


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A program that prints HashiCorp's version and records whether it was started."""
    program = tmp_path / "bin" / "vault"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1" = server ] && : > "$0.started"\necho "Vault v1.21.4 (abc), built 2026"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def stack(vault: Path, tmp_path: Path) -> LocalStack:
    settings = Settings(
        engine="process",
        vault_binary=vault,
        data_dir=tmp_path / "data",
        vault_port=0,
        proxy_port=0,
        toxiproxy_port=0,
    )
    return LocalStack(settings)


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStack:
    def get(name: str) -> Any:
        return SimpleNamespace(labels={}, attrs={"Config": {"Env": ["NAME=vault"]}}, tags=[name])

    @contextlib.contextmanager
    def connected() -> Iterator[Any]:
        yield SimpleNamespace(images=SimpleNamespace(get=get))

    monkeypatch.setattr(cluster, "connected", connected)
    return LocalStack(Settings(engine="docker", data_dir=tmp_path / "data"))


def refused(error: CapabilityMissing, looked_at: str) -> None:
    assert error.cause == "HashiCorp Vault has no seal static: it is OpenBao's alone"
    assert looked_at in error.looked_at
    for way in ("--seal transit", "HARNESS_VAULT_BINARY", "VAULT_IMAGE"):
        assert way in error.remedy


def test_a_new_stack_of_processes(stack: LocalStack, vault: Path) -> None:
    with pytest.raises(CapabilityMissing) as caught:
        stack.up(seal="static")

    refused(caught.value, f"{vault} (HARNESS_VAULT_BINARY)")
    assert not stack.data_dir.exists()
    assert not vault.with_name("vault.started").exists()


def test_a_new_stack_of_containers(containers: LocalStack) -> None:
    """The image tells the product."""
    with pytest.raises(CapabilityMissing) as caught:
        containers.up(seal="static")

    refused(caught.value, "the image hashicorp/vault:")
    assert not containers.data_dir.exists()


@pytest.mark.parametrize("name", ["stack", "containers"])
def test_a_seal_is_not_exchanged_for_it(name: str, request: pytest.FixtureRequest) -> None:
    """A seal that both products have is allowed."""
    stack: LocalStack = request.getfixturevalue(name)
    migrations = SealMigrations(stack.data_dir, Opening(stack.data_dir))

    with pytest.raises(CapabilityMissing) as caught:
        migrations.check_possible("shamir", "static", stack.provider())

    refused(caught.value, "vault")
    migrations.check_possible("shamir", "transit", stack.provider())


@pytest.mark.parametrize("name", ["stack", "containers"])
def test_what_would_be_exchanged_for_it(
    name: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A dry run refuses like the real run."""
    stack: LocalStack = request.getfixturevalue(name)
    monkeypatch.setattr(stack_module, "local_stack", lambda: stack)

    with pytest.raises(SystemExit) as ended:
        run(["seal.migrate", "static", "--dry-run"])

    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (CapabilityMissing.exit_code, "")
    assert "HashiCorp Vault has no seal static: it is OpenBao's alone" in printed.err
    assert not stack.data_dir.exists()
    (stack.data_dir / "vault" / "data" / "raft").mkdir(parents=True)
    with contextlib.suppress(SystemExit):
        run(["seal.migrate", "transit", "--dry-run"])
    assert capsys.readouterr().out == "would exchange the seal shamir for transit\n"


def test_a_drill_of_it(tmp_path: Path) -> None:
    """It is refused before it makes a backup."""
    engine = cast(
        "Engine", SimpleNamespace(name="process", dialect=VAULT, choice="process: /bin/vault")
    )
    with pytest.raises(CapabilityMissing) as caught:
        SealDrill(engine=engine, target="static", directory=tmp_path).check("shamir")

    refused(caught.value, "/bin/vault")


@pytest.mark.parametrize("kind", ["shamir", "static", "transit", "awskms", "azurekeyvault"])
def test_what_a_product_has_is_let_through(kind: SealKind) -> None:
    """Unknown servers decide themselves."""
    check_seal_of_product(kind, OPENBAO, looked_at="")
    check_seal_of_product(kind, None, looked_at="")
    if kind != "static":
        check_seal_of_product(kind, VAULT, looked_at="")


def test_an_engine_says_whose_server_it_is(stack: LocalStack) -> None:
    assert stack.provider().whose_server()[0] is VAULT
