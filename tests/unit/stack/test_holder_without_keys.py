"""Errors about the Vault that holds a seal's key, when its own keys are lost."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from vault_harness.errors import OperatorError, StackError
from vault_harness.local.engine.provider import NodeEndpoint
from vault_harness.local.stack import sealing
from vault_harness.local.stack.opening import Opening
from vault_harness.local.vault import cluster
from vault_harness.local.vault.connection import SealStatus
from vault_harness.local.vault.keyring import Keyring

KEYS = Keyring(("a", "b", "c"), 2, "")


class Provider:
    """A provider of both Vaults that records what it ends; see `SealingProvider`."""

    def __init__(self, data_dir: Path, *, full: bool = False) -> None:
        self.home = data_dir / "holder"
        self.full = full
        self.ended: list[str] = []

    def start_holder(self) -> NodeEndpoint:
        """Make the data folder, as a server does."""
        (self.home / "data").mkdir(parents=True, exist_ok=True)
        return NodeEndpoint(
            name="holder", address="http://holder", proxy="", proxy_listen="", upstream=""
        )

    def end_holder(self) -> list[str]:
        """End the holder; on a full disk raise when its record is written."""
        self.ended.append("holder")
        if self.full:
            raise OSError(28, "No space left on device")
        return ["holder"]

    def stop(self) -> list[str]:
        self.ended.append("everything")
        return ["everything"]


def key_at_hand(provider: Provider, data_dir: Path, *, new: bool) -> None:
    given: Any = provider
    directory = data_dir / "seal"
    directory.mkdir(exist_ok=True)
    sealing._transit(given, directory, data_dir, new=new)


def holder_is(monkeypatch: pytest.MonkeyPatch, *, initialised: bool) -> None:
    said = SealStatus(
        initialised=initialised,
        sealed=True,
        shares=3,
        threshold=2,
        progress=0,
        version="2.7.2",
        product="openbao",
    )
    monkeypatch.setattr(Opening, "seal_status", lambda *_, **__: said)


@pytest.mark.parametrize(
    ("new", "said", "remedy"),
    [
        (True, "does not depend on it yet", "{home}"),
        (False, "the key for that is not here", "put holder back"),
    ],
    ids=["a new seal", "a seal in force"],
)
def test_a_holder_that_lost_its_keys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, new: bool, said: str, remedy: str
) -> None:
    """Its folder is moved or restored: no backup has these keys, and the stack can stay."""
    holder_is(monkeypatch, initialised=True)
    provider = Provider(tmp_path)
    provider.start_holder()
    (provider.home / "init.started").write_text("2026-01-01T00:00:00+00:00")

    with pytest.raises(StackError, match=said) as raised:
        key_at_hand(provider, tmp_path, new=new)

    assert remedy.format(home=provider.home) in raised.value.remedy
    assert "restore.keys" not in raised.value.remedy
    assert "destroy" not in raised.value.remedy
    assert (provider.home / "data").is_dir()


@pytest.mark.parametrize("full", [False, True])
def test_keys_of_a_new_holder_that_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, full: bool
) -> None:
    """The holder and its data go, and the next run works."""
    holder_is(monkeypatch, initialised=False)

    class Initialising:
        def init(self) -> Keyring:
            return KEYS

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        cluster, "operators", lambda *_, **__: contextlib.nullcontext((Initialising(),))
    )
    monkeypatch.setattr(Keyring, "save", no_room)
    provider = Provider(tmp_path, full=full)

    with pytest.raises(StackError, match="unseal keys of the new Vault could not be written"):
        key_at_hand(provider, tmp_path, new=True)

    assert provider.ended == ["holder"]
    assert not (provider.home / "data").exists()
    assert not (provider.home / "init.started").exists()


def test_a_holder_that_was_never_initialised_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Even if the mark is there, no keys are lost."""
    holder_is(monkeypatch, initialised=False)
    provider = Provider(tmp_path)
    provider.start_holder()
    (provider.home / "init.started").write_text("")

    def refuse(*_: object) -> None:
        raise OperatorError("asked to open it")

    monkeypatch.setattr(Opening, "open", refuse)
    with pytest.raises(OperatorError, match="asked to open it"):
        key_at_hand(provider, tmp_path, new=True)
