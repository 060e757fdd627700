"""A token that somebody else keeps alive, for instance an agent beside the application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from resilient_vault_client._api import Api
from resilient_vault_client._clock import clock
from resilient_vault_client._credentials import MOST_BYTES_OF_A_TOKEN, read_word, told
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    CredentialsMissing,
    CredentialsRejected,
    PermissionDenied,
    UnexpectedAnswer,
)
from resilient_vault_client._retrier import Retrier, always
from resilient_vault_client._token import Token

# What is left of a life of which Vault says that it is no whole second.
_LAST_MOMENT = 0.5


class TokenFile:
    """The method of logging in that is none: the file is read, and Vault asked what it holds.

    The token is its owner's: it is neither renewed nor given back. Before it ends, and when Vault
    refuses it, the file is read again.

    Args:
        file: Where the token is.
        api: Vault's API.
        retrier: Makes requests under the circuit.
    """

    def __init__(self, file: Path, *, api: Api, retrier: Retrier) -> None:
        self._file = file
        self._api = api
        self._retrier = retrier

    def log_in(self, deadline: Deadline, patience: float) -> Token:
        """The token that is in the file now.

        Raises:
            CredentialsMissing: There is none.
            CredentialsRejected: Vault does not know it, or not any more.
            VaultUnavailable: Vault cannot be asked.
        """
        text = read_word(self._file, most=MOST_BYTES_OF_A_TOKEN)
        if not text:
            raise CredentialsMissing(
                f"there is no token: VAULT_TOKEN_FILE is {told(self._file)}, which is missing, "
                "unreadable, empty, or no single word"
            )
        try:
            started, answer = self._retrier.run(
                lambda: (clock(), self._api.look_up(text, deadline)),
                scope="login",
                deadline=deadline,
                patience=patience,
                repeat=always,
            )
        except PermissionDenied as error:
            raise CredentialsRejected(
                f"Vault refuses the token in {self._file}: does its owner still keep it alive?",
                status=error.status,
            ) from None
        known = answer.get("data")
        if not isinstance(known, dict):
            raise UnexpectedAnswer("the answer about the token does not say what it is")
        auth = {
            "client_token": text,
            "token_type": known.get("type"),
            "lease_duration": _life(known),
            "num_uses": known.get("num_uses"),
        }
        token = Token(auth, started=started)
        token.revocable = False
        return token


def _life(known: dict[str, Any]) -> object:
    """Seconds of life that a token has left; 0 for one that never ends.

    Vault says whole seconds, and so 0 in the last one, too: only that one has an end.
    """
    left = known.get("ttl")
    return _LAST_MOMENT if not left and known.get("expire_time") else left
