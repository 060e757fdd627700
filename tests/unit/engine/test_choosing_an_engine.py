"""The engine is chosen by the settings, and the choice explains itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from vault_harness.engine import (
    Capability,
    Engine,
    KnownServers,
    Node,
    NodeSpec,
    StackProvider,
    _choose,
    open_engine,
    open_provider,
)
from vault_harness.engine.external import ExternalEngine
from vault_harness.errors import CapabilityMissing, DeadlineExceeded, EngineError, SettingsError
from vault_harness.settings import Settings


class Forgetful:
    """A memory of nothing."""

    def load(self) -> KnownServers:
        """Nothing."""
        return KnownServers()

    def save(self, known: KnownServers) -> None:
        """Forget it."""


def without_docker(monkeypatch: pytest.MonkeyPatch, reason: str | None) -> None:
    """Let docker be unusable for ``reason``, or usable for None."""
    monkeypatch.setattr(_choose, "docker_state", lambda _settings, **_options: reason)


def test_auto_falls_back_to_processes_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without docker there is one line that names the reason."""
    without_docker(monkeypatch, "no container engine here")

    with open_engine(Settings(engine="auto"), directory=tmp_path) as engine:
        assert isinstance(engine, Engine)
        assert engine.name == "process"
        assert "no container engine here" in engine.choice


def test_auto_takes_docker_where_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """With an engine and its images, containers it is."""
    without_docker(monkeypatch, None)

    assert _choose.choose(Settings(engine="auto"))[0] == "docker"


def test_process_is_not_second_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for processes is not kept waiting by a look at docker."""

    def never(settings: Settings, **options: object) -> str:
        raise AssertionError("docker was looked at")

    monkeypatch.setattr(_choose, "docker_state", never)

    assert _choose.choose(Settings(engine="process"))[0] == "process"


def test_external_needs_address_and_token(tmp_path: Path) -> None:
    """Both missing variables are named at once."""
    settings = Settings(engine="external", vault_addr=None, vault_token=None)

    with pytest.raises(SettingsError, match="VAULT_ADDR and VAULT_TOKEN"):
        open_engine(settings, directory=tmp_path)


def external(tmp_path: Path) -> ExternalEngine:
    """An external engine whose Vault does not answer."""
    settings = Settings.from_environment(
        engine="external", vault_addr="http://127.0.0.1:1/", vault_token="hvs.top-secret"
    )
    return ExternalEngine(settings, directory=tmp_path)


def test_an_external_vault_says_what_cannot_be_done_to_it(tmp_path: Path) -> None:
    """Each verb it lacks is an error of its own, and no capability promises it."""
    node = external(tmp_path).node(NodeSpec(name="theirs", directory=tmp_path))

    assert isinstance(node, Node)
    assert (node.address, node.upstream) == ("http://127.0.0.1:1", "127.0.0.1:1")
    for verb in (node.stop, node.kill, node.pause, node.restart, node.reload):
        with pytest.raises(CapabilityMissing, match="external Vault cannot"):
            verb()
    assert Capability.PAUSE not in node.capabilities


def test_an_external_vault_that_does_not_answer(tmp_path: Path) -> None:
    """The deadline names the address to check."""
    node = external(tmp_path).node(NodeSpec(name="theirs", directory=tmp_path))

    with pytest.raises(DeadlineExceeded, match="VAULT_ADDR"):
        node.start(timeout=0.2)


def test_the_token_shows_nowhere(tmp_path: Path) -> None:
    """Neither settings nor engine nor node print it."""
    engine = external(tmp_path)
    node = engine.node(NodeSpec(name="theirs", directory=tmp_path))

    assert "top-secret" not in f"{engine.settings!r} {engine.choice} {node!r} {engine.token!r}"


def test_an_external_vault_is_not_ours_to_bring_up() -> None:
    """The stack of `up` exists for process and docker only."""
    with pytest.raises(SettingsError, match="external"):
        open_provider(Settings(engine="external"), Forgetful())


def test_the_process_provider_has_the_shape() -> None:
    """What `up` calls is what the protocol says."""
    assert isinstance(open_provider(Settings(engine="process"), Forgetful()), StackProvider)


def test_a_storage_that_the_server_lacks(tmp_path: Path) -> None:
    """A wrong storage is refused before anything is started."""
    with open_engine(Settings(engine="process"), directory=tmp_path) as engine:
        spec = NodeSpec(name="n", directory=tmp_path / "n", storage="file")  # type: ignore[arg-type] # wrong on purpose
        with pytest.raises(EngineError, match="no storage file"):
            engine.node(spec)
