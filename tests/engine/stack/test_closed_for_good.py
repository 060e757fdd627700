from __future__ import annotations

import pytest

from vault_harness.errors import DeadlineExceeded, KeyringMissing, VaultIsSealed
from vault_harness.local.stack.local import LocalStack
from vault_harness.local.stack.record import StackRecord
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow  # each starts a stack, and a server several times


def pid(stack: LocalStack) -> object:
    return StackRecord.load(stack.data_dir).services["vault"]["pid"]


def test_without_its_keys_it_goes_on(stack: LocalStack) -> None:
    """It is not restarted or sealed unasked; a sealed Vault may restart."""
    stack.up()
    kept = stack.keyring_path.rename(stack.data_dir / "kept")
    before = pid(stack)

    for close, done in ((stack.restart, "restarted"), (stack.seal, "sealed")):
        with pytest.raises(KeyringMissing, match=f"it was not {done}"):
            close()
    assert (stack.status().state, pid(stack)) == ("ready", before)
    assert isinstance(stack.lost_by_ending(), KeyringMissing)

    assert not stack.restart(leave_sealed=True)
    assert stack.status().state == "sealed"
    assert not stack.restart()

    kept.rename(stack.keyring_path)
    assert stack.lost_by_ending() is None
    stack.unseal()
    assert stack.status().state == "ready"


def test_an_early_seal_is_not_undone(stack: LocalStack) -> None:
    """A new server tries to unseal itself every five seconds."""
    stack.up(seal="static")

    assert stack.seal() == "keys"

    with pytest.raises(DeadlineExceeded):
        wait_until(lambda: stack.status().state != "sealed", "it to unseal itself", timeout=7)
    stack.unseal()
    assert stack.status().state == "ready"


def test_an_auto_unsealed_vault_needs_no_recovery_keys(stack: LocalStack) -> None:
    stack.up(seal="static")
    stack.keyring_path.rename(stack.data_dir / "kept")

    assert stack.lost_by_ending() is None
    assert stack.restart()
    stack.down()
    stack.up()
    assert stack.status().sealed is False

    (stack.data_dir / "kept").rename(stack.keyring_path)
    assert stack.seal() == "keys"
    stack.keyring_path.rename(stack.data_dir / "kept")
    assert stack.status().next_step == "invoke restart"
    for opens in (stack.operator, stack.unseal):
        with pytest.raises((VaultIsSealed, KeyringMissing)) as caught:
            opens()
        assert "invoke restart" in caught.value.remedy
    assert stack.restart()
    assert stack.status().sealed is False
