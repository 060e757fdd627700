"""What went wrong with the server that tries a backup first is told as it was."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vault_harness.errors import DeadlineExceeded, HarnessError, OperatorError, StackError
from vault_harness.vault import Keyring
from vault_harness.vault.backup import Contents, Keys, TokensEnded, _rehearsal, rehearse

SEAL = {"transit": {"address": "http://127.0.0.1:1"}}
SLOW = DeadlineExceeded("waited 60 s for Vault to take the snapshot")


class Server:
    """The server that tries it, and its operator."""

    def __init__(self, sealed: bool | None) -> None:
        self._sealed = sealed
        self.address, self.running = "http://127.0.0.1:1", False

    def start(self) -> None:
        self.running = True

    def kill(self) -> None:
        self.running = False

    def close(self) -> None:
        """Nothing to do."""

    def init(self) -> Keyring:
        return Keyring(("a key",), 1, "a root token", kind="recovery")

    def wait_active(self, _timeout: float) -> None:
        """It is."""

    def seal_status(self) -> SimpleNamespace:
        if self._sealed is None:
            raise OperatorError("it does not answer")
        return SimpleNamespace(sealed=self._sealed)


def rehearsed(
    monkeypatch: pytest.MonkeyPatch, directory: Path, *, sealed: bool | None, error: HarnessError
) -> None:
    """Try a backup whose restore ends like that; the server has ended then."""

    def restore(*_: object) -> None:
        raise error

    server: Any = Server(sealed)
    monkeypatch.setattr(_rehearsal, "Operator", lambda _: server)
    monkeypatch.setattr(_rehearsal, "restore", restore)
    engine: Any = SimpleNamespace(node=lambda _: server)
    contents = Contents((), {}, (), ())
    try:
        rehearse(engine, SEAL, b"", contents, Keys(server.init()), directory)
    finally:
        assert not server.running


@pytest.mark.parametrize("sealed", [False, None])
def test_a_slow_machine_is_no_wrong_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sealed: bool | None
) -> None:
    """Neither is a server that ended: another key would not help."""
    with pytest.raises(DeadlineExceeded, match="to take the snapshot"):
        rehearsed(monkeypatch, tmp_path, sealed=sealed, error=SLOW)


def test_a_server_that_sealed_itself_cannot_open_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """That is told with the way to one that can."""
    with pytest.raises(StackError, match="does not open with the key of this Vault's seal") as told:
        rehearsed(monkeypatch, tmp_path, sealed=True, error=SLOW)
    assert "holder/" in told.value.remedy


def test_a_backup_that_opens_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """That none of its tokens lives is told by the restore, once it is in place."""
    rehearsed(monkeypatch, tmp_path, sealed=False, error=TokensEnded("none lives"))
