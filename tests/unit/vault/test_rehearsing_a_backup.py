"""An error of the server that rehearses a backup is reported as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import DeadlineExceeded, HarnessError, OperatorError, StackError
from vault_harness.local.vault.keyring import Keyring
from vault_harness.operator.backup import Contents, Keys, Opened, TokensEnded, seal_drill
from vault_harness.operator.backup.seal_drill import rehearse

SEAL = {"transit": {"address": "http://127.0.0.1:1"}}
SLOW = DeadlineExceeded("waited 60 s for Vault to take the snapshot")


class Server:
    def __init__(self, sealed: bool | None) -> None:
        self._sealed = sealed
        self.address, self.running = "http://127.0.0.1:1", False

    def start(self) -> None:
        self.running = True

    def kill(self) -> None:
        self.running = False

    def close(self) -> None:
        """Do nothing."""

    def init(self) -> Keyring:
        return Keyring(("a key",), 1, "a root token", kind="recovery")

    def wait_active(self, _timeout: float) -> None:
        """Return at once."""

    def seal_status(self) -> SimpleNamespace:
        if self._sealed is None:
            raise OperatorError("it does not answer")
        return SimpleNamespace(sealed=self._sealed)


def rehearsed(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *, sealed: bool | None, error: HarnessError
) -> None:
    """Rehearse a backup whose restore ends with this error, and check that the server stopped."""

    def restore(*_: object) -> None:
        raise error

    server: Any = Server(sealed)
    monkeypatch.setattr(seal_drill, "VaultAdmin", lambda _: server)
    monkeypatch.setattr(seal_drill, "restore", restore)
    engine: Any = SimpleNamespace(node=lambda _: server)
    contents = Contents((), {}, (), ())
    try:
        rehearse(engine, SEAL, Opened(b"", contents, Keys(server.init())), directory)
    finally:
        assert not server.running


@pytest.mark.parametrize("sealed", [False, None])
def test_a_slow_machine_is_no_wrong_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sealed: bool | None
) -> None:
    """A dead server is none, either."""
    with pytest.raises(DeadlineExceeded, match="to take the snapshot"):
        rehearsed(monkeypatch, tmp_path, sealed=sealed, error=SLOW)


def test_a_server_that_sealed_itself_cannot_open_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The error says which key is needed."""
    with pytest.raises(StackError, match="does not open with the key of this Vault's seal") as told:
        rehearsed(monkeypatch, tmp_path, sealed=True, error=SLOW)
    assert "holder/" in told.value.remedy


def test_a_backup_that_opens_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Expired tokens are reported only by the restore."""
    rehearsed(monkeypatch, tmp_path, sealed=False, error=TokensEnded("none lives"))
