"""A secret-id that comes wrapped: whoever opens it first is the only one who can."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path

from resilient_vault_client._api import Api
from resilient_vault_client._credentials import read_word, told
from resilient_vault_client._deadline import Deadline
from resilient_vault_client._errors import (
    CredentialsMissing,
    PermissionDenied,
    RequestRefused,
    UnexpectedAnswer,
)
from resilient_vault_client._retrier import Retrier, always, unless_sent
from resilient_vault_client._transport import Answer

_log = logging.getLogger("resilient_vault_client")


@dataclass
class Opened:
    """What was in the wrapping token that was opened last."""

    wrapping: str = field(default="", repr=False)
    secret_id: str = field(default="", repr=False)


class WrappedSecretId:
    """The secret-id that the wrapping token in a file stands for.

    A wrapping token is good for one use, so it is opened once and what was in it is kept; another
    one in the file is opened when it is there.

    Args:
        file: Where the wrapping token is.
        opened: What was opened before, by this process or the one that it was forked from.
        mount: Where the AppRole method is mounted: only what was wrapped there is opened.
        api: Vault's API.
        retrier: Makes requests under the circuit.
    """

    def __init__(
        self, file: Path, opened: Opened, *, mount: str, api: Api, retrier: Retrier
    ) -> None:
        self._file = file
        self._opened = opened
        self._origin = re.compile(rf"(.*/)?auth/{re.escape(mount)}/role/[^/]+/(custom-)?secret-id")
        self._api = api
        self._retrier = retrier

    def load(self, deadline: Deadline, patience: float) -> str:
        """The secret-id.

        Raises:
            CredentialsMissing: There is no wrapping token, it was used before, or it was not made
                by a request for a secret-id.
            VaultUnavailable: Vault cannot be asked.
        """
        wrapping = read_word(self._file)
        if wrapping and wrapping != self._opened.wrapping:
            self._opened.secret_id = self._open(wrapping, deadline, patience)
            self._opened.wrapping = wrapping
        if not self._opened.secret_id:
            raise CredentialsMissing(
                "there is no secret-id: the wrapping token in VAULT_WRAPPED_SECRET_ID_FILE "
                f"({told(self._file)}) is missing, was used before, or has expired; deliver a new "
                "one. If nobody of yours used it, treat the secret-id as stolen and destroy it"
            )
        return self._opened.secret_id

    def _open(self, wrapping: str, deadline: Deadline, patience: float) -> str:
        """What is inside; nothing if the token is spent.

        If the answer is lost, so is what was in it: the next try finds the token spent.

        Raises:
            CredentialsMissing: It was made by something else than a request for a secret-id: who
                put another one in its place may know what is in it.
            VaultUnavailable: Nobody answered, or somebody else.
        """
        try:
            made_by = self._retrier.run(
                lambda: _told(self._api.look_up_wrapping(wrapping, deadline), "creation_path"),
                scope="unwrap",
                deadline=deadline,
                patience=patience,
                repeat=always,
            )
            if not self._origin.fullmatch(made_by):
                raise self._foreign(made_by)
            return self._retrier.run(
                lambda: _told(self._api.unwrap(wrapping, deadline), "secret_id"),
                scope="unwrap",
                deadline=deadline,
                patience=patience,
                repeat=unless_sent,
            )
        except (RequestRefused, PermissionDenied):
            return ""

    def _foreign(self, made_by: str) -> CredentialsMissing:
        _log.error(
            "vault: the wrapping token in %s was made by %s, not by a request for a secret-id: "
            "it was not opened; find out who put it there",
            self._file,
            made_by,
        )
        return CredentialsMissing(
            f"there is no secret-id: the wrapping token in VAULT_WRAPPED_SECRET_ID_FILE "
            f"({self._file}) was made by {made_by}, not by a request for a secret-id; it was not "
            "opened. Find out who put it there, and deliver another one"
        )


def _told(answer: Answer, name: str) -> str:
    """What an answer about a wrapping token says under a name that Vault's always has.

    It is looked for within the attempt, so that the circuit hears of who else answers.

    Raises:
        UnexpectedAnswer: It does not say that, so somebody else answered. The wrapping token is as
            it was; if it was Vault all the same, the next try finds it spent.
    """
    data = answer.get("data")
    found = data.get(name) if isinstance(data, dict) else None
    if not isinstance(found, str) or not found:
        raise UnexpectedAnswer(f"the answer about the wrapping token says no {name}: who gave it?")
    return found
