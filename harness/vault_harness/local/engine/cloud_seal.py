"""Seals whose key a cloud holds.

The stanza comes from settings. Credentials stay in the variables of the cloud's SDK, and only the
server gets them. OpenBao 2.7 and newer need a plugin for these seals.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vault_harness.errors import ProgramMissing, SettingsError, named
from vault_harness.local.engine.shape import NodeSpec
from vault_harness.settings import Settings

PLUGIN_VARIABLE = "HARNESS_KMS_PLUGIN"

CloudSeal = Literal["awskms", "azurekeyvault"]


class _CloudSettings(BaseSettings):
    """Parameters from the variables that HashiCorp Vault defines."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)


class AwsKmsSettings(_CloudSettings):
    """Parameters of the stanza ``awskms``.

    Attributes:
        kms_key_id: Id, ARN or ``alias/NAME``.
        endpoint: Another address, such as a VPC endpoint.
    """

    kms_key_id: str | None = Field(default=None, validation_alias="VAULT_AWSKMS_SEAL_KEY_ID")
    region: str | None = Field(
        default=None, validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION")
    )
    endpoint: str | None = Field(default=None, validation_alias="AWS_KMS_ENDPOINT")


class AzureKeyVaultSettings(_CloudSettings):
    """Parameters of the stanza ``azurekeyvault``.

    Attributes:
        environment: A cloud other than the public one.
        resource: DNS suffix of a managed HSM.
    """

    tenant_id: str | None = Field(default=None, validation_alias="AZURE_TENANT_ID")
    vault_name: str | None = Field(default=None, validation_alias="VAULT_AZUREKEYVAULT_VAULT_NAME")
    key_name: str | None = Field(default=None, validation_alias="VAULT_AZUREKEYVAULT_KEY_NAME")
    environment: str | None = Field(default=None, validation_alias="AZURE_ENVIRONMENT")
    resource: str | None = Field(default=None, validation_alias="AZURE_AD_RESOURCE")


@dataclass(frozen=True, kw_only=True)
class _Cloud:
    """A cloud seal.

    Attributes:
        needed: Required parameters, with their variables.
        credentials: Variables for the cloud's SDK.
    """

    settings: type[_CloudSettings]
    needed: Mapping[str, str]
    credentials: tuple[str, ...]
    plugin: str


_WAY = ("HTTPS_PROXY", "NO_PROXY", "https_proxy", "no_proxy")
"""Proxy variables, for networks without a direct route to the cloud."""

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

CLOUD_SEALS: tuple[CloudSeal, ...] = get_args(CloudSeal)


def cloud_stanza(kind: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a seal's stanza, from the environment.

    `recorded`, the stack's present stanza, fills in what the environment lacks. The `SettingsError`
    names all missing parameters.
    """
    cloud = _CLOUDS[kind]
    given = cloud.settings().model_dump(exclude_none=True)
    stanza = {name: value for name, value in recorded.items() if name != "disabled"} | given
    missing = [variable for name, variable in cloud.needed.items() if not stanza.get(name)]
    if missing:
        raise SettingsError(
            f"the seal {kind} needs variables that are not set: {', '.join(missing)}",
            looked_at="the environment",
            remedy=f"set {'it' if len(missing) == 1 else 'them'}, then "
            f"{named('up', '--seal', kind, '--check')}; the server takes its credentials from "
            f"{', '.join(cloud.credentials[:3])} and other variables of the cloud's SDK",
        )
    return stanza


def plugin_of(kind: str) -> str:
    return _CLOUDS[kind].plugin


def with_cloud_seal(spec: NodeSpec, settings: Settings) -> NodeSpec:
    """Add plugin and credential variables to a node with a cloud seal."""
    seals = spec.extra.get("seal")
    kinds = [kind for kind in _CLOUDS if isinstance(seals, Mapping) and kind in seals]
    if not kinds:
        return spec
    passes = tuple(name for kind in kinds for name in _CLOUDS[kind].credentials) + _WAY
    extra = {**spec.extra, **_plugins(kinds, settings.kms_plugin)}
    return replace(spec, extra=extra, passes=passes)


def _plugins(kinds: list[str], program: Path | None) -> dict[str, object]:
    if program is None:
        return {}
    path = program.resolve()  # OpenBao accepts no symbolic link here
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise ProgramMissing.not_executable(str(program), setting=PLUGIN_VARIABLE)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    declared = {"command": path.name, "sha256sum": digest}
    return {
        "plugin_directory": str(path.parent),
        "plugin": {"kms": dict.fromkeys(kinds, declared)},
    }
