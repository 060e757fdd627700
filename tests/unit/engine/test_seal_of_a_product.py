"""A seal that HashiCorp Vault lacks: refused before anything is made, and not by the server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vault_harness.cli import _stack, run
from vault_harness.dialect import OPENBAO, VAULT
from vault_harness.engine import Engine, SealingProvider, SealKind, check_seal_of_product
from vault_harness.engine.docker import DockerCluster, _sealing
from vault_harness.errors import CapabilityMissing
from vault_harness.settings import Settings
from vault_harness.stack import LocalStack, SealDrill
from vault_harness.stack._opening import Opening
from vault_harness.stack._seal_migration import SealMigrations
from vault_harness.stack.record import StackRecordFile


@pytest.fixture
def vault(tmp_path: Path) -> Path:
    """A program that is HashiCorp's by what it prints, and that notes whether it was started."""
    program = tmp_path / "bin" / "vault"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\n[ "$1" = server ] && : > "$0.started"\necho "Vault v1.21.4 (abc), built 2026"\n'
    )
    program.chmod(0o755)
    return program


@pytest.fixture
def stack(vault: Path, tmp_path: Path) -> LocalStack:
    """Of processes, and of that program."""
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
    """Of containers, on an engine whose images are the usual ones."""

    def get(name: str) -> Any:
        return SimpleNamespace(labels={}, attrs={"Config": {"Env": ["NAME=vault"]}}, tags=[name])

    @contextlib.contextmanager
    def connected() -> Iterator[Any]:
        yield SimpleNamespace(images=SimpleNamespace(get=get))

    monkeypatch.setattr(_sealing, "connected", connected)
    return LocalStack(Settings(engine="docker", data_dir=tmp_path / "data"))


def refused(error: CapabilityMissing, looked_at: str) -> None:
    """It says what is wrong, where it was seen, and what to do."""
    assert error.cause == "HashiCorp Vault has no seal static: it is OpenBao's alone"
    assert looked_at in error.looked_at
    for way in ("--seal transit", "HARNESS_VAULT_BINARY", "VAULT_IMAGE"):
        assert way in error.remedy


def test_a_new_stack_of_processes(stack: LocalStack, vault: Path) -> None:
    """No server is started, no key made, and no folder."""
    with pytest.raises(CapabilityMissing) as caught:
        stack.up(seal="static")

    refused(caught.value, f"{vault} (HARNESS_VAULT_BINARY)")
    assert not stack.data_dir.exists()
    assert not vault.with_name("vault.started").exists()


def test_a_new_stack_of_containers(containers: LocalStack) -> None:
    """The image tells whose server it is."""
    with pytest.raises(CapabilityMissing) as caught:
        containers.up(seal="static")

    refused(caught.value, "the image hashicorp/vault:")
    assert not containers.data_dir.exists()


@pytest.mark.parametrize("name", ["stack", "containers"])
def test_a_seal_is_not_exchanged_for_it(name: str, request: pytest.FixtureRequest) -> None:
    """Before Vault is ended; for the one that both have nothing is in the way."""
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
    """A dry run is refused too, and promises nothing that the real one would not do."""
    stack: LocalStack = request.getfixturevalue(name)
    monkeypatch.setattr(_stack, "local_stack", lambda: stack)

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
    """Before a backup is made for it."""
    engine = cast(
        "Engine", SimpleNamespace(name="process", dialect=VAULT, choice="process: /bin/vault")
    )
    with pytest.raises(CapabilityMissing) as caught:
        SealDrill(engine=engine, target="static", directory=tmp_path).check("shamir")

    refused(caught.value, "/bin/vault")


@pytest.mark.parametrize("kind", ["shamir", "static", "transit", "awskms", "azurekeyvault"])
def test_what_a_product_has_is_let_through(kind: SealKind) -> None:
    """OpenBao has it; of a cloud's seal the server itself is asked; an unknown server too."""
    check_seal_of_product(kind, OPENBAO, looked_at="")
    check_seal_of_product(kind, None, looked_at="")
    if kind != "static":
        check_seal_of_product(kind, VAULT, looked_at="")


def test_both_engines_say_whose_server_it_is(stack: LocalStack, tmp_path: Path) -> None:
    """As part of their shape."""
    processes = stack.provider()
    assert isinstance(processes, SealingProvider)
    assert processes.whose_server()[0] is VAULT
    assert isinstance(
        DockerCluster(Settings(data_dir=tmp_path), StackRecordFile(tmp_path)), SealingProvider
    )
