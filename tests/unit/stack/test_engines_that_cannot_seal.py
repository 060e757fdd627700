"""Which engines may be asked for which seal."""

from __future__ import annotations

from typing import cast

import pytest

from vault_harness.engine import SealKind, StackProvider
from vault_harness.errors import CapabilityMissing
from vault_harness.stack import _sealing


class Plain:
    """An engine that starts a Vault, and has no verb for any seal."""

    name = "plain"


@pytest.mark.parametrize("kind", ["static", "transit", "awskms", "azurekeyvault"])
def test_an_engine_without_the_verbs_is_refused(kind: SealKind) -> None:
    """Its servers would find data that they cannot open."""
    with pytest.raises(CapabilityMissing, match=f"plain engine cannot run a Vault .*{kind}"):
        _sealing.check_engine(kind, cast("StackProvider", Plain()))


def test_every_engine_unseals_with_keys() -> None:
    """Shamir's seal asks nothing of an engine."""
    _sealing.check_engine("shamir", cast("StackProvider", Plain()))
