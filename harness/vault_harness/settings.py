"""Every setting of the harness, read from the environment at the moment it is asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import (
    AliasChoices,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from vault_harness import namespaces
from vault_harness.addresses import is_base_url
from vault_harness.errors import SettingsError

EngineChoice = Literal["auto", "process", "docker", "external"]
ToxiproxyChoice = Literal["embedded", "binary"]

_PACKAGE = Path(__file__).resolve().parent
PACKAGE_ROOT = _PACKAGE.parent
"""The folder that holds this package."""

DEFAULT_VAULT_IMAGE = "hashicorp/vault:1.20.4"
DEFAULT_TOXIPROXY_IMAGE = "ghcr.io/shopify/toxiproxy:2.12.0"
DEFAULT_HAPROXY_IMAGE = "haproxy:3.2.4"


def checkout() -> Path | None:
    """The root of the checkout that this package runs from, or None for an installed wheel."""
    root = PACKAGE_ROOT.parent
    return root if (root / "tasks.py").is_file() and (root / "compose").is_dir() else None


def resources() -> Path:
    """The folder with blueprints, policies and compose files, in a checkout or a wheel."""
    root = checkout()
    return root / "compose" if root is not None else _PACKAGE / "_compose"


def scenarios_folder() -> Path:
    """The folder with the scenarios and their catalogue, in a checkout or a wheel."""
    root = checkout()
    return root / "scenarios" if root is not None else _PACKAGE / "scenarios"


def documents() -> Path:
    """The folder with the documents, in a checkout or a wheel."""
    root = checkout()
    return root / "docs" if root is not None else _PACKAGE / "_docs"


def _default_data_dir() -> Path:
    return (checkout() or Path.cwd()) / "vault-data"


def _alias(name: str) -> AliasChoices:
    """Both the tool's own name for a variable and ours with the prefix."""
    return AliasChoices(f"HARNESS_{name}", name)


