"""Seals whose key a cloud holds: their stanza, from settings, without a credential in it.

What may be read by everybody (which key, where) is in the configuration; who may use it is said by
the variables of the cloud's own SDK, which the server alone gets. OpenBao 2.7 and newer know these
seals by a plugin only, which is declared beside the stanza.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, get_args, runtime_checkable

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vault_harness.commands import named
from vault_harness.engine._provider import StackProvider
from vault_harness.engine._seal import SealKind
from vault_harness.engine._shape import Engine, NodeSpec
from vault_harness.errors import ProgramMissing, SettingsError
from vault_harness.settings import Settings

PLUGIN_VARIABLE = "HARNESS_KMS_PLUGIN"


class _CloudSettings(BaseSettings):
    """Parameters of a stanza, each by the variable that HashiCorp Vault has for it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)


class AwsKmsSettings(_CloudSettings):
    """Of the stanza ``awskms``.

    Attributes:
        kms_key_id: The key's id, ARN, or ``alias/NAME``.
        region: Where it is.
        endpoint: Another address of the service, for a VPC endpoint.
    """

    kms_key_id: str | None = Field(default=None, validation_alias="VAULT_AWSKMS_SEAL_KEY_ID")
    region: str | None = Field(
        default=None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION")
    )
    endpoint: str | None = Field(default=None, validation_alias="AWS_KMS_ENDPOINT")


class AzureKeyVaultSettings(_CloudSettings):
    """Of the stanza ``azurekeyvault``.

    Attributes:
        tenant_id: Whose directory it is.
        vault_name: The key vault.
        key_name: The key in it.
        environment: Another cloud than the public one.
        resource: Another DNS suffix, for a managed HSM.
    """

    tenant_id: str | None = Field(default=None, validation_alias="AZURE_TENANT_ID")
    vault_name: str | None = Field(default=None, validation_alias="VAULT_AZUREKEYVAULT_VAULT_NAME")
    key_name: str | None = Field(default=None, validation_alias="VAULT_AZUREKEYVAULT_KEY_NAME")
    environment: str | None = Field(default=None, validation_alias="AZURE_ENVIRONMENT")
    resource: str | None = Field(default=None, validation_alias="AZURE_AD_RESOURCE")


@dataclass(frozen=True, kw_only=True)
class _Cloud:
    """One of these seals.

    Attributes:
        settings: Where its stanza comes from.
        needed: Parameters without which there is no stanza, with their variables.
        credentials: Variables by which the cloud's SDK finds out who asks.
        plugin: The program by which OpenBao knows it.
    """

    settings: type[_CloudSettings]
    needed: Mapping[str, str]
    credentials: tuple[str, ...]
    plugin: str


_WAY = ("HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy")
"""To a cloud, from a network that has none."""

_CLOUDS: dict[str, _Cloud] = {
    "awskms": _Cloud(
        settings=AwsKmsSettings,
        needed={"kms_key_id": "VAULT_AWSKMS_SEAL_KEY_ID", "region": "AWS_REGION"},
        credentials=(
            *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"),
            *("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CA_BUNDLE"),
            *("AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE"),
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
            "AWS_EC2_METADATA_DISABLED",
        ),
        plugin="openbao-plugin-kms-aws",
    ),
    "azurekeyvault": _Cloud(
        settings=AzureKeyVaultSettings,
        needed={
            "tenant_id": "AZURE_TENANT_ID",
            "vault_name": "VAULT_AZUREKEYVAULT_VAULT_NAME",
            "key_name": "VAULT_AZUREKEYVAULT_KEY_NAME",
        },
        credentials=(
            *("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_CLIENT_CERTIFICATE_PATH"),
            *("AZURE_CLIENT_CERTIFICATE_PASSWORD", "AZURE_FEDERATED_TOKEN_FILE"),
            *("AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT"),
        ),
        plugin="openbao-plugin-kms-azure",
    ),
}

CLOUD_SEALS: tuple[SealKind, ...] = tuple(kind for kind in get_args(SealKind) if kind in _CLOUDS)


@dataclass(frozen=True, kw_only=True)
class SealCheck:
    """What a server made of the configuration of a cloud's seal: it took it, and used the key.

    Attributes:
        seal: The seal that it says to have.
        server: Its program.
        configuration: What it was started with, as text.
    """

    seal: str
    server: str
    configuration: str


@runtime_checkable
class CloudSealingProvider(StackProvider, Protocol):
    """A provider whose Vault may be unsealed by a cloud."""

    def check_seal(self, stanza: Mapping[str, Any]) -> SealCheck:
        """Have the server itself look at a stanza, with storage that ends with it.

        Raises:
            CapabilityMissing: It does not know that seal.
            EngineError: It does not take the stanza, or does not get at the key.
        """

    def let_ask_cloud(self, engine: Engine) -> None:
        """Let servers that an engine makes from now on ask a cloud with what this stack keeps."""


def cloud_stanza(kind: SealKind, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """The body of a cloud's stanza, from the environment.

    Args:
        kind: One of `CLOUD_SEALS`.
        recorded: The one that the stack has, which says what the environment does not.

    Raises:
        SettingsError: Parameters are missing; all of them are named.
    """
    cloud = _CLOUDS[kind]
    given = cloud.settings().model_dump(exclude_none=True)
    stanza = {name: value for name, value in recorded.items() if name != "disabled"} | given
    missing = [variable for name, variable in cloud.needed.items() if not stanza.get(name)]
    if missing:
        raise SettingsError(
            f"the seal {kind} needs what is not set: {', '.join(missing)}",
            looked_at="the environment",
            remedy=f"set {'it' if len(missing) == 1 else 'them'}, then "
            f"{named('up', '--seal', kind, '--check')}; who may use the key is told to the server "
            f"by {', '.join(cloud.credentials[:3])} and what else the cloud's SDK reads",
        )
    return stanza


def plugin_of(kind: str) -> str:
    """The name of the program by which OpenBao knows a cloud's seal."""
    return _CLOUDS[kind].plugin


def with_cloud_seal(spec: NodeSpec, settings: Settings) -> NodeSpec:
    """A node that gets what a cloud's seal needs beside its stanza; any other as it is.

    Args:
        spec: Of the node.
        settings: Where the plugin is.

    Raises:
        ProgramMissing: The plugin is no program.
    """
    seals = spec.extra.get("seal")
    kinds = [kind for kind in _CLOUDS if isinstance(seals, Mapping) and kind in seals]
    if not kinds:
        return spec
    passes = tuple(name for kind in kinds for name in _CLOUDS[kind].credentials) + _WAY
    extra = {**spec.extra, **_plugins(kinds, settings.kms_plugin)}
    return replace(spec, extra=extra, passes=passes)


def _plugins(kinds: list[str], program: Path | None) -> dict[str, object]:
    """Declares the plugin to OpenBao, which takes no other program for it than that one."""
    if program is None:
        return {}
    path = program.resolve()  # OpenBao wants the folder itself, and no link to it
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ProgramMissing.not_executable(str(program), setting=PLUGIN_VARIABLE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    declared = {"command": path.name, "sha256sum": digest}
    return {
        "plugin_directory": str(path.parent),
        "plugin": {"kms": dict.fromkeys(kinds, declared)},
    }
