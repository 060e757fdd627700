"""How a stack's Vault is sealed.

A stack with auto-unseal keeps the server's ``seal`` stanza in a file, which names the files of key
and token. For a seal whose key a cloud holds, the stanza comes from settings. Credentials stay in
the variables of the cloud's SDK, and only the server gets them. OpenBao 2.7 and newer need a plugin
for these seals.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from vault_harness.errors import (
    CapabilityMissing,
    EngineError,
    ProgramMissing,
    ServerDied,
    SettingsError,
    StackError,
    named,
)
from vault_harness.local.dialect import Dialect
from vault_harness.local.engine.configuration import QUICK_AUTOPILOT
from vault_harness.local.engine.folders import run_directory
from vault_harness.local.engine.ports import ask, seal_status_url
from vault_harness.local.engine.provider import SealCheck
from vault_harness.local.engine.shape import Engine, EngineName, Node, NodeSpec
from vault_harness.settings import Settings

SealKind = Literal["shamir", "static", "transit", "awskms", "azurekeyvault"]

SEAL_DIRECTORY = "seal"
"""Holds the stanza and the files that it names."""

ACCESS_KEYS_NAME = "aws-credentials"
"""Access keys with which containers reach Amazon's cloud."""

_STANZA = "seal.json"
_STATIC_KEY = "static.key"


def static_key_path(data_dir: Path) -> Path:
    """Return the key's file: 32 bytes in base64."""
    return data_dir / SEAL_DIRECTORY / _STATIC_KEY


def stanza_path(data_dir: Path) -> Path:
    """Return the stanza's file. Shamir's seal has none."""
    return data_dir / SEAL_DIRECTORY / _STANZA


def node_extra(data_dir: Path, *, cluster: bool) -> dict[str, object]:
    extra: dict[str, object] = {"storage": {"raft": QUICK_AUTOPILOT}} if cluster else {}
    stanza = seal_stanza(data_dir)
    return extra | ({"seal": stanza} if stanza else {})


def seal_stanza(data_dir: Path) -> dict[str, Any]:
    """Return the ``seal`` stanza; empty for Shamir's seal.

    During a migration it also contains the old seal, as disabled.
    """
    path = stanza_path(data_dir)
    try:
        content = json.loads(path.read_text())
        enabled = [kind for kind, stanza in content.items() if not stanza.get("disabled")]
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        content, enabled = {}, []
    if not content or len(enabled) > 1:
        raise StackError(
            f"{_STANZA} is not a seal stanza",
            looked_at=str(path),
            remedy=f"remove it; {named('up')} writes it again from what {path.parent.name}/ has",
        )
    return dict(content)


def holder_out_of_reach(stack: EngineName, engine: Engine) -> CapabilityMissing:
    return CapabilityMissing(
        f"a copy that the {engine.name} engine runs does not reach the Vault that holds the key: "
        f"that is where the {stack} engine has the stack",
        looked_at="HARNESS_ENGINE",
        remedy=f"HARNESS_ENGINE={stack} for this too",
    )


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


_UNKNOWN = "unknown wrapper"
_PLUGIN = "start plugin client"
_UNREADABLE = "error loading configuration"


class SealCheckNode(Node, Protocol):
    """A node whose configuration file can be read."""

    @property
    def configuration_path(self) -> Path:
        """The file that the server starts with."""


def check_seal(
    stanza: Mapping[str, Any],
    make: Callable[[NodeSpec], SealCheckNode],
    dialect: Dialect,
    origin: str,
) -> SealCheck:
    """Start a throw-away server with a stanza, and remove it again."""
    kind = next(iter(stanza))
    with run_directory() as directory:
        node = make(
            NodeSpec(
                name="check",
                directory=directory / "check",
                audit=False,
                extra={"seal": dict(stanza)},
            )
        )
        try:
            try:
                node.start()
            except ServerDied:
                raise _refused(kind, dialect, origin, node.logs()) from None
            answer = ask(seal_status_url(node.address))
            status = json.loads(answer.body) if answer is not None else {}
            return SealCheck(
                seal=str(status.get("type") or ""),
                server=origin,
                configuration=node.configuration_path.read_text(),
            )
        finally:
            node.kill()
            node.close()


def _refused(kind: str, dialect: Dialect, origin: str, log: str) -> EngineError:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    said = next((line for line in lines if line.lower().startswith("error")), "nothing")
    looked_at = f"{origin}, which said: {said}"
    if _UNKNOWN in said:
        return CapabilityMissing(
            f"this {dialect.title} does not know the seal {kind}",
            looked_at=looked_at,
            remedy="OpenBao 2.7 and newer know the seals of clouds by a plugin only: set "
            f"{PLUGIN_VARIABLE} to {plugin_of(kind)}; or take HashiCorp Vault, which has them "
            f"built in (HARNESS_VAULT_BINARY, VAULT_IMAGE); or {named('up', '--seal', 'transit')}, "
            "whose key is here",
        )
    if _UNREADABLE in said.lower():
        return EngineError(
            f"{dialect.title} cannot read the configuration of the seal {kind}",
            looked_at=looked_at,
            remedy="correct the variable that it speaks of",
        )
    if _PLUGIN in said:
        return EngineError(
            f"{dialect.title} cannot start the plugin for the seal {kind}",
            looked_at=looked_at,
            remedy=f"see that {PLUGIN_VARIABLE} is {plugin_of(kind)}, built for this machine",
        )
    return EngineError(
        f"{dialect.title} knows the seal {kind}, and cannot use its key",
        looked_at=looked_at,
        remedy="see that the key is there, that its cloud can be reached, and that the variables "
        "of its SDK name somebody who may use it",
    )
