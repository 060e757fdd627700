"""Which engines support which seal."""

from __future__ import annotations

from typing import cast

import pytest

from vault_harness.errors import CapabilityMissing
from vault_harness.local.engine.provider import StackProvider
from vault_harness.local.engine.seal import SealKind
from vault_harness.local.stack import sealing


class Plain:
    """An engine that starts a Vault but supports no seal."""

    name = "plain"


@pytest.mark.parametrize("kind", ["static", "transit", "awskms", "azurekeyvault"])
def test_an_engine_without_the_verbs_is_refused(kind: SealKind) -> None:
    """An engine without the methods is refused, since its servers could not open the data."""
    with pytest.raises(CapabilityMissing, match=f"plain engine cannot run a Vault .*{kind}"):
        sealing.check_engine(kind, cast("StackProvider", Plain()))


def test_every_engine_unseals_with_keys() -> None:
    """Shamir's seal needs nothing of an engine."""
    sealing.check_engine("shamir", cast("StackProvider", Plain()))
