from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.errors import CapabilityMissing, DeadlineExceeded, EngineError, SettingsError
from vault_harness.local.engine import choice as choice_module
from vault_harness.local.engine.choice import open_engine
from vault_harness.local.engine.external import ExternalEngine
from vault_harness.local.engine.provider import KnownServers
from vault_harness.local.engine.shape import Capability, Engine, Node, NodeSpec
from vault_harness.local.stack.choice import open_provider
from vault_harness.settings import Settings


class Forgetful:
    def load(self) -> KnownServers:
        return KnownServers()

    def save(self, known: KnownServers) -> None:
        """Forget it."""


def without_docker(monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
    """Let docker be unusable for ``reason``, or usable for None."""
    monkeypatch.setattr(choice_module, "docker_state", lambda _settings, **_options: reason)


def test_scenarios_use_processes_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_docker(monkeypatch, None)

    with open_engine(Settings(engine="auto"), directory=tmp_path) as engine:
        assert isinstance(engine, Engine)
        assert engine.name == "process"
        assert engine.choice.endswith("(the default)")


@pytest.mark.parametrize(
    ("reason", "name", "other"), [(None, "docker", "process"), ("none", "process", "docker")]
)
def test_the_lasting_stack_prefers_containers(
    monkeypatch: pytest.MonkeyPatch, reason: str | None, name: str, other: str
) -> None:
    without_docker(monkeypatch, reason)

    chosen, why = choice_module.choose(Settings(engine="auto"), lasting=True)

    assert chosen == name
    assert f"up --engine {other} takes " in why


def test_process_is_not_second_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(settings: Settings, **options: object) -> str:
        raise AssertionError("docker was looked at")

    monkeypatch.setattr(choice_module, "docker_state", never)

    assert choice_module.choose(Settings(engine="process"))[0] == "process"


def test_external_needs_address_and_token(tmp_path: Path) -> None:
    settings = Settings(engine="external", vault_addr=None, vault_token=None)

    with pytest.raises(SettingsError, match="VAULT_ADDR and VAULT_TOKEN"):
        open_engine(settings, directory=tmp_path)


def external(tmp_path: Path) -> ExternalEngine:
    """Return an external engine whose Vault does not answer."""
    settings = Settings.from_environment(
        engine="external", vault_addr="http://127.0.0.1:1/", vault_token="hvs.top-secret"
    )
    return ExternalEngine(settings, directory=tmp_path)


def test_an_external_vault_says_what_cannot_be_done_to_it(tmp_path: Path) -> None:
    """No capability promises it."""
    node = external(tmp_path).node(NodeSpec(name="theirs", directory=tmp_path))

    assert isinstance(node, Node)
    assert (node.address, node.upstream) == ("http://127.0.0.1:1", "127.0.0.1:1")
    for verb in (node.stop, node.kill, node.pause, node.restart, node.reload):
        with pytest.raises(CapabilityMissing, match="external Vault cannot"):
            verb()
    assert Capability.PAUSE not in node.capabilities


def test_an_external_vault_that_does_not_answer(tmp_path: Path) -> None:
    node = external(tmp_path).node(NodeSpec(name="theirs", directory=tmp_path))

    with pytest.raises(DeadlineExceeded, match="VAULT_ADDR"):
        node.start(timeout=0.2)


def test_the_token_shows_nowhere(tmp_path: Path) -> None:
    engine = external(tmp_path)
    node = engine.node(NodeSpec(name="theirs", directory=tmp_path))

    assert "top-secret" not in f"{engine.settings!r} {engine.choice} {node!r} {engine.token!r}"


def test_an_external_vault_is_not_ours_to_bring_up() -> None:
    with pytest.raises(SettingsError, match="external"):
        open_provider(Settings(engine="external"), Forgetful())


def test_a_storage_that_the_server_lacks(tmp_path: Path) -> None:
    with open_engine(Settings(engine="process"), directory=tmp_path) as engine:
        spec = NodeSpec(name="n", directory=tmp_path / "n", storage="file")  # type: ignore[arg-type] # wrong on purpose
        with pytest.raises(EngineError, match="no storage file"):
            engine.node(spec)
