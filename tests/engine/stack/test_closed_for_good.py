"""A Vault whose keys are not here is not closed by accident; one that unseals itself needs none."""

from __future__ import annotations

import pytest

from vault_harness.errors import DeadlineExceeded, KeyringMissing, VaultIsSealed
from vault_harness.stack import LocalStack, StackRecord
from vault_harness.waiting import wait_until

pytestmark = pytest.mark.slow  # each starts a stack, and one of its servers several times


def pid(stack: LocalStack) -> object:
    """Of Vault's process."""
    return StackRecord.load(stack.data_dir).services["vault"]["pid"]


def test_without_its_keys_it_goes_on(stack: LocalStack) -> None:
    """It is neither restarted nor sealed, unless that is said; what is sealed may be restarted."""
    stack.up()
    kept = stack.keyring_path.rename(stack.data_dir / "kept")
    before = pid(stack)

    for close, done in ((stack.restart, "restarted"), (stack.seal, "sealed")):
        with pytest.raises(KeyringMissing, match=f"it was not {done}"):
            close()
    assert (stack.status().state, pid(stack)) == ("ready", before)
    assert isinstance(stack.reopening.lost_by_ending(), KeyringMissing)

    assert not stack.restart(leave_sealed=True)
    assert stack.status().state == "sealed"
    assert not stack.restart()

    kept.rename(stack.keyring_path)
    assert stack.reopening.lost_by_ending() is None
    stack.unseal()
    assert stack.status().state == "ready"


def test_an_early_seal_is_not_undone(stack: LocalStack) -> None:
    """A new server tries to unseal itself every five seconds; it is sealed for longer."""
    stack.up(seal="static")

    assert stack.seal() == "keys"

    with pytest.raises(DeadlineExceeded):
        wait_until(lambda: stack.status().state != "sealed", "it to unseal itself", timeout=7)
    stack.unseal()
    assert stack.status().state == "ready"


def test_one_that_unseals_itself_needs_no_recovery_keys(stack: LocalStack) -> None:
    """A restart opens it, and so does up; sealed by hand it says what does."""
    stack.up(seal="static")
    stack.keyring_path.rename(stack.data_dir / "kept")

    assert stack.reopening.lost_by_ending() is None
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