class Settings(BaseSettings):
    """What can be chosen from outside; every field is ``HARNESS_<FIELD>`` in the environment.

    Attributes:
        engine: How servers run. ``auto`` picks docker when an engine and the images are there, else
            process.
        toxiproxy: ``embedded`` is the server of this package, ``binary`` a real
            ``toxiproxy-server``.
        data_dir: Where the stack of ``invoke up`` keeps its state; default ``vault-data`` in the
            checkout.
        blueprint: A blueprint file of one's own; default is the e-commerce one.
        vault_port: Port of the stack's Vault on loopback. 0 picks a free one at the first ``up``.
        proxy_port: Port of the Toxiproxy proxy in front of that Vault.
        toxiproxy_port: Port of Toxiproxy's own API.
        vault_binary: A ``vault`` or ``bao`` to use instead of what is on PATH.
        kms_plugin: The program by which OpenBao knows a cloud's seal (``up --seal awskms``), such
            as ``openbao-plugin-kms-aws``.
        toxiproxy_binary: A ``toxiproxy-server`` to use instead of what is on PATH.
        vault_image: Image for the docker engine; ``VAULT_IMAGE`` works too.
        toxiproxy_image: Image for the docker engine; ``TOXIPROXY_IMAGE`` works too.
        haproxy_image: Image for a cluster on the docker engine; ``HAPROXY_IMAGE`` works too.
        vault_addr: The Vault of the external engine, ``http(s)://host:port``; ``VAULT_ADDR`` works
            too.
        vault_token: An operator's token for it; ``VAULT_TOKEN`` works too.
        vault_cacert: CA certificate for it; ``VAULT_CACERT`` works too.
        vault_client_cert: What the external engine shows to a Vault that asks for a certificate;
            ``VAULT_CLIENT_CERT`` works too.
        vault_client_key: Its key, unless the same file has both; ``VAULT_CLIENT_KEY`` works too.
        vault_namespace: Where the tasks work, of the stack's Vault and of that one; empty for the
            root. A blueprint's own lies below it. ``VAULT_NAMESPACE`` works too.
        workers: How many scenarios run side by side; unless it is set, half as many in containers.
        start_timeout: Seconds for a server to answer after its start; a child process on a machine
            that has more to do than it can gets as many times more, eight times at most.
        lock_timeout: Seconds to wait for another task that holds the stack.
    """

    model_config = SettingsConfigDict(
        env_prefix="HARNESS_",
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        env_ignore_empty=True,
    )

    engine: EngineChoice = "auto"
    toxiproxy: ToxiproxyChoice = "embedded"
    data_dir: Path = Field(default_factory=_default_data_dir)
    blueprint: Path | None = None
    vault_port: int = Field(default=8200, ge=0, le=65535)
    proxy_port: int = Field(default=8201, ge=0, le=65535)
    toxiproxy_port: int = Field(default=8474, ge=0, le=65535)
    vault_binary: Path | None = None
    kms_plugin: Path | None = None
    toxiproxy_binary: Path | None = None
    vault_image: str = Field(default=DEFAULT_VAULT_IMAGE, validation_alias=_alias("VAULT_IMAGE"))
    toxiproxy_image: str = Field(
        default=DEFAULT_TOXIPROXY_IMAGE, validation_alias=_alias("TOXIPROXY_IMAGE")
    )
    haproxy_image: str = Field(
        default=DEFAULT_HAPROXY_IMAGE, validation_alias=_alias("HAPROXY_IMAGE")
    )
    vault_addr: str | None = Field(default=None, validation_alias=_alias("VAULT_ADDR"))
    vault_token: SecretStr | None = Field(default=None, validation_alias=_alias("VAULT_TOKEN"))
    vault_cacert: Path | None = Field(default=None, validation_alias=_alias("VAULT_CACERT"))
    vault_client_cert: Path | None = Field(
        default=None, validation_alias=_alias("VAULT_CLIENT_CERT")
    )
    vault_client_key: Path | None = Field(default=None, validation_alias=_alias("VAULT_CLIENT_KEY"))
    vault_namespace: str = Field(default="", validation_alias=_alias("VAULT_NAMESPACE"))
    workers: int = Field(default=24, ge=1)
    start_timeout: float = Field(default=15.0, gt=0)
    lock_timeout: float = Field(default=60.0, ge=0)

    @field_validator(
        *("data_dir", "blueprint", "vault_binary", "kms_plugin"),
        *("toxiproxy_binary", "vault_cacert", "vault_client_cert", "vault_client_key"),
    )
    @classmethod
    def _absolute(cls, value: Path | None) -> Path | None:
        try:
            return None if value is None else Path(value).expanduser().absolute()
        except RuntimeError:  # nobody of that name, or HOME is not set and this user has no name
            raise ValueError("there is no home that its ~ could stand for") from None

    @field_validator("vault_addr")
    @classmethod
    def _address(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Elsewhere it says nothing to the tasks, and clients may read more than they do.
        if value and info.data.get("engine") == "external" and not is_base_url(value):
            raise ValueError("an address begins with http:// or https://, and a host follows")
        return value

    @field_validator("vault_namespace")
    @classmethod
    def _namespace(cls, value: str) -> str:
        return namespaces.normal(value)

    @classmethod
    def from_environment(cls, **overrides: object) -> Settings:
        """Read the environment.

        Args:
            overrides: Fields that win over the environment; None means "not given".

        Raises:
            SettingsError: A variable holds something that makes no sense, with its name.
        """
        given = {name: value for name, value in overrides.items() if value is not None}
        try:
            return cls.model_validate({**_environment_values(cls), **given}) if given else cls()
        except ValidationError as error:
            raise _settings_error(error) from None


def _environment_values(cls: type[Settings]) -> dict[str, object]:
    return {name: getattr(settings, name) for settings in [cls()] for name in cls.model_fields}


def _settings_error(error: ValidationError) -> SettingsError:
    first = error.errors(include_url=False, include_input=False)[0]
    variable = _variable(str(first["loc"][0]) if first["loc"] else "?")
    return SettingsError(
        f"{variable}: {first['msg'].removeprefix('Value error, ')}",
        looked_at="the environment",
        remedy=f"set {variable} to a value that fits, or unset it for the default",
    )


def _variable(field: str) -> str:
    """Which variable a field was read from, of the two that some have."""
    own = field if field.isupper() else f"HARNESS_{field.upper()}"
    for each in Settings.model_fields.values():
        names = each.validation_alias
        if isinstance(names, AliasChoices) and own in names.choices:
            return next((str(name) for name in names.choices if os.environ.get(str(name))), own)
    return own
