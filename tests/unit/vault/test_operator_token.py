from __future__ import annotations

import errno
import os
import signal
from contextlib import closing
from pathlib import Path

import pytest

from tests.unit.vault.fake_vault import FakeVault, Serve
from vault_harness import files
from vault_harness.errors import KeyringMissing
from vault_harness.local.vault.admin import VaultAdmin
from vault_harness.local.vault.tokens import (
    admin_with_token,
    install_operator,
    operator_token,
)

TOKEN = "s.of-the-operator"


def test_without_keys_they_come_back_first(tmp_path: Path) -> None:
    """A root token can be made only afterwards."""
    with pytest.raises(KeyringMissing) as caught:
        admin_with_token("http://127.0.0.1:1", None, tmp_path)
    remedy = caught.value.remedy or ""
    assert remedy.index("restore.keys") < remedy.index("root.generate")


@pytest.mark.parametrize("left", [b"\xff\xfe\x00", b"s.a\nb", b"\0" * 26, "s.ö…".encode()])
def test_what_a_broken_disk_left_is_no_token(tmp_path: Path, left: bytes) -> None:
    """The file has garbage."""
    (tmp_path / "operator-token").write_bytes(left)
    assert operator_token(tmp_path) == ""


@pytest.fixture
def vault(serve: Serve) -> FakeVault:
    made = serve()
    made.answers |= {
        "/v1/sys/policies/acl/operator": (200, {}, {}),
        "/v1/auth/token/create-orphan": (200, {"auth": {"client_token": TOKEN}}, {}),
        "/v1/auth/token/revoke-self": (200, {}, {}),
    }
    return made


def test_a_token_that_cannot_be_kept_is_revoked(
    vault: FakeVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk nobody else would know of it."""

    def full(path: Path, _: str) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(files, "write_private", full)
    with (
        closing(VaultAdmin(vault.address, "s.root")) as root,
        pytest.raises(OSError, match="No space left"),
    ):
        install_operator(root, ["kv"], tmp_path)
    assert (vault.asked[-1], vault.tokens[-1]) == ("/v1/auth/token/revoke-self", TOKEN)


def test_an_interrupt_loses_no_token(
    vault: FakeVault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C takes effect after the token is on disk."""
    write = files.write_private

    def interrupted(path: Path, content: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write(path, content)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(files, "write_private", interrupted)
    try:
        with closing(VaultAdmin(vault.address, "s.root")) as root, pytest.raises(KeyboardInterrupt):
            install_operator(root, ["kv"], tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert operator_token(tmp_path) == TOKEN
