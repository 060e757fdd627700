"""A Vault of somebody else: looked at before anything begins, and taken as it is."""

from __future__ import annotations

import contextlib

from vault_harness.boundary import without_frames
from vault_harness.engine import ExternalEngine, Node, NodeSpec, run_directory
from vault_harness.errors import OperatorError, VaultIsSealed
from vault_harness.settings import Settings
from vault_harness.vault import Keyring, Operator
from vault_harness.vault.root import alive

_ANSWER_SECONDS = 5.0
"""In which it must answer: nobody starts it meanwhile."""


@without_frames
def check_external(settings: Settings, *, timeout: float = _ANSWER_SECONDS) -> None:
    """See that the Vault of ``VAULT_ADDR`` answers, is unsealed, and takes ``VAULT_TOKEN``.

    Args:
        settings: Its address, its token, the CA certificate to check it with, and what is shown.
        timeout: Seconds in which it must answer.

    Raises:
        SettingsError: Address or token is not set, or what is to be shown to it cannot be.
        DeadlineExceeded: It does not answer.
        VaultIsSealed: It is sealed, or not initialised.
        OperatorError: It does not take the token.
    """
    with run_directory() as directory:
        engine = ExternalEngine(settings, directory=directory)
        node = engine.node(NodeSpec(name="external", directory=directory))
        node.start(timeout=timeout)
        keyring = keyring_of(engine, node)
        with contextlib.closing(
            Operator(node.address, keyring.root_token, node.ca_cert)
        ) as operator:
            if alive(operator) is None:
                raise OperatorError(
                    "the external Vault does not take VAULT_TOKEN",
                    looked_at=f"{node.address}/v1/auth/token/lookup-self",
                    remedy="set VAULT_TOKEN to an operator's token that lives",
                )


def keyring_of(engine: ExternalEngine, node: Node) -> Keyring:
    """A keyring without keys, with the operator's token.

    Raises:
        VaultIsSealed: It is sealed, or not initialised: the harness does not change that.
        OperatorError: The token is empty.
    """
    with contextlib.closing(Operator(node.address, ca_cert=node.ca_cert)) as operator:
        status = operator.seal_status()
    if not status.initialised or status.sealed:
        raise VaultIsSealed(
            "the external Vault is not ready: it is "
            + ("sealed" if status.initialised else "not initialised"),
            looked_at=node.address,
            remedy="initialise and unseal it; the harness does not do that to others",
        )
    token = engine.token.get_secret_value()
    if not token:
        raise OperatorError("VAULT_TOKEN is empty", remedy="set it to an operator's token")
    return Keyring(keys=(), threshold=0, root_token=token, ca_cert=node.ca_cert)
