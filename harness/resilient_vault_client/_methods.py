"""Which of the ways to get a token a client takes."""

from __future__ import annotations

from collections.abc import Mapping

from resilient_vault_client._api import Api
from resilient_vault_client._approle import AppRole
from resilient_vault_client._backoff import Backoff
from resilient_vault_client._config import Config
from resilient_vault_client._jwt import JwtFile
from resilient_vault_client._login import LoginMethod
from resilient_vault_client._retrier import Retrier
from resilient_vault_client._token_file import TokenFile
from resilient_vault_client._wrapped import Opened


def login_method(
    config: Config,
    environ: Mapping[str, str],
    opened: Opened,
    *,
    backoff: Backoff,
    api: Api,
    retrier: Retrier,
) -> LoginMethod:
    """A token file wins over a JWT, and a JWT over the two ids of an AppRole.

    Args:
        config: The settings.
        environ: Where ids are read at each login.
        opened: What a wrapping token gave before.
        backoff: How long to pause.
        api: Vault's API.
        retrier: Makes requests under the circuit.
    """
    if config.token_file is not None:
        return TokenFile(config.token_file, api=api, retrier=retrier)
    if config.jwt_file is not None and config.jwt_role is not None:
        return JwtFile(
            config.auth_mount,
            config.jwt_role,
            config.jwt_file,
            backoff=backoff,
            api=api,
            retrier=retrier,
        )
    return AppRole(config, environ, opened, api=api, retrier=retrier)
