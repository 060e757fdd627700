"""A Vault client that survives what production does to it.

::

    from resilient_vault_client import VaultClient

    vault = VaultClient()
    password = vault.get_secret_cached("backend/database", "DB_PASSWORD")
"""

from resilient_vault_client._client import VaultClient, get_vault_secret
from resilient_vault_client._config import Config
from resilient_vault_client._errors import (
    AnswerTruncated,
    AuthenticationFailed,
    AuthMountMissing,
    ClientClosed,
    ConfigurationError,
    ConnectionLost,
    CredentialsMissing,
    CredentialsRejected,
    InternalError,
    InvalidPath,
    KeyNotFound,
    MountMissing,
    NotInitialised,
    NotReplicated,
    PermissionDenied,
    RateLimited,
    RedirectRefused,
    RequestRefused,
    RequestTooLarge,
    RoleLocked,
    SecretDeleted,
    SecretDestroyed,
    SecretNotFound,
    ServerFailed,
    TlsFailed,
    UnexpectedAnswer,
    VaultError,
    VaultSealed,
    VaultTimeout,
    VaultUnavailable,
    VaultUnreachable,
    WrappingTokenSpent,
    WriteConflict,
)
from resilient_vault_client._grant import Credential
from resilient_vault_client._health import Health
from resilient_vault_client._leases import Lease
from resilient_vault_client._memory import Secret, StaticCredential
from resilient_vault_client.events import Event

__all__ = [
    "VaultClient",
    "get_vault_secret",
    "Config",
    "Secret",
    "Lease",
    "Credential",
    "StaticCredential",
    "Health",
    "Event",
    "VaultError",
    "ConfigurationError",
    "InvalidPath",
    "MountMissing",
    "ClientClosed",
    "InternalError",
    "VaultUnavailable",
    "VaultTimeout",
    "VaultUnreachable",
    "ConnectionLost",
    "AnswerTruncated",
    "TlsFailed",
    "VaultSealed",
    "NotInitialised",
    "RateLimited",
    "ServerFailed",
    "NotReplicated",
    "RedirectRefused",
    "UnexpectedAnswer",
    "AuthenticationFailed",
    "CredentialsMissing",
    "CredentialsRejected",
    "RoleLocked",
    "AuthMountMissing",
    "PermissionDenied",
    "SecretNotFound",
    "KeyNotFound",
    "SecretDeleted",
    "SecretDestroyed",
    "RequestRefused",
    "WriteConflict",
    "RequestTooLarge",
    "WrappingTokenSpent",
]
